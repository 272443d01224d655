"""Finds the latent with which a generator draws the image nearest to a given one.

Zhu et al. 2016 (arXiv 1609.03552) and Karras et al. 2020 (arXiv 1912.04958, appendix D) minimize the distance
by gradient descent over the latent, or over the style of a generator with a mapping network. Here descent
starts from the nearest of many samples, with the labels of several of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kennel.config.recipe import LatentConfig
from kennel.data.images import PixelArray
from kennel.data.resize import Resize
from kennel.data.sources.decode import MAX_FILE_BYTES, decode
from kennel.errors import KennelError, NotFiniteError, RunError
from kennel.images import to_float, to_uint8
from kennel.networks import Generator, StyleGenerator
from kennel.networks.layers.instances import parts_with_instances
from kennel.sampling.image_distance import ImageDistance
from kennel.sampling.label_mixing import replaced_instances
from kennel.sampling.loaded_generator import LoadedGenerator
from kennel.sampling.pictures import LEAST_SIDE, Picture, composed, enlarged, with_captions
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.sampler import (
    DEFAULT_BATCH,
    label_weights,
    labels_of,
    latents_of,
    ready_generator,
    refuse_labels,
)
from kennel.shapes import Features, Images, Labels
from kennel.storage.untrusted import read_bytes

CANDIDATES = 512
"""Samples among which the starts are chosen."""
STARTS = 4
"""Starts of the descent, of different labels; after a quarter of the steps the best one continues alone."""
RATE = 0.1
"""Adam's learning rate at the start, in standard deviations of latents or styles; it falls as a cosine."""
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class LikeOptions:
    """`steps` of gradient descent; the seeds of the candidates begin at `seed`."""

    steps: int = 200
    seed: int = 0


class Likeness(Picture):
    """The given image at the left and the one that was found at the right.

    Attributes: `target` and `found`, uint8 (C, H, W); `distance`, the sum of `pixel_distance` and
    `feature_distance` (see `ImageDistance`); `latent`, (latent_dim), or the style of a generator with a
    mapping network; `label`, the class of a conditional generator, else None; `instance`, the vector of the
    instance (width) if the generator has instances, else None; `seed`, the sample from which the descent
    started; `start_distance`, its distance.
    """

    def __init__(self, target: PixelArray, found: "Found", text: dict[str, str]) -> None:
        self.target, self.found = target, found.pixels
        self.latent, self.label, self.instance = found.latent, found.label, found.instance
        self.pixel_distance, self.feature_distance = found.distances
        self.distance = sum(found.distances)
        self.seed, self.start_distance = found.seed, found.start_distance
        pair = enlarged(np.stack([target, found.pixels]), LEAST_SIDE)
        pair = with_captions(pair, [["given"], [f"found, distance {self.distance:.3f}"]])
        super().__init__(composed(pair, 2), text)


@dataclass(frozen=True)
class Found:
    """The result of `descend`; attributes as in `Likeness`, `distances` by pixels and features."""

    pixels: PixelArray
    latent: Tensor
    label: int | None
    instance: Tensor | None
    seed: int
    start_distance: float
    distances: tuple[float, float]


def target_pixels(image: Path | npt.NDArray[Any], size: int, channels: int) -> PixelArray:
    """The center square of an image file or array (C, H, W), uint8 (channels, size, size).

    Color is averaged for a gray generator. Raises `RunError` if the file cannot be decoded.
    """
    if isinstance(image, Path):
        try:
            decoded = decode(read_bytes(image, MAX_FILE_BYTES, named=True), name=image.name)
        except KennelError as error:
            raise RunError(f"{image} is not a usable image ({error}): give a PNG, JPEG or WebP") from None
        pixels = Resize(size).image(decoded.convert("L" if channels == 1 else "RGB"))
    else:
        if image.ndim != 3 or image.shape[0] not in (1, 3) or image.dtype != np.uint8:
            raise RunError(
                f"the image is {image.dtype} of shape {image.shape}: give uint8 (channels, height, width) "
                "with 1 or 3 channels"
            )
        pixels = Resize(size).pixels(image)
    if channels == 1 and len(pixels) == 3:
        pixels = pixels.mean(0, keepdims=True).round().astype(np.uint8)
    return pixels.repeat(channels, axis=0) if len(pixels) < channels else pixels


