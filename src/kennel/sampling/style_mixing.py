"""Style mixing: images with some layers' styles of one seed and the others of another."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from kennel.errors import RunError
from kennel.images import to_uint8
from kennel.networks import StyleGenerator
from kennel.registry import unknown_name
from kennel.sampling.loaded_generator import LoadedGenerator
from kennel.sampling.pictures import Picture, composed
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.sampler import (
    DEFAULT_BATCH,
    label_weights,
    labels_of,
    latents_of,
    ready_generator,
    refuse_labels,
    refuse_not_finite,
)

Level = Literal["coarse", "middle", "fine"]
LEVELS: tuple[Level, ...] = get_args(Level)


def layers_of(level: str, count: int) -> slice:
    """The first, second or last third of `count` layers; raises `UnknownNameError` for another level."""
    if level not in LEVELS:
        raise unknown_name("level of layers", level, LEVELS)
    number = LEVELS.index(level)
    return slice(round(number * count / 3), round((number + 1) * count / 3))


@torch.no_grad()
def style_mixing(
    loaded: LoadedGenerator,
    rows: Sequence[int],
    columns: Sequence[int],
    level: str = "coarse",
    *,
    label: int | None = None,
    truncation: float | None = None,
) -> Picture:
    """A grid with the images of the seeds `rows` at the left and of `columns` at the top.

    Each cell has the styles of its column's seed in the layers of `level` and of its row's seed in the others
    (Karras et al. 2019, arXiv 1812.04948, figure 3). Raises `RunError` for a generator without a mapping
    network.
    """
    generator = loaded.generator
    if not isinstance(generator, StyleGenerator):
        raise RunError(
            f"{loaded.name} has no styles to mix, only StyleGAN2 has: --interpolate A,B shows what "
            "lies between two seeds"
        )
    refuse_labels(generator, () if label is None else (label,))
    sampling, seeds = loaded.recipe.sampling, [*rows, *columns]
    weights = label_weights(generator, sampling.classes)
    labels = (label,) * len(seeds) if label is not None else labels_of(seeds, weights) if weights else None
    factor = loaded.truncation if truncation is None else truncation
    ready = ready_generator(generator, loaded.recipe.latent, sampling, factor)
    assert isinstance(ready, StyleGenerator)
    device = next(ready.parameters()).device
    given = None if labels is None else torch.tensor(labels, device=device)
    training = ready.training
    ready.eval()
    try:
        styles = ready.map_latents(latents_of(seeds, loaded.recipe.latent).to(device), given)
        if factor is not None:
            styles = ready.truncated(styles, factor)
        mixed = _mixed(styles[: len(rows)], styles[len(rows) :], layers_of(level, styles.shape[1]))
        all_styles = torch.cat([styles, mixed])
        parts = [
            all_styles[start : start + DEFAULT_BATCH] for start in range(0, len(all_styles), DEFAULT_BATCH)
        ]
        images = torch.cat([ready.synthesize(part) for part in parts])
    finally:
        ready.train(training)
    refuse_not_finite(images[: len(seeds)], seeds)
    pixels = to_uint8(images).cpu().numpy()
    left, top, cells = np.split(pixels, [len(rows), len(seeds)])
    blank = np.full_like(left[:1], 255)
    lines = [blank, top]
    for number in range(len(rows)):
        lines += [left[number : number + 1], cells[number * len(columns) : (number + 1) * len(columns)]]
    text = grid_text(loaded.fingerprint, loaded.images_seen, seeds, loaded.teacher)
    return Picture(composed(np.concatenate(lines), len(columns) + 1), text)


def _mixed(rows: Tensor, columns: Tensor, layers: slice) -> Tensor:
    """Styles of each row's seed with those of each column's in `layers`: (rows x columns, layers, style)."""
    mixed = rows[:, None].repeat(1, len(columns), 1, 1)
    mixed[:, :, layers] = columns[None, :, layers]
    return mixed.flatten(0, 1)
