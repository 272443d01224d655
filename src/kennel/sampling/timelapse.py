"""The sample grids of a run as one moving picture: the same latents through training."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kennel.data.sources.decode import MAX_FILE_BYTES, decode
from kennel.errors import KennelError, RunError
from kennel.runs.run_dir import RunDir
from kennel.sampling.animation import Animation, Array, held
from kennel.sampling.pictures import under
from kennel.sampling.png_metadata import grid_text
from kennel.storage.untrusted import read_bytes

HOLD_SECONDS = 2
"""The last grid is shown for as much longer."""
_NAME = re.compile(r"\d{12}\.png")
_SEEN, _SEEDS, _TEACHER = "kennel:images_seen", "kennel:seeds", "kennel:teacher"


def timelapse(run: Path, fps: int = 4) -> Animation:
    """One frame per sample grid of the run's folder, with the number of images seen under it.

    Raises `RunError` if there are fewer than two grids, or one is damaged or differs in size.
    """
    folder = RunDir(run)
    folder.recipe()  # raises an error with the reason if it is not a run
    files = sorted(file for file in folder.samples.glob("*.png") if _NAME.fullmatch(file.name))
    if len(files) < 2:
        raise RunError(
            f"{run} has {len(files)} sample grid{'s' * (len(files) != 1)}, and a timelapse needs at least 2: "
            "each tick of `kennel train` writes one"
        )
    newest, shape = _grid(files[-1])[1], _grid(files[-1])[0].shape

    def grids() -> Iterator[Array]:
        for file in files:
            grid, text = _grid(file)
            if grid.shape != shape:
                raise RunError(
                    f"{file} is {grid.shape[1]}x{grid.shape[0]}, and the newest grid {shape[1]}x{shape[0]}: "
                    "move it out of the folder"
                )
            yield under(grid, f"{int(text[_SEEN]):,} images")

    seeds = [int(seed) for seed in re.findall(r"\d{1,15}", newest.get(_SEEDS, ""))] or [0]
    text = grid_text(folder.fingerprint(), int(newest[_SEEN]), seeds, newest.get(_TEACHER))
    text |= {_SEEDS: newest.get(_SEEDS, "")[:300]}
    still = HOLD_SECONDS * fps
    return Animation(lambda: held(grids(), still), len(files) + still, text, fps=fps)


def _grid(file: Path) -> tuple[Array, dict[str, str]]:
    """The pixels, (H, W) or (H, W, 3), and the text of a grid."""
    try:
        image = decode(read_bytes(file, MAX_FILE_BYTES), name=file.name)
    except KennelError as error:
        raise RunError(f"{file} cannot be shown ({error}): move it out of the folder") from None
    text = {str(name): value for name, value in image.info.items() if isinstance(value, str)}
    if not re.fullmatch(r"\d{1,15}", text.get(_SEEN, "")):
        raise RunError(f"{file} does not say after how many images it was drawn: move it out of the folder")
    return np.asarray(image, np.uint8), text