def like(
    loaded: LoadedGenerator,
    image: Path | npt.NDArray[Any],
    label: int | None = None,
    options: LikeOptions | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Likeness:
    """Finds the image of the generator that is nearest to `image`; equal arguments give an equal result.

    All candidates are of class `label` if it is given; otherwise classes are tried equally often, and
    instances as often as in training. A vector of an instance changes with the latent.
    """
    options = options or LikeOptions()
    if options.steps < 1:
        raise RunError(f"{options.steps} steps are not possible: give at least 1")
    refuse_labels(loaded.generator, () if label is None else (label,))
    spec, latent = loaded.generator.spec, loaded.recipe.latent
    target = target_pixels(image, spec.size, spec.channels)
    ready = ready_generator(loaded.generator, latent, loaded.recipe.sampling)
    device = next(ready.parameters()).device
    distance = ImageDistance(to_float(torch.tensor(target)[None]).to(device))
    training = ready.training
    ready.eval()
    try:
        found = descend(ready, latent, distance, label, options, on_progress)
    finally:
        ready.train(training)
    text = grid_text(loaded.fingerprint, loaded.images_seen, [found.seed], loaded.teacher)
    text["Description"] = (
        "Left: a given image. Right: an image made by a generative adversarial network; not a photograph"
    )
    return Likeness(target, found, text)


def descend(
    generator: Generator,
    latent: LatentConfig,
    distance: ImageDistance,
    label: int | None,
    options: LikeOptions,
    on_progress: OnProgress,
) -> Found:
    """Chooses starts among samples and minimizes the distance by Adam, for each start on its own.

    After a quarter of the steps the nearest one continues alone.
    """
    point, seeds, at_start = _starts(generator, latent, distance, label, options.seed)
    half = max(1, options.steps // 4)
    together = _minimized(generator, point, distance, range(half), options.steps, on_progress)
    alone = range(half, options.steps)
    # It begins with the nearest image so far, so its nearest one is that of all steps.
    best = _minimized(generator, together.point, distance, alone, options.steps, on_progress)
    with torch.no_grad():
        pixels = to_uint8(best.point.images(generator)).cpu().numpy()[0]
    labels, vectors = best.point.labels, best.point.vectors
    return Found(
        pixels,
        best.point.codes.detach().cpu()[0],
        int(labels[0]) if labels is not None and generator.spec.num_classes else None,
        None if vectors is None else vectors.detach().cpu()[0],
        seeds[together.row],
        at_start[together.row],
        best.parts,
    )


@dataclass
class _Point:
    """Variables of the descent: latents or styles, and the vectors of instances; and fixed labels."""

    codes: Tensor
    labels: Labels | None
    vectors: Features | None
    layers: int
    """The number of styles of an image; 0 for latents."""
    limits: tuple[float, float]
    """The greatest value and the greatest length of latents."""
    rate: float

    @property
    def free(self) -> list[Tensor]:
        return [self.codes] if self.vectors is None else [self.codes, self.vectors]

    def images(self, generator: Generator) -> Images:
        if isinstance(generator, StyleGenerator):
            return generator.synthesize(self.codes[:, None].expand(-1, self.layers, -1))
        if self.vectors is None:
            return cast(Images, generator(self.codes, self.labels))
        with replaced_instances(generator, self.vectors):
            return cast(Images, generator(self.codes, self.labels))

    def row(self, number: int) -> "_Point":
        """A copy of one row, whose variables are leaves."""

        def one(values: Tensor) -> Tensor:
            return values.detach()[number : number + 1].clone().requires_grad_()

        vectors = None if self.vectors is None else one(self.vectors)
        labels = None if self.labels is None else self.labels[number : number + 1]
        return replace(self, codes=one(self.codes), labels=labels, vectors=vectors)

    @torch.no_grad()
    def project(self) -> None:
        """Moves latents back to where the prior has its mass; vectors of instances keep their length."""
        if not self.layers:
            value, length = self.limits
            self.codes.clamp_(-value, value)
            self.codes.mul_((length / self.codes.norm(dim=1, keepdim=True)).clamp_max(1))
        if self.vectors is not None:
            self.vectors.mul_(self.vectors.shape[1] ** 0.5 / self.vectors.norm(dim=1, keepdim=True))


@dataclass(frozen=True)
class _Best:
    """The nearest image of a descent: a point of one row, the row it comes from, and its distance."""

    point: _Point
    row: int
    total: float
    parts: tuple[float, float]


def _minimized(
    generator: Generator,
    point: _Point,
    distance: ImageDistance,
    steps: range,
    all_steps: int,
    on_progress: OnProgress,
) -> _Best:
    """Adam over these steps of the schedule; the result is the nearest image of all steps and the last."""
    optimizer = torch.optim.Adam(point.free)
    best: _Best | None = None
    for step in range(steps.start, steps.stop + 1):
        parts = distance(point.images(generator))
        total = parts.total.detach()
        if not bool(torch.isfinite(total).all()):
            raise NotFiniteError(
                "the generator's images are not finite (NaN or infinite): take another checkpoint or run"
            )
        row = int(total.argmin())
        if best is None or float(total[row]) < best.total:
            both = (float(parts.pixels[row].detach()), float(parts.features[row].detach()))
            best = _Best(point.row(row), row, float(total[row]), both)
        on_progress(step, all_steps)
        if step < steps.stop:
            cosine = (1 + math.cos(math.pi * step / all_steps)) / 2
            gradients = torch.autograd.grad(parts.total.sum(), point.free)
            for part, gradient in zip(point.free, gradients, strict=True):
                part.grad = gradient
            for group in optimizer.param_groups:
                group["lr"] = point.rate * cosine
            optimizer.step()
            point.project()
    assert best is not None
    return best


@torch.no_grad()
def _starts(
    generator: Generator, latent: LatentConfig, distance: ImageDistance, label: int | None, seed: int
) -> tuple[_Point, list[int], list[float]]:
    """The nearest candidates, of different labels if possible: their point, seeds and distances."""
    device = next(generator.parameters()).device
    seeds = range(seed, seed + CANDIDATES)
    weights = label_weights(generator, "uniform")
    drawn = (label,) * CANDIDATES if label is not None else labels_of(seeds, weights) if weights else None
    labels = None if drawn is None else torch.tensor(drawn, device=device)
    latents = latents_of(seeds, latent).to(device)
    totals = []
    for start in range(0, CANDIDATES, DEFAULT_BATCH):
        part = slice(start, start + DEFAULT_BATCH)
        totals.append(distance(generator(latents[part], None if labels is None else labels[part])).total)
    total = torch.cat(totals).nan_to_num(float("inf"))
    order = total.argsort(stable=True).tolist()
    if drawn is not None:  # the nearest of each label first, then the rest
        firsts = list({drawn[row]: row for row in reversed(order)}.values())
        firsts.sort(key=order.index)
        order = firsts + [row for row in order if row not in set(firsts)]
    rows = order[:STARTS]
    chosen = None if labels is None else labels[rows]
    codes, layers, rate = latents[rows], 0, RATE
    uniform = latent.distribution == "uniform"
    if uniform:
        rate *= 3**-0.5
    if isinstance(generator, StyleGenerator):
        styles = generator.map_latents(codes, chosen)
        codes, layers, rate = styles[:, 0], styles.shape[1], RATE * float(styles.std().detach())
    tables = parts_with_instances(generator)
    point = _Point(
        codes.clone().requires_grad_(),
        chosen,
        tables[0](chosen).clone().requires_grad_() if tables and chosen is not None else None,
        layers,
        # The length of nearly all normal latents is close to the root of their dimension.
        (1.0, math.inf) if uniform else (math.inf, latent.dim**0.5),
        rate,
    )
    return point, [seeds[row] for row in rows], [float(total[row]) for row in rows]
