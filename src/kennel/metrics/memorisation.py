"""MiFID: a FID that punishes copying, as Kaggle's Generative Dog Images scored it.

Bai, Lin, Raffel, Kan, "On training sample memorization" (KDD 2021, arXiv 2106.03062), equations 1 to 4, in
the direction of the published scorer: the mean over *generated* images of the distance to the nearest
*training* image. (The other direction rewards what should be punished: fakes that are copies of a few
training images leave most training images far from any fake.)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kennel.errors import JudgementError
from kennel.features.moments import Float64Array, FloatArray, blocks

EPSILON = 0.1
"""The public leaderboard's threshold for Inception features."""
TINY = 1e-15
"""Keeps the division finite where the distance is 0."""
FAKE_BLOCK, TRAINING_BLOCK = 2048, 8192


@dataclass(frozen=True)
class Mifid:
    """One MiFID with all that it is made of: never one number alone.

    `distance` is the mean nearest cosine distance d; `penalty` is the M(d) that FID is divided by, 1 for no
    punishment; `value` is `fid / (penalty + 1e-15)`.
    """

    fid: float
    distance: float
    epsilon: float
    penalty: float
    value: float


def mifid(fid: float, distance: float, epsilon: float = EPSILON) -> Mifid:
    """MiFID from its parts: the penalty is d below `epsilon` and 1 from there on, by the mean alone."""
    penalty = distance if distance < epsilon else 1.0
    return Mifid(fid, distance, epsilon, penalty, fid / (penalty + TINY))


def nearest_distances(fakes: FloatArray, training: FloatArray) -> Float64Array:
    """For each fake the least 1 - |cos| to a training row, float64 (fakes that count,).

    Rows whose features sum to 0 are dropped on both sides, as the scorer does. Products run in float32
    blocks of a fixed size; the winner of each fake is computed again in float64, so an exact copy is at
    0 to 1e-15. Raises `JudgementError` where no row is left or a value is not finite.
    """
    queries = _unit_rows(fakes, "fakes")
    best = np.full(len(queries), -1.0, np.float32)
    winner = np.zeros((len(queries), fakes.shape[1]), np.float32)
    training_rows = 0
    for block in blocks(training, TRAINING_BLOCK):
        candidates = _unit_rows(block, "reference", may_be_empty=True)
        training_rows += len(candidates)
        if not len(candidates):
            continue
        for start in range(0, len(queries), FAKE_BLOCK):
            rows = slice(start, start + FAKE_BLOCK)
            cosines = np.abs(queries[rows] @ candidates.T)
            place = cosines.argmax(1)
            cosine = cosines[np.arange(len(place)), place]
            better = cosine > best[rows]
            best[rows][better] = cosine[better]
            winner[rows][better] = candidates[place[better]]
    if not training_rows:
        raise JudgementError("all features of the reference are zero: no distance to it can be measured")
    return _distances(queries, winner)


def _unit_rows(rows: FloatArray, which: str, may_be_empty: bool = False) -> npt.NDArray[np.float32]:
    """Rows with a sum other than 0, scaled to length 1."""
    if not np.isfinite(rows).all():
        raise JudgementError(f"the features of the {which} hold NaN or infinite values: check the images")
    kept = rows[rows.sum(1, dtype=np.float64) != 0].astype(np.float64)
    if not len(kept) and not may_be_empty:
        raise JudgementError(f"all features of the {which} are zero: no distance can be measured")
    unit: npt.NDArray[np.float32] = (kept / np.linalg.norm(kept, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _distances(queries: npt.NDArray[np.float32], winners: npt.NDArray[np.float32]) -> Float64Array:
    """1 - |cos| of pairs of rows in float64."""
    distances = np.empty(len(queries))
    for start in range(0, len(queries), FAKE_BLOCK):
        rows = slice(start, start + FAKE_BLOCK)
        one, other = queries[rows].astype(np.float64), winners[rows].astype(np.float64)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        distances[rows] = 1 - np.abs((one * other).sum(1)) / lengths
    return np.clip(distances, 0.0, 1.0)
