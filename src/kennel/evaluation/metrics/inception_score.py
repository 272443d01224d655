"""The Inception Score (Salimans et al., arXiv 1606.03498, section 4): exp(E_x KL(p(y|x) || p(y)))."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from kennel.errors import JudgementError
from kennel.features.moments import BLOCK, Float64Array, FloatArray, IndexArray, blocks

SPLITS = 10
SHUFFLE_SEED = 2020  # torch-fidelity's default, so that equal logits give equal scores


@dataclass(frozen=True)
class InceptionScore:
    """`deviation` is the population standard deviation over the splits."""

    mean: float
    deviation: float
    splits: int


def inception_score(
    logits: FloatArray, splits: int = SPLITS, shuffle_seed: int | None = SHUFFLE_SEED
) -> InceptionScore:
    """The score of (images, classes) logits, in float64: mean and deviation over `splits` equal parts.

    The images are shuffled first with NumPy's `RandomState(shuffle_seed).permutation`, as in torch-fidelity:
    parts of a set sorted by class would score 1. None keeps the order. Raises `JudgementError` if there are
    fewer images than splits, or a logit is not finite.
    """
    count = len(logits)
    if not 1 <= splits <= count:
        raise JudgementError(
            f"{count} images cannot be split into {splits} parts: give more images or lower --splits"
        )
    if not all(np.isfinite(block).all() for block in blocks(logits)):
        raise JudgementError("the logits contain NaN or infinite values: check the images and the weights")
    order = np.arange(count)
    if shuffle_seed is not None:
        order = np.random.RandomState(shuffle_seed).permutation(count)
    scores = [
        _score(logits, order[part * count // splits : (part + 1) * count // splits]) for part in range(splits)
    ]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), splits)


def _score(logits: FloatArray, rows: IndexArray) -> float:
    """exp of the mean divergence of some rows, which are read twice in blocks."""
    parts = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    total = sum(np.exp(_log_conditional(logits[part])).sum(0) for part in parts)
    # Where p is 0, so is p log p: the logarithm of the minimum has weight 0.
    log_marginal = np.log(np.maximum(total / len(rows), np.finfo(np.float64).tiny))
    divergences = []
    for part in parts:
        log_conditional = _log_conditional(logits[part])
        divergences.append((np.exp(log_conditional) * (log_conditional - log_marginal)).sum(1))
    return float(np.exp(np.concatenate(divergences).mean()))


def _log_conditional(rows: FloatArray) -> Float64Array:
    """log p(y|x), float64 (rows, classes)."""
    values: Float64Array = log_softmax(rows.astype(np.float64), axis=1)
    return values
