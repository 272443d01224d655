"""Resolves a run's recipe and plan before it begins, and checks what a resumed run may change."""

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
from kennel.engine.compute_defaults import refuse_graphs_elsewhere, with_compute, with_compute_defaults
from kennel.engine.precision import BOUND, precision_for
from kennel.engine.state import TrainPlan
from kennel.errors import RecipeError, RunError
from kennel.runs import checkpoint
from kennel.runs.identity import RESUMABLE_KEYS
from kennel.runs.pretrained_teacher import teacher_of_run, with_extractor
from kennel.runs.run_dir import RunDir
from kennel.storage.atomic_io import write_text
from kennel.training.validation import with_metric_names


def resolve_recipe(
    recipe: Recipe,
    dataset: ImageDataset,
    folder: RunDir,
    weights: Path | None,
    device: torch.device,
    log: Callable[[str], None] = lambda sentence: None,
    bound: float = BOUND,
    parent: Path | None = None,
) -> Recipe:
    """The recipe of a run in `folder`, with all values that depend on the set and the device filled in.

    An existing run keeps its precision; for a new one "auto" is measured for about `bound` seconds. `parent`
    is the run that a new one starts from. Raises `KennelError` if recipe and set do not fit; writes nothing.
    """
    if folder.exists():
        refuse_unregistered(folder.recipe(), f"the run in {folder.path}")
    recipe = resolve(recipe, dataset)
    recipe = recipe.model_copy(update={"validation": with_metric_names(recipe.validation)})
    recipe = with_extractor(recipe, folder, weights, teacher_of_run(recipe, folder, parent), log)
    begun = folder.recipe() if folder.exists() else None
    refuse_graphs_elsewhere(recipe, device)
    total = recipe.budget.in_images(len(dataset))
    if recipe.batch_size > total:
        raise RecipeError(
            f"a batch of {recipe.batch_size:,} is more than the whole budget of {total:,} images: give a "
            "smaller --set batch_size=..., or a larger --images"
        )
    if begun is None and recipe.compute.precision == "auto":
        found = precision_for(recipe, make_plan(recipe, total, device), log, bound)
        recipe = with_compute(recipe, precision=found)
    return with_compute_defaults(recipe, device, begun)


def make_plan(recipe: Recipe, total: int, device: torch.device) -> TrainPlan:
    """Divides a budget of `total` images into ticks of whole iterations."""
    iteration_images = recipe.batch_size * recipe.steps.discriminator
    tick_images = max(iteration_images, math.ceil(total / recipe.num_ticks))
    return TrainPlan(recipe.batch_size, recipe.steps, total, tick_images, recipe.seed, device)


def begin_or_match(
    folder: RunDir,
    recipe: Recipe,
    dataset: ImageDataset,
    about: Mapping[str, Any],
    log: Callable[[str], None],
) -> None:
    """Begins a new run, or checks the changes to an existing one, reports them and saves the recipe."""
    if not folder.exists():
        dataset.refuse_other_pixels()
        folder.begin(recipe, about)
        return
    old, changes = folder.recipe(), changes_since(folder, recipe, dataset)
    same_metric = old.validation.metric == recipe.validation.metric
    drops = any(part.options.get("dropout") for part in (recipe.generator, recipe.discriminator))
    masks = ", and dropout may draw other masks" if drops else ""
    again = "" if same_metric else " The search for the best starts again."
    messages = {
        "budget.": ("Budget", " Schedules over the run stretch with it."),
        "compute.": ("Speed", f" From here on sums are rounded in another order{masks}."),
        "validation.": ("Validation", f" Training is not affected.{again}"),
        "alarms.": ("Alarms", ""),
        "keep_": ("Kept checkpoints", ""),
    }
    for prefix, (title, effect) in messages.items():
        if part := [change for change in changes if change.startswith(prefix)]:
            log(f"{title} changed: {'; '.join(part)}.{effect}")
    if changes:
        write_text(folder.recipe_file, recipe.to_yaml())


def changes_since(folder: RunDir, recipe: Recipe, dataset: ImageDataset) -> list[str]:
    """What `recipe` changes in the run in `folder`, as lines of `difference`.

    Raises `KennelError` for other data, and for changes of keys that are not in `RESUMABLE_KEYS`.
    """
    old, about = folder.recipe(), folder.about()
    if about["data"]["fingerprint"] != dataset.fingerprint:
        raise RunError(
            f"the run in {folder.path} was trained on {about['data']['path']} (fingerprint "
            f"{about['data']['fingerprint'][:8]}), not on {dataset.name} ({dataset.fingerprint[:8]}): "
            "give that set, or another --out"
        )
    if known := about["data"].get("pixels"):
        dataset.refuse_changed(known)
    changes = difference(old, recipe)
    refused = [change for change in changes if not change.startswith(RESUMABLE_KEYS)]
    if refused:
        raise RecipeError(
            f"the run in {folder.path} has another recipe ({'; '.join(refused)}): give the same settings to "
            f"continue it, another --out to start again, or --out NEW --init-from "
            f"{shlex.quote(str(folder.path))} to start a new run from its weights"
        )
    if any(change.startswith("budget.") for change in changes):
        seen = max((int(path.stem) for path in checkpoint.in_folder(folder.checkpoints)), default=0)
        if recipe.budget.in_images(len(dataset)) < seen:
            raise RunError(
                f"the run in {folder.path} has seen {seen:,} images already: give a budget of at least as "
                "many, or another --out"
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
