"""Searches a generator's samples for copies of training images before it is exported.

An image counts as too near if it is both as near to its nearest training image, and as much nearer to it than
to the third nearest, as the nearest `QUANTILE` of the training images are to another one (`CopyGuard`). The
distance alone would refuse generators of blurred images, which are near to many training images at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kennel.data.dataset import ImageDataset
from kennel.data.images import PixelArray
from kennel.engine.op_counts import OperationCounter
from kennel.errors import DataError, GeneratorFileError
from kennel.evaluation.copy_guard import QUANTILE, CopyGuard, Match
from kennel.features.factory import open_extractor
from kennel.images import tile
from kennel.sampling.generator_file import CopySearch
from kennel.sampling.load import LoadedRun
from kennel.sampling.sampler import Samples

COUNT, LEAST = 10_000, 500
"""Samples that are compared by default, and the fewest where each is expensive."""
OPERATIONS = 6e11
"""Floating-point operations for the default number of samples: about half a minute on one core."""
PROBES = 2_000
"""Training images by which the thresholds are measured."""
TIMES, LEAST_COPIES = 3, 3
"""Refused is a generator with more than `TIMES` the share of new real images that would be too near, and with
at least `LEAST_COPIES` samples. New real images have at most `QUANTILE`; of 500 of them, 16 or more would be
too near by chance once in 5,000 times."""
CHUNK = 1_024
"""Samples that are compared at a time; each time the training set is prepared for it."""
PAIRS, COLUMNS, SIDE = 16, 4, 96
"""Pairs in the picture, pairs per row, and the least side of an image in it."""

Report = Callable[[str, int, int], None]
"""`report(what, done, total)`."""


@dataclass(frozen=True)
class GuardOptions:
    """`count` samples (None: `COUNT`, or fewer of an expensive generator; 0: no search), of the features of
    `extractor`. `reference` is the training set, if it is not where the run says. `accept` exports a
    generator of copies all the same."""

    count: int | None = None
    reference: Path | None = None
    extractor: str = "pixels"
    accept: bool = False


@dataclass(frozen=True)
class Nearest:
    """What was found, and the picture of the nearest pairs, uint8 (H, W, 3)."""

    search: CopySearch
    picture: np.ndarray


@dataclass(frozen=True)
class _Pairs:
    """Samples with their nearest training images, in the order of seeds or of nearness."""

    seeds: np.ndarray
    pixels: PixelArray
    match: Match
    nearness: np.ndarray

    def nearest(self, count: int) -> "_Pairs":
        """The first `count` by nearness; of equal ones, by distance."""
        rows = np.lexsort((self.match.distances, self.nearness))[:count]
        one = self.match
        match = Match(one.distances[rows], one.ratios[rows], one.training[rows], one.mirrored[rows])
        return _Pairs(self.seeds[rows], self.pixels[rows], match, self.nearness[rows])

    def and_(self, other: "_Pairs") -> "_Pairs":
        mine, others = self.match, other.match
        match = Match(
            np.concatenate([mine.distances, others.distances]),
            np.concatenate([mine.ratios, others.ratios]),
            np.concatenate([mine.training, others.training]),
            np.concatenate([mine.mirrored, others.mirrored]),
        )
        return _Pairs(
            np.concatenate([self.seeds, other.seeds]),
            np.concatenate([self.pixels, other.pixels]),
            match,
            np.concatenate([self.nearness, other.nearness]),
        )


def search_copies(
    loaded: LoadedRun, options: GuardOptions, truncation: float | None, report: Report
) -> Nearest:
    """Compares samples of a run with its training set. Raises `GeneratorFileError` if the set is not there,
    or if too many samples are too near and `options.accept` is False."""
    dataset = training_set(loaded, options.reference)
    extractor = open_extractor(options.extractor)
    count = options.count
    if count is None:
        count = default_count(_operations(loaded), len(dataset), extractor.dimension)
    guard = CopyGuard(
        dataset,
        extractor,
        probes=PROBES,
        on_progress=lambda done, total: report("reading the training set", done, total),
    )
    copies = 0
    worst: _Pairs | None = None
    for seeds, pixels in _chunks(loaded.samples(count, 0, truncation), report):
        match = guard.match(pixels)
        pairs = _Pairs(seeds, pixels, match, guard.nearness(match))
        copies += int((pairs.nearness <= 1).sum())
        worst = pairs.nearest(PAIRS) if worst is None else worst.and_(pairs.nearest(PAIRS)).nearest(PAIRS)
    assert worst is not None
    search = CopySearch(
        count=count,
        copies=copies,
        training_count=len(dataset),
        extractor=extractor.name,
        quantile=QUANTILE,
        threshold=guard.threshold,
        ratio_threshold=guard.ratio_threshold,
        real_share=guard.real_share,
        limit=TIMES * QUANTILE,
    )
    if too_many(search) and not options.accept:
        raise GeneratorFileError(refusal(search, int(worst.seeds[0])))
    return Nearest(search, _picture(worst, dataset.at(worst.match.training), guard.threshold))


def _chunks(samples: Samples, report: Report) -> Iterator[tuple[np.ndarray, PixelArray]]:
    """Seeds and pixels of about `CHUNK` samples at a time."""
    seeds: list[int] = []
    pixels: list[PixelArray] = []
    for batch in samples:
        seeds += batch.seeds
        pixels.append(batch.pixels)
        report("comparing samples", batch.seeds[-1] + 1, len(samples))
        if len(seeds) >= CHUNK:
            yield np.array(seeds), np.concatenate(pixels)
            seeds, pixels = [], []
    if seeds:
        yield np.array(seeds), np.concatenate(pixels)


def too_many(search: CopySearch) -> bool:
    """Whether a generator with these copies is refused."""
    return search.copies > search.limit * search.count and search.copies >= LEAST_COPIES


def refusal(search: CopySearch, seed: int) -> str:
    """Why an export is refused; `seed` is that of the nearest sample."""
    return (
        f"{search.copies:,} of {search.count:,} samples ({100 * search.share:.3g}%) are copies of training "
        f"images or nearly so, and at most {100 * search.limit:g}% may be (the nearest one is seed {seed}): "
        "the generator has memorized training images; take an earlier --checkpoint, train on more images, or "
        "export it all the same, with a picture of these pairs, with --accept-copies"
    )


def training_set(loaded: LoadedRun, reference: Path | None) -> ImageDataset:
    """The run's training set, at `reference` if it has moved. Raises `GeneratorFileError`."""
    data = loaded.folder.about()["data"]
    path = reference or Path(data["path"])
    remedy = "give the set it was trained on with --reference, or leave the search for copies out with "
    remedy += "--guard-count 0"
    try:
        dataset = ImageDataset(path)
    except (DataError, OSError) as error:
        raise GeneratorFileError(
            f"{loaded.name} cannot be searched for copies, because its training set cannot be opened "
            f"({error}): {remedy}"
        ) from None
    if dataset.fingerprint != data["fingerprint"]:
        raise GeneratorFileError(
            f"{loaded.name} cannot be searched for copies, because {path} is not the set that it was trained "
            f"on (its fingerprint is another one): {remedy}"
        )
    return dataset


