"""The Inception Score (Salimans et al., arXiv 1606.03498, section 4): exp(E_x KL(p(y|x) || p(y)))."""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from kennel.errors import JudgementError
from kennel.features.moments import FloatArray

SPLITS = 10
SHUFFLE_SEED = 2020
"""torch-fidelity's default, so that equal logits give equal scores."""


@dataclass(frozen=True)
class InceptionScore:
    """`mean` and `deviation` (population standard deviation) over the splits."""

    mean: float
    deviation: float
    splits: int


def inception_score(
    logits: FloatArray, splits: int = SPLITS, shuffle_seed: int | None = SHUFFLE_SEED
) -> InceptionScore:
    """The score of (images, classes) logits, in float64, as mean and deviation over `splits` equal parts.

    The images are shuffled first (NumPy's `RandomState(shuffle_seed).permutation`, as torch-fidelity does),
    or a set sorted by class would score 1; None leaves them in order. Raises `JudgementError` where there
    are fewer images than splits, or a logit is not finite.
    """
    count = len(logits)
    if not 1 <= splits <= count:
        raise JudgementError(
            f"{count} images cannot be split into {splits} parts: give more images or fewer --splits"
        )
    if not np.isfinite(logits).all():
        raise JudgementError("the logits hold NaN or infinite values: check the images and the weights")
    if shuffle_seed is not None:
        logits = logits[np.random.RandomState(shuffle_seed).permutation(count)]
    scores = []
    for part in range(splits):
        rows = logits[part * count // splits : (part + 1) * count // splits].astype(np.float64)
        log_conditional = log_softmax(rows, axis=1)
        conditional = np.exp(log_conditional)
        # p log p is 0 where p is: log of the floor never meets a weight.
        log_marginal = np.log(np.maximum(conditional.mean(0), np.finfo(np.float64).tiny))
        divergence = (conditional * (log_conditional - log_marginal)).sum(1)
        scores.append(np.exp(divergence.mean()))
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), splits)
