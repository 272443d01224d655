"""The state of a run from one of its checkpoints."""

from dataclasses import replace
from typing import Any

from kennel import rng
from kennel.config.recipe import Recipe
from kennel.engine.singular_values import Spectra
from kennel.engine.state import TrainState
from kennel.runs import checkpoint


def restore(state: TrainState, found: checkpoint.Checkpoint, recipe: Recipe, spectra: Spectra) -> None:
    """The networks, and all that trains them and is measured of them, as they were at this checkpoint."""
    checkpoint.restore(found, state.step, state.running_means)
    state.images_seen = found.images_seen
    spectra.load_state_dict(found.below("spectra"))
    apply_rollbacks(state, recipe, int(found.metadata.get("rollbacks", 0)))


def spectra_tensors(spectra: Spectra) -> dict[str, Any]:
    """The state of the singular values as a checkpoint holds it."""
    return {f"spectra.{name}": value for name, value in spectra.state_dict().items()}


def apply_rollbacks(state: TrainState, recipe: Recipe, count: int) -> None:
    """Counts `count` rollbacks: each gives all random numbers a new key and lowers learning rates."""
    state.rollbacks = count
    state.plan = replace(state.plan, seed=seed_after(recipe.seed, count))
    state.scale_learning_rates(recipe.alarms.rate_factor**count)


def seed_after(seed: int, rollbacks: int) -> int:
    """The seed of a run after so many rollbacks: the recipe's own before the first."""
    return seed if rollbacks == 0 else rng.key(seed, f"rollback {rollbacks}")
