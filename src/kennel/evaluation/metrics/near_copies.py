"""Which images are most likely copies of which training images: ranked by features, decided by pixels.

The judged images are ranked by how much nearer the nearest reference image is than the third nearest
(`Neighbourhoods.ratios`), after the ratio test by which Lowe (2004, section 7.1) tells a true match of two
features from the best of many false ones. The first ones are laid over their five nearest reference images
(`_alignment`), mirrored and shifted too: features say where to look, pixels say what is there.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from kennel.data.images import ImageSource, PixelArray, read_rows
from kennel.evaluation.metrics._alignment import SAME, Alignment, align, averaged, cell
from kennel.evaluation.metrics._nearest import IndexArray, nearest
from kennel.evaluation.metrics.context import FeatureSide, MetricContext
from kennel.evaluation.metrics.mifid import Neighbourhoods, neighbourhoods

NEAREST_FIRST = 20
"""For the first n by ratio alone, ratios are taken of the 20 n images that are nearest to the reference."""
SAMPLE, ALIKE, CANDIDATES = 256, 0.05, 5
"""Reference images that tell how alike real ones are, the share of them that counts, and their neighbours."""
SHARE, LEAST = 0.1, 256
"""So much of the images, and at least so many of them, are compared by their pixels at a time."""


@dataclass(frozen=True)
class Suspect:
    """A judged image beside the reference images that are nearest to it.

    `image` is its index in the set it was taken from, `references` are those of the nearest reference images
    with their cosine `distances`, rising; `ratio` is the first distance by the third. `alignment` says how
    the best fitting of them lies over it, None where no pixels were compared.
    """

    image: int
    references: tuple[int, ...]
    distances: tuple[float, ...]
    ratio: float
    alignment: Alignment | None = None

    @property
    def copied(self) -> bool:
        """Whether the pixels show it to be a copy."""
        return self.alignment is not None and self.alignment.same

    @property
    def reference(self) -> int:
        """The index of the reference image that it may be a copy of: the copied one, else the nearest."""
        if self.alignment is not None and self.alignment.same:
            return self.references[self.alignment.candidate]
        return self.references[0]

    @property
    def verdict(self) -> str:
        """What the pixels say, in words; empty where none were compared."""
        return "" if self.alignment is None else self.alignment.words()


Suspects: TypeAlias = list[Suspect]


def suspects(context: MetricContext, count: int | None = None) -> Suspects:
    """Judged images, most suspicious first: copies by their remaining difference, then the rest by ratio.

    All images, and a tenth of them after another is compared by pixels for as long as the last tenth held a
    copy; or only the first `count`, at little cost. The first call's answer is kept with the evidence.
    """
    return context.once("suspects", partial(_suspects, context, count))


def allowed_difference(context: MetricContext) -> tuple[float, float]:
    """How much of a picture's variance may be left for a copy of it, and the share of real ones that pass.

    `SAME`, or half of what is left of real images beside the others nearest to them, of the 5% that are most
    alike, where that is less: two shirts differ by little and neither was copied. It is taken from at most
    256 random reference images, and so is the share of them that would be called copies of another one.
    """
    return context.once("allowed_difference", partial(_allowed_difference, context))


def _allowed_difference(context: MetricContext) -> tuple[float, float]:
    features, source = context.reference.features, context.reference.source
    if source is None or len(features) < 2:
        return SAME, 0.0
    random = np.random.default_rng([context.settings.seed, len(features), SAMPLE])
    rows = np.sort(random.choice(len(features), min(SAMPLE, len(features)), replace=False))
    rows = rows[np.asarray(features[rows]).sum(1, dtype=np.float64) != 0]
    if not len(rows):
        return SAME, 0.0
    count = min(CANDIDATES + 1, len(features))
    found = nearest(np.asarray(features[rows]), features, count, device=context.settings.device)
    others = [
        [place for place in near if place != row][: count - 1]
        for row, near in zip(rows, found.indices, strict=True)
    ]
    images = _small(source, _source_rows(context.reference, rows).tolist())
    places, which = np.unique(np.array(others, np.int64), return_inverse=True)
    references = _small(source, _source_rows(context.reference, places).tolist())
    left = np.array(
        [
            align(image, references[near]).unexplained
            for image, near in zip(images, which.reshape(len(rows), -1), strict=True)
        ]
    )
    allowed = min(SAME, float(np.quantile(left, ALIKE)) / 2)
    return allowed, float((left <= allowed).mean())


def has_pixels(context: MetricContext) -> bool:
    """Whether the images of both sides can be looked at."""
    return context.images.source is not None and context.reference.source is not None


def _suspects(context: MetricContext, count: int | None) -> Suspects:
    found = context.neighbourhoods if count is None else _of_the_nearest(context, NEAREST_FIRST * count)
    # Exact copies have a ratio of 0 all; among equals the nearer one goes first.
    order = np.lexsort((found.distances[:, 0], found.ratios))
    order = order[:count]
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
    step = len(ranked) if count else max(LEAST, round(SHARE * len(ranked)))
    seen: Suspects = []
    for start in range(0, len(ranked), step):
        looked_at = _compared(context, ranked[start : start + step])
        seen += looked_at
        if not any(one.copied for one in looked_at):
            break
    return sorted(seen, key=_order) + ranked[len(seen) :]


def _of_the_nearest(context: MetricContext, count: int) -> Neighbourhoods:
    """The neighbourhoods of the images that are nearest to the reference."""
    near = context.nearest
    rows = np.sort(near.fakes[np.argsort(near.distances, kind="stable")[:count]])
    features = np.asarray(context.images.features[rows])
    found = neighbourhoods(features, context.reference.features, device=context.settings.device)
    return Neighbourhoods(found.distances, rows[found.fakes], found.training)


def _order(one: Suspect) -> tuple[bool, float, float]:
    """Copies first, by what is left to explain; of equals, and of the others, the lower ratio."""
    left = one.alignment.unexplained if one.alignment is not None and one.copied else 0.0
    return not one.copied, left, one.ratio


def _source_rows(side: FeatureSide, rows: IndexArray) -> IndexArray:
    """Indices in the set that the side's images were taken from."""
    return rows if side.rows is None else side.rows[rows]


def _compared(context: MetricContext, ranked: Suspects) -> Suspects:
    """The same suspects, with their alignments."""
    assert context.images.source is not None
    assert context.reference.source is not None
    images = _small(context.images.source, [one.image for one in ranked])
    rows = np.array([one.references for one in ranked], np.int64)
    places, which = np.unique(rows, return_inverse=True)
    references = _small(context.reference.source, places.tolist())
    factor = cell(min(context.images.source.shape[1:]))
    allowed, _ = allowed_difference(context)
    compared = []
    for one, image, near in zip(ranked, images, which.reshape(rows.shape), strict=True):
        alignment = align(image, references[near])
        compared.append(replace(one, alignment=replace(alignment.enlarged(factor), allowed=allowed)))
    return compared


def _small(source: ImageSource, rows: list[int]) -> PixelArray:
    factor = cell(min(source.shape[1:]))
    return read_rows(source, np.array(rows, np.int64), partial(averaged, factor=factor))
