"""Checks of features: two dimensions, enough rows, finite values."""

import numpy as np

from kennel.errors import JudgementError
from kennel.features.moments import FloatArray, blocks


def check_features(rows: FloatArray, side: str, min_count: int = 2) -> None:
    """Raises `JudgementError` for features that are not (count, dimension), too few, or not finite. `side` is
    named in the message ("fakes", "reference"). Values are read in blocks, so a memory-mapped array is never
    loaded whole."""
    if rows.ndim != 2 or not rows.shape[1]:
        raise JudgementError(
            f"the features of the {side} have the shape {rows.shape}: give one row of features per image"
        )
    if len(rows) < min_count:
        raise JudgementError(
            f"this metric needs at least {min_count} images, and the {side} are {len(rows)}: give more"
        )
    if not all(np.isfinite(block).all() for block in blocks(rows)):
        raise JudgementError(f"the features of the {side} contain NaN or infinite values: check the images")


def check_pair(fakes: FloatArray, reference: FloatArray, min_count: int = 2) -> None:
    """`check_features` of both sides, which must have the same dimension."""
    check_features(fakes, "fakes", min_count)
    check_features(reference, "reference", min_count)
    if fakes.shape[1] != reference.shape[1]:
        raise JudgementError(
            f"features of {fakes.shape[1]} and {reference.shape[1]} dimensions cannot be compared: use the "
            "same extractor for both sides"
        )
