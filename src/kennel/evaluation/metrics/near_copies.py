"""The images that are most likely copies of training images: ranked by features, decided by pixels.

Images are ranked by the ratio of their distances to the nearest and the third nearest reference image
(`Neighborhoods.ratios`), like the ratio test of Lowe (2004, section 7.1) for feature matches. The first ones
are aligned with their five nearest reference images (`_alignment`), including shifts and mirroring.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from kennel.data.images import ImageSource, PixelArray, read_rows
from kennel.evaluation.metrics._alignment import MAX_UNEXPLAINED, Alignment, align, average_cells, cell_size
from kennel.evaluation.metrics._nearest import nearest
from kennel.evaluation.metrics.context import FeatureSide, MetricContext
from kennel.evaluation.metrics.mifid import Neighborhoods, neighborhoods
from kennel.features.moments import IndexArray

NEAREST_FIRST = 20
"""For the first n images only, ratios are computed for the 20 n images nearest to the reference."""
SAMPLE, QUANTILE, CANDIDATES = 256, 0.05, 5
"""For the similarity of real images: the reference images sampled, the quantile, the neighbors of each."""
COMPARED_SHARE, MIN_COMPARED = 0.1, 256
"""The share, and the minimum number, of images whose pixels are compared at a time."""


@dataclass(frozen=True)
class Suspect:
    """An image with its nearest reference images. `image` is its index in its set; `references` are indices
    of the reference images, with their cosine `distances`, ascending; `ratio` is the first distance divided
    by the third. `alignment` is the best fit of the references, None if no pixels were compared."""

    image: int
    references: tuple[int, ...]
    distances: tuple[float, ...]
    ratio: float
    alignment: Alignment | None = None

    @property
    def copied(self) -> bool:
        """Whether the pixels show a copy."""
        return self.alignment is not None and self.alignment.matches

    @property
    def reference(self) -> int:
        """The index of the copied reference image, or else of the nearest."""
        if self.alignment is not None and self.alignment.matches:
            return self.references[self.alignment.candidate]
        return self.references[0]

    @property
    def verdict(self) -> str:
        """The result of the pixel comparison in words; empty without one."""
        return "" if self.alignment is None else self.alignment.words()


Suspects: TypeAlias = list[Suspect]


def suspects(context: MetricContext, count: int | None = None) -> Suspects:
    """Images, most suspicious first: copies by their unexplained variance, then the rest by ratio. All
    images, compared by pixels one tenth after another until a tenth has no copy; or only the first `count`,
    at little cost. The result of the first call is cached in the context."""
    return context.cached("suspects", partial(_suspects, context, count))


def allowed_difference(context: MetricContext) -> tuple[float, float]:
    """The share of an image's variance that may be unexplained in a copy, and the share of real images that
    pass.

    It is at most `MAX_UNEXPLAINED`. It is less if real images are similar: half of the 5% quantile of the
    unexplained variance between real images and their nearest neighbors. Both are measured on at most 256
    random reference images.
    """
    return context.cached("allowed_difference", partial(_allowed_difference, context))


def _allowed_difference(context: MetricContext) -> tuple[float, float]:
    features, source = context.reference.features, context.reference.source
    if source is None or len(features) < 2:
        return MAX_UNEXPLAINED, 0.0
    random = np.random.default_rng([context.settings.seed, len(features), SAMPLE])
    rows = np.sort(random.choice(len(features), min(SAMPLE, len(features)), replace=False))
    rows = rows[np.asarray(features[rows]).sum(1, dtype=np.float64) != 0]
    if not len(rows):
        return MAX_UNEXPLAINED, 0.0
    count = min(CANDIDATES + 1, len(features))
    neighbors = nearest(np.asarray(features[rows]), features, count, device=context.settings.device)
    others = [
        [index for index in indices if index != row][: count - 1]
        for row, indices in zip(rows, neighbors.indices, strict=True)
    ]
    images = _read_reduced(source, _source_rows(context.reference, rows))
    alignments = _aligned(context, images, _source_rows(context.reference, np.array(others, np.int64)))
    unexplained = np.array([alignment.unexplained for alignment in alignments])
    allowed = min(MAX_UNEXPLAINED, float(np.quantile(unexplained, QUANTILE)) / 2)
    return allowed, float((unexplained <= allowed).mean())


def has_pixels(context: MetricContext) -> bool:
    """Whether the pixels of both sides are available."""
    return context.images.source is not None and context.reference.source is not None


def _suspects(context: MetricContext, count: int | None) -> Suspects:
    found = context.neighborhoods if count is None else _nearest_neighborhoods(context, NEAREST_FIRST * count)
    # All exact copies have the ratio 0; equal ratios are ordered by distance.
    order = np.lexsort((found.distances[:, 0], found.ratios))[:count]
    images = _source_rows(context.images, found.fakes[order])
    references = _source_rows(context.reference, found.training[order])
    ranked = [
        Suspect(int(image), tuple(rows.tolist()), tuple(distances.tolist()), float(ratio))
        for image, rows, distances, ratio in zip(
            images, references, found.distances[order], found.ratios[order], strict=True
        )
    ]
    if not has_pixels(context):
        return ranked
    step = len(ranked) if count else max(MIN_COMPARED, round(COMPARED_SHARE * len(ranked)))
    compared: Suspects = []
    for start in range(0, len(ranked), step):
        compared += _compared(context, ranked[start : start + step])
        if not any(suspect.copied for suspect in compared[start:]):
            break
    return sorted(compared, key=_sort_key) + ranked[len(compared) :]


def _nearest_neighborhoods(context: MetricContext, count: int) -> Neighborhoods:
    """The neighborhoods of the `count` images that are nearest to the reference."""
    near = context.nearest
    rows = np.sort(near.fakes[np.argsort(near.distances, kind="stable")[:count]])
    features = np.asarray(context.images.features[rows])
    found = neighborhoods(features, context.reference.features, device=context.settings.device)
    return Neighborhoods(found.distances, rows[found.fakes], found.training)


def _sort_key(suspect: Suspect) -> tuple[bool, float, float]:
    """Copies first, by unexplained variance; then the lower ratio."""
    unexplained = suspect.alignment.unexplained if suspect.alignment is not None and suspect.copied else 0.0
    return not suspect.copied, unexplained, suspect.ratio


def _source_rows(side: FeatureSide, rows: IndexArray) -> IndexArray:
    """Row numbers of a side as indices in its set."""
    return rows if side.rows is None else side.rows[rows]


def _compared(context: MetricContext, ranked: Suspects) -> Suspects:
    assert context.images.source is not None
    images = _read_reduced(context.images.source, np.array([one.image for one in ranked], np.int64))
    references = np.array([one.references for one in ranked], np.int64)
    factor = cell_size(min(context.images.source.shape[1:]))
    allowed, _ = allowed_difference(context)
    return [
        replace(suspect, alignment=replace(alignment.scaled(factor), allowed=allowed))
        for suspect, alignment in zip(ranked, _aligned(context, images, references), strict=True)
    ]


def _aligned(context: MetricContext, images: PixelArray, references: IndexArray) -> list[Alignment]:
    """The best alignment of each image with its (images, candidates) `references`, each read once."""
    assert context.reference.source is not None
    rows, indices = np.unique(references, return_inverse=True)
    pixels = _read_reduced(context.reference.source, rows)
    return [
        align(image, pixels[own])
        for image, own in zip(images, indices.reshape(references.shape), strict=True)
    ]


def _read_reduced(source: ImageSource, rows: IndexArray) -> PixelArray:
    factor = cell_size(min(source.shape[1:]))
    return read_rows(source, rows, partial(average_cells, factor=factor))
