"""Restores a training state from one given checkpoint; `resume` and `rollback` choose the checkpoint."""

from dataclasses import replace
from typing import Any

from kennel import rng
from kennel.config.recipe import Recipe
from kennel.engine.singular_values import Spectra
from kennel.engine.state import TrainState
from kennel.runs import checkpoint


def restore(state: TrainState, found: checkpoint.Checkpoint, recipe: Recipe, spectra: Spectra) -> None:
    """Restores networks, optimizers, techniques, means, singular vectors and the number of rollbacks."""
    checkpoint.restore(found, state.step, state.running_means)
    state.images_seen = found.images_seen
    spectra.load_state_dict(found.below("spectra"))
    apply_rollbacks(state, recipe, int(found.metadata.get("rollbacks", 0)))


def spectra_tensors(spectra: Spectra) -> dict[str, Any]:
    return {f"spectra.{name}": value for name, value in spectra.state_dict().items()}


def apply_rollbacks(state: TrainState, recipe: Recipe, count: int) -> None:
    """Sets the number of rollbacks: each changes the seed and multiplies learning rates by `rate_factor`."""
    state.rollbacks = count
    state.plan = replace(state.plan, seed=seed_after(recipe.seed, count))
    state.scale_learning_rates(recipe.alarms.rate_factor**count)


def seed_after(seed: int, rollbacks: int) -> int:
    """The seed of a run after a number of rollbacks; the recipe's own if there are none."""
    return seed if rollbacks == 0 else rng.key(seed, f"rollback {rollbacks}")


def capitalized(error: Exception) -> str:
    """The error's message as the start of a sentence."""
    return f"{str(error)[0].upper()}{str(error)[1:]}"
