"""Curves over the progress of a run: 0 at its start, 1 at its end."""

import math
from typing import Literal

Decay = Literal["constant", "linear", "cosine"]


def decayed(kind: Decay, start: float, end: float, progress: float) -> float:
    """The value at `progress`, which is clamped to [0, 1].

    `constant` stays at `start`; `linear` and `cosine` go from `start` to `end`.
    """
    progress = min(max(progress, 0.0), 1.0)
    match kind:
        case "constant":
            return start
        case "linear":
            return start + (end - start) * progress
        case "cosine":
            return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
