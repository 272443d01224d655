"""Writes samples as a grid, a folder of PNGs, a zip of PNGs, or an npz; PNGs say that a GAN made them."""

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kennel.data.images import PixelArray
from kennel.errors import RunError
from kennel.images import png_text, save_png, tile, to_pillow
from kennel.registry import unknown_name
from kennel.sampling.loaded_generator import LoadedGenerator
from kennel.sampling.pictures import refuse_other_than_png, with_captions
from kennel.sampling.png_metadata import grid_text, sample_text
from kennel.sampling.sampler import Samples
from kennel.storage.atomic_io import atomic_file, atomic_folder

OnProgress = Callable[[int, int], None]


def class_number(given: str, run: LoadedGenerator, option: str = "--class") -> int:
    """Returns the number of a class given by name or number; raises `UnknownNameError` for other names."""
    run.require_classes(option)
    names = list(run.classes)
    if given in names:  # before numbers: a class may be called "10"
        return names.index(given)
    if given.isdecimal():
        return int(given)
    raise unknown_name("class", given, names)


def write_grid(
    destination: Path,
    samples: Samples,
    run: LoadedGenerator,
    columns: int | None = None,
    captions: bool = False,
) -> None:
    """Writes all samples as one PNG, with `columns` columns or as square as possible.

    `captions` writes the seed, and the class if there are some, under each image.
    """
    refuse_other_than_png(destination, "--grid a name")
    text = grid_text(run.fingerprint, run.images_seen, samples.seeds, run.teacher)
    if captions:
        batches = list(samples)
        pixels = np.concatenate([batch.pixels for batch in batches])
        lines = [
            line for batch in batches for line in seeds_and_classes(batch.seeds, batch.labels, run.classes)
        ]
        save_png(destination, tile(with_captions(pixels, lines), columns, least_side=1), text)
    else:
        save_png(destination, tile(samples.pixels(), columns), text)


def seeds_and_classes(
    seeds: Sequence[int], labels: Sequence[int] | None, classes: Sequence[str]
) -> list[tuple[str, ...]]:
    """The lines of text under each image: its seed, and its class if there are labels.

    Classes without a name, and names that are numbers, are written as "class 7".
    """
    if labels is None:
        return [(str(seed),) for seed in seeds]
    names = [classes[label] if label < len(classes) else str(label) for label in labels]
    return [
        (str(seed), f"class {name}" if name.isdecimal() else name)
        for seed, name in zip(seeds, names, strict=True)
    ]


def write_samples(destination: Path, samples: Samples, run: LoadedGenerator, on_progress: OnProgress) -> None:
    """Writes a `.zip`, an `.npz`, or a folder, atomically.

    The npz has `images`, uint8 (N, H, W, C); of a conditional generator also `labels`, int64 (N,), and the
    class names `classes`. Npz and PNGs name the pretrained network of the discriminator, if it has one.
    """
    match destination.suffix.lower():
        case ".npz":
            _write_npz(destination, samples, run, on_progress)
        case ".zip":
            with atomic_file(destination) as temporary, zipfile.ZipFile(temporary, "w") as archive:
                _write_pngs(samples, run, archive.writestr, on_progress)
        case "":
            if destination.resolve() == Path.cwd():
                raise RunError(f"{destination} is the current folder: give --out a new one, such as samples")
            if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
                raise RunError(f"{destination} exists and is not empty: give --out a new folder")
            with atomic_folder(destination) as folder:
                _write_pngs(samples, run, lambda name, data: (folder / name).write_bytes(data), on_progress)
        case other:
            raise RunError(f"--out {destination} ends in {other}: give a folder, a .zip or an .npz")


def _write_npz(destination: Path, samples: Samples, run: LoadedGenerator, on_progress: OnProgress) -> None:
    pieces: list[PixelArray] = []
    labels: list[int] = []
    for batch in samples:
        pieces.append(batch.pixels.transpose(0, 2, 3, 1))
        labels += batch.labels or ()
        on_progress(min(len(pieces) * samples.batch, len(samples)), len(samples))
    arrays: dict[str, npt.NDArray[Any]] = {"images": np.concatenate(pieces)}
    if labels:
        arrays["labels"] = np.array(labels, np.int64)
        arrays["classes"] = np.array(list(run.classes), str)
    if run.teacher is not None:
        arrays["teacher"] = np.array(run.teacher)
    with atomic_file(destination) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stub takes keywords for flags


def _write_pngs(
    samples: Samples, run: LoadedGenerator, write: Callable[[str, bytes], object], on_progress: OnProgress
) -> None:
    done = 0
    for batch in samples:
        for index, seed in enumerate(batch.seeds):
            text = sample_text(run.fingerprint, run.images_seen, seed, run.teacher)
            buffer = io.BytesIO()
            to_pillow(batch.pixels[index]).save(buffer, format="PNG", pnginfo=png_text(text))
            label = "" if batch.labels is None else f"-class{batch.labels[index]:04d}"
            write(f"seed{seed:08d}{label}.png", buffer.getvalue())
        done += len(batch.seeds)
        on_progress(done, len(samples))
