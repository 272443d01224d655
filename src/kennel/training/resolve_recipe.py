"""What a run is to be, before it begins: its recipe in full, its plan, and what a resumed run may change."""

import math
import platform
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import kennel
from kennel.config.recipe import Recipe, difference
from kennel.data.dataset import ImageDataset
from kennel.engine.builder import refuse_unregistered, resolve
from kennel.engine.compute_defaults import refuse_graphs_elsewhere, with_compute_defaults
from kennel.engine.precision import BOUND, precision_for
from kennel.engine.state import TrainPlan
from kennel.errors import RecipeError, RunError
from kennel.runs import checkpoint
from kennel.runs.identity import RESUMABLE_KEYS
from kennel.runs.pretrained_teacher import taught_by, with_extractor
from kennel.runs.run_dir import RunDir
from kennel.storage.atomic_io import write_text
from kennel.training.validation import with_metric_names


def resolve_recipe(
    recipe: Recipe,
    dataset: ImageDataset,
    folder: RunDir,
    weights: Path | None,
    device: torch.device,
    say: Callable[[str], None] = lambda sentence: None,
    bound: float = BOUND,
    parent: Path | None = None,
) -> Recipe:
    """The recipe as a run in `folder` has it, all that the set and the machine decide filled in.

    The precision of a run that has begun is its own; of a new one it is measured, where that
    is left open, for about `bound` seconds. `parent` is the run whose weights a new one begins with.

    Raises `KennelError` where recipe and set do not fit; nothing is built or written.
    """
    if folder.exists():
        refuse_unregistered(folder.recipe(), f"the run in {folder.path}")
    recipe = resolve(recipe, dataset)
    recipe = recipe.model_copy(update={"validation": with_metric_names(recipe.validation)})
    recipe = with_extractor(recipe, folder, weights, taught_by(recipe, folder, parent), say)
    begun = folder.recipe() if folder.exists() else None
    refuse_graphs_elsewhere(recipe, device)
    total = recipe.budget.in_images(len(dataset))
    if recipe.batch_size > total:
        raise RecipeError(
            f"a batch of {recipe.batch_size:,} is more than the whole budget of {total:,} images: give a "
            "smaller --set batch_size=..., or a larger --images"
        )
    if begun is None and recipe.compute.precision == "auto":
        found = precision_for(recipe, make_plan(recipe, total, device), say, bound)
        recipe = recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"precision": found})})
    return with_compute_defaults(recipe, device, begun)


def make_plan(recipe: Recipe, total: int, device: torch.device) -> TrainPlan:
    """How a budget of `total` images is divided into rounds and ticks."""
    round_images = recipe.batch_size * recipe.steps.discriminator
    tick_images = max(round_images, math.ceil(total / recipe.num_ticks))
    return TrainPlan(recipe.batch_size, recipe.steps, total, tick_images, recipe.seed, device)


def begin_or_match(
    folder: RunDir,
    recipe: Recipe,
    dataset: ImageDataset,
    about: Mapping[str, Any],
    say: Callable[[str], None],
) -> None:
    if not folder.exists():
        dataset.refuse_other_pixels()
        folder.begin(recipe, about)
        return
    there, changes = folder.recipe(), changes_since(folder, recipe, dataset)
    budget = [change for change in changes if change.startswith("budget.")]
    measured = [change for change in changes if change.startswith("validation.")]
    if budget:
        say(f"The budget changed: {'; '.join(budget)}. Schedules over the run stretch with it.")
    if faster := [change for change in changes if change.startswith("compute.")]:
        say(f"Speed changed: {'; '.join(faster)}. From here on {_what_speed_changes(recipe)}.")
    if measured:
        anew = "" if there.validation.metric == recipe.validation.metric else " The best is sought anew."
        say(f"Validation changed: {'; '.join(measured)}. The training itself is the same.{anew}")
    if watched := [change for change in changes if change.startswith("alarms.")]:
        say(f"The alarms changed: {'; '.join(watched)}.")
    if kept := [change for change in changes if change.startswith("keep_")]:
        say(f"From the next checkpoint on another number of them is kept: {'; '.join(kept)}.")
    if changes:
        write_text(folder.recipe_file, recipe.to_yaml())


def _what_speed_changes(recipe: Recipe) -> str:
    drops = any(part.options.get("dropout") for part in (recipe.generator, recipe.discriminator))
    return "sums are rounded in another order" + (", and dropout may draw other masks" if drops else "")


def changes_since(folder: RunDir, recipe: Recipe, dataset: ImageDataset) -> list[str]:
    """What `recipe` changes of the run in `folder`, as lines of `difference`.

    Refused is what a run that goes on may not change: its data, and all but the keys of `TAKEN`.
    """
    there, about = folder.recipe(), folder.about()
    if about["data"]["fingerprint"] != dataset.fingerprint:
        raise RunError(
            f"the run in {folder.path} was trained on {about['data']['path']} (fingerprint "
            f"{about['data']['fingerprint'][:8]}), not on {dataset.name} ({dataset.fingerprint[:8]}): "
            "give that set, or another --out"
        )
    if known := about["data"].get("pixels"):
        dataset.refuse_changed(known)
    changes = difference(there, recipe)
    refused = [change for change in changes if not change.startswith(RESUMABLE_KEYS)]
    if refused:
        raise RecipeError(
            f"the run in {folder.path} was begun with another recipe ({'; '.join(refused)}): "
            f"give the same settings to go on with it, another --out to begin anew, or --out NEW --init-from "
            f"{shlex.quote(str(folder.path))} to begin a new run from its weights"
        )
    if any(change.startswith("budget.") for change in changes):
        seen = max((int(path.stem) for path in checkpoint.in_folder(folder.checkpoints)), default=0)
        if recipe.budget.in_images(len(dataset)) < seen:
            raise RunError(
                f"the run in {folder.path} has seen {seen:,} images already: give a budget of no fewer, or "
                "another --out"
            )
    return changes


def run_metadata(dataset: ImageDataset, teacher: str | None) -> dict[str, Any]:
    return {
        "teacher": teacher,
        "data": {
            "path": str(dataset.path.resolve()),
            "fingerprint": dataset.fingerprint,
            "count": len(dataset),
            "shape": list(dataset.shape),
            "classes": list(dataset.classes),
            "pixels": dataset.pixel_digest(),
        },
        "versions": {
            "kennel": kennel.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
