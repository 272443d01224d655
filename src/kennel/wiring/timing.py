"""A budget in hours: how many images they come to, by a few real iterations that are timed first."""

import math
from pathlib import Path

import torch

from kennel.distributed import world_size
from kennel.errors import RecipeError
from kennel.recipe import Recipe
from kennel.wiring.planning import forecast

WHOLE = 100
"""Budgets from measured speeds are whole hundreds."""


def measured_speed(
    recipe: Recipe, data: Path, device: torch.device, weights: Path | None, resident_bytes: int | None
) -> float:
    """Images per second of training, by the iterations that `kennel plan` times.

    Raises what training would refuse, and `RecipeError` where no iteration could be timed.
    """
    found = forecast(recipe, data, device=device, weights=weights, resident_bytes=resident_bytes)
    if found.images_per_second is None:
        why = "needs more memory than is free" if found.stopped == "memory" else "takes too long to be timed"
        raise RecipeError(
            f"--hours goes by the speed of an iteration, and one {why}: give --images, or a smaller "
            "--set batch=..."
        )
    return found.images_per_second


def check_hours(hours: float | None) -> None:
    """Raises `RecipeError` for hours that are none, and where several ranks would have to time together."""
    if hours is None:
        return
    if not (math.isfinite(hours) and hours > 0):
        raise RecipeError(f"--hours is {hours:g}: give a number above 0, such as 0.5")
    if world_size() > 1:
        raise RecipeError("--hours goes by the speed of one process alone: under torchrun give --images")


def images_of(hours: float, images_per_second: float, batch: int) -> int:
    """The budget that these hours come to at this speed, a batch at least."""
    images = int(hours * 3600 * images_per_second)
    return max(batch, images // WHOLE * WHOLE)


def speed_words(hours: float, images_per_second: float) -> str:
    """What a budget was made of."""
    return f"{hours:g} hour{'s' * (hours != 1)} at the {images_per_second:.3g} images/s that were measured"
