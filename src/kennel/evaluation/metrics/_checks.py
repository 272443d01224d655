"""What every metric asks of its features before it computes: two dimensions, enough rows, finite values."""

import numpy as np

from kennel.errors import JudgementError
from kennel.features.moments import FloatArray, blocks


def check_features(rows: FloatArray, which: str, least: int = 2) -> None:
    """Refuses features (count, dimension) that cannot be measured, with `JudgementError`.

    `which` names the side in the sentence ("fakes", "reference"); `least` is the fewest rows that the metric
    can use. The values are looked at in blocks, so a memory-mapped array is never held whole.
    """
    if rows.ndim != 2 or not rows.shape[1]:
        raise JudgementError(
            f"the features of the {which} have the shape {rows.shape}: give one row of features per image"
        )
    if len(rows) < least:
        raise JudgementError(
            f"this metric needs at least {least} images, and the {which} are {len(rows)}: give more"
        )
    if not all(np.isfinite(block).all() for block in blocks(rows)):
        raise JudgementError(f"the features of the {which} hold NaN or infinite values: check the images")


def check_pair(fakes: FloatArray, reference: FloatArray, least: int = 2) -> None:
    """`check_features` of both sides, which must have one dimension."""
    check_features(fakes, "fakes", least)
    check_features(reference, "reference", least)
    if fakes.shape[1] != reference.shape[1]:
        raise JudgementError(
            f"features of {fakes.shape[1]} and {reference.shape[1]} dimensions cannot be compared: "
            "use one extractor for both sides"
        )
