"""The pretrained network that taught a run: which it is, and that it does not choose the best checkpoint."""

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


def taught_by(recipe: Recipe, folder: RunDir, parent: Path | None = None) -> str | None:
    """The teacher of the run in `folder`, begun or not: of its discriminator, else of what it began with.

    A run that begins with the weights of `parent` has learned what taught that one.
    """
    if own := teacher_of(recipe):
        return own
    if folder.exists():
        return recorded_teacher(folder)
    return None if parent is None else recorded_teacher(RunDir(parent))


def recorded_teacher(folder: RunDir) -> str | None:
    """What `run.json` says."""
    teacher: str | None = folder.about().get("teacher")
    return teacher


def teacher_of(recipe: Recipe) -> str | None:
    """The teacher of a resolved recipe's discriminator, which is built where the answer may depend on it.

    Else what tells its networks the instances, which is one more thing to learn a network's features from.
    """
    kind = DISCRIMINATORS[recipe.discriminator.name]
    looks = None if kind.teacher is Discriminator.teacher else build_networks(recipe).discriminator.teacher
    tells = recipe.instances.extractor if recipe.instances.neighbors else None
    if tells is not None and tells not in EXTRACTORS:
        # "auto" too: what it stands for may be another network when the run goes on, and no judgement could
        # tell which one taught it.
        raise unknown_name("extractor that instances could go by", tells, EXTRACTORS)
    if looks is not None and tells not in (None, looks):
        raise RecipeError(
            f"the instances are the features of {tells}, and the discriminator looks through {looks}: no "
            f"score by either would be fair, and a run records one; add --set instances.extractor={looks}"
        )
    return looks or tells


def with_extractor(
    recipe: Recipe,
    folder: RunDir,
    weights: Path | None,
    teacher: str | None,
    say: Callable[[str], None],
) -> Recipe:
    """The recipe with the validation's extractor decided, once: what is found at first judges to the end.

    "auto" is what `choose_extractor` finds, and so is what stands in for the `teacher`, which would choose
    the checkpoint that flatters it most. By plain pixels a run is judged with FID: MiFID's epsilon was chosen
    for Inception's features, and would punish real images there.
    """
    wanted = recipe.validation
    asks_the_teacher = teacher is not None and wanted.extractor == teacher and wanted.every_ticks > 0
    if wanted.extractor != "auto" and not asks_the_teacher:
        return recipe
    if folder.exists():
        name = folder.recipe().validation.extractor
    elif asks_the_teacher and weights is not None:
        raise _teaches(teacher, weights)
    else:
        name = choose_extractor(weights, teacher=teacher, fast_only=True)
        if teacher is not None and name == teacher and wanted.every_ticks > 0:
            raise _teaches(teacher, weights)
    if asks_the_teacher:
        say(
            f"{teacher} teaches this run's generator, so it does not choose the best checkpoint: validation "
            f"is by {name}. `kennel judge --extractor {teacher}` measures by the teacher, with a warning."
        )
    metric = "fid" if name == PixelCells.name and wanted.metric == "mifid" else wanted.metric
    also = tuple(one for one in wanted.extra_metrics if one != metric)
    found = wanted.model_copy(update={"extractor": name, "metric": metric, "extra_metrics": also})
    return recipe.model_copy(update={"validation": found})


def _teaches(teacher: str | None, weights: Path | None) -> RecipeError:
    return RecipeError(
        f"{weights} holds the weights of {teacher}, which teaches this run's generator and may not choose "
        "its best checkpoint: leave --weights out, or give those of another network with its "
        "--set validation.extractor=..."
    )