def _operations(loaded: LoadedRun) -> int:
    """The floating-point operations of one sample."""
    with OperationCounter() as counter:
        loaded.samples(1).pixels()
    return int(counter.flops)


def default_count(operations: int, training: int, dimension: int) -> int:
    """The number of samples whose drawing and comparing takes about `OPERATIONS`, from `LEAST` to `COUNT`.

    A sample takes `operations` to draw, and is compared with `training` images of `dimension` features. The
    number is the same on every machine, so that the same run gives the same file.
    """
    # Two operations per multiplication and addition, and the mirrored sample as well.
    compared = 4 * training * dimension
    return min(COUNT, max(LEAST, int(OPERATIONS / (operations + compared))))


def _picture(pairs: _Pairs, real: PixelArray, threshold: float) -> np.ndarray:
    """Each sample to the left of its nearest training image, and their distance, red if it is too near."""
    real = np.where(pairs.match.mirrored[:, None, None, None], real[..., ::-1], real)
    both = np.concatenate([pairs.pixels, real], 3)
    factor = max(1, -(-SIDE // both.shape[2]))
    both = both.repeat(factor, 2).repeat(factor, 3)
    if both.shape[1] == 1:
        both = both.repeat(3, 1)
    captioned = [
        np.concatenate([image, _caption(float(distance), threshold, bool(nearness <= 1), image.shape[2])], 1)
        for image, distance, nearness in zip(both, pairs.match.distances, pairs.nearness, strict=True)
    ]
    return tile(np.stack(captioned), COLUMNS, padding=8)


def _caption(distance: float, threshold: float, near: bool, width: int) -> np.ndarray:
    """A strip of text, uint8 (3, height, width)."""
    font = ImageFont.load_default(12)
    strip = Image.new("RGB", (width, 18), "white")
    text = f"{distance:.3g} (limit {threshold:.3g})"
    ImageDraw.Draw(strip).text((2, 2), text, fill="firebrick" if near else "black", font=font)
    return np.asarray(strip).transpose(2, 0, 1)
