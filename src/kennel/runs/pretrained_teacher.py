"""The pretrained network that trains a run's generator, which must not choose the best checkpoint too."""

from collections.abc import Callable
from pathlib import Path

from kennel.config.recipe import Recipe
from kennel.engine.builder import build_networks
from kennel.errors import RecipeError
from kennel.features.base import EXTRACTORS
from kennel.features.factory import choose_extractor
from kennel.features.pixels import PixelCells
from kennel.networks import DISCRIMINATORS, Discriminator
from kennel.registry import unknown_name
from kennel.runs.run_dir import RunDir

SMALL_SIDE = 32
"""Pixels up to which gray images are taken for digits and the like."""


def teacher_of_run(recipe: Recipe, folder: RunDir, parent: Path | None = None) -> str | None:
    """The teacher of the recipe, else the one recorded by the run in `folder`, else by its `parent`."""
    if own := teacher_of(recipe):
        return own
    if folder.exists():
        return recorded_teacher(folder)
    return None if parent is None else recorded_teacher(RunDir(parent))


def recorded_teacher(folder: RunDir) -> str | None:
    teacher: str | None = folder.about().get("teacher")
    return teacher


def teacher_of(recipe: Recipe) -> str | None:
    """The pretrained network in a resolved recipe's discriminator, or else the extractor of its instances."""
    kind = DISCRIMINATORS[recipe.discriminator.name]
    own = None if kind.teacher is Discriminator.teacher else build_networks(recipe).discriminator.teacher
    instances = recipe.instances.extractor if recipe.instances.neighbors else None
    if instances is not None and instances not in EXTRACTORS:
        # This refuses "auto" too, which may mean another network at a resume, so that the teacher is unknown.
        raise unknown_name("extractor for instances", instances, EXTRACTORS)
    if own is not None and instances not in (None, own):
        raise RecipeError(
            f"the instances use features of {instances}, but the discriminator uses {own}: a run records one "
            f"teacher only, and scores by either would be biased; add --set instances.extractor={own}"
        )
    return own or instances


def with_extractor(
    recipe: Recipe,
    folder: RunDir,
    weights: Path | None,
    teacher: str | None,
    log: Callable[[str], None],
) -> Recipe:
    """Decides the validation's extractor once; a run that has begun keeps its own.

    `choose_extractor` replaces "auto", and also the `teacher`, whose scores would be biased; small gray
    images, of which networks trained on photographs know nothing, take plain pixels instead of "auto". With
    plain pixels the metric is FID instead of MiFID, whose epsilon was chosen for Inception features and would
    penalize real images.
    """
    validation = recipe.validation
    uses_teacher = teacher is not None and validation.extractor == teacher and validation.every_ticks > 0
    if validation.extractor != "auto" and not uses_teacher:
        return recipe
    if folder.exists():
        name = folder.recipe().validation.extractor
    elif uses_teacher and weights is not None:
        raise _weights_of_teacher(teacher, weights)
    elif weights is None and not uses_teacher and _is_small_gray(recipe):
        name = PixelCells.name
    else:
        name = choose_extractor(weights, teacher=teacher, fast_only=True)
        if teacher is not None and name == teacher and validation.every_ticks > 0:
            raise _weights_of_teacher(teacher, weights)
    if uses_teacher:
        log(
            f"{teacher} trains this run's generator, so it must not choose the best checkpoint: validation "
            f"uses {name}. `kennel judge --extractor {teacher}` measures with it, with a warning."
        )
    metric = "fid" if name == PixelCells.name and validation.metric == "mifid" else validation.metric
    extra = tuple(one for one in validation.extra_metrics if one != metric)
    found = validation.model_copy(update={"extractor": name, "metric": metric, "extra_metrics": extra})
    return recipe.model_copy(update={"validation": found})


def _is_small_gray(recipe: Recipe) -> bool:
    """Whether the images are like MNIST: on one CPU core the features of its 60,000 images by a network
    take 20 minutes, more than many runs."""
    size = recipe.image.size
    return recipe.image.channels == 1 and size is not None and size <= SMALL_SIDE


def _weights_of_teacher(teacher: str | None, weights: Path | None) -> RecipeError:
    return RecipeError(
        f"{weights} has the weights of {teacher}, which trains this run's generator and must not choose its "
        "best checkpoint: leave --weights out, or give those of another network with its "
        "--set validation.extractor=..."
    )
