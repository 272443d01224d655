"""Pure curves over a run's progress, 0 at its start and 1 at its end."""

import math
from typing import Literal

Decay = Literal["constant", "linear", "cosine"]


def decayed(kind: Decay, start: float, end: float, progress: float) -> float:
    """The value at `progress` on the way from `start` to `end`; before 0 and after 1 it stays at the ends.

    `constant` stays at `start`; `linear` and `cosine` arrive at `end` when progress is 1.
    """
    progress = min(max(progress, 0.0), 1.0)
    match kind:
        case "constant":
            return start
        case "linear":
            return start + (end - start) * progress
        case "cosine":
            return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
