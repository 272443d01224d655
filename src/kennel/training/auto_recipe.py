"""Which recipe suits a set and a device, and of what size: what `kennel train` takes where none is named.

`choose` is a function of `Facts` alone. What each rule rests on is told in docs/recipes/auto.md.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kennel.config.base import validated
from kennel.config.recipe import ComponentConfig, Recipe, override
from kennel.data.dataset import ImageDataset
from kennel.data.set_checks import FEW
from kennel.engine.builder import class_counts
from kennel.errors import RecipeError
from kennel.features.pretrained import GRAPHS
from kennel.networks import DISCRIMINATORS, GENERATORS
from kennel.recipes import get_recipe
from kennel.registry import Registry
from kennel.techniques.ema import Ema
from kennel.training.time_budget import images_of, speed_words

AUTO = "auto"
"""What stands for a recipe that is chosen."""
LEAST_OF_A_CLASS = 20
"""Images of the smallest class below which classes are left out."""
SMALL, LARGE = 1_000, 50_000
"""Sets below the first get the strongest augmentation, from the second on the weakest."""
ROOM = 10_000
"""Images from which on a wider generator is no danger: the authors' users saw it collapse below."""
SIDES: dict[str, tuple[tuple[float, int], ...]] = {
    "cpu": ((12.0, 128), (0.0, 64)),
    "mps": ((4.0, 128), (0.0, 64)),
    "cuda": ((6.0, 256), (0.5, 128), (0.0, 64)),
}
"""The largest side for each kind of device from so many hours on, most hours first."""
USUAL_HOURS = 1.0
"""What sides are chosen for where no hours are named."""
CPU_COUNT, CPU_EVERY, CPU_TICKS = 1_000, 4, 20
"""Off a GPU: samples of a validation, ticks from one to the next, ticks: five validations in a run."""


@dataclass(frozen=True)
class Facts:
    """What a recipe is chosen by: the set, the device, how long.

    `classes` are the images of each class, `side` and `channels` those of the packed images, `device` is its
    type. `budget` is in images, where one is given; else `images_per_second`, measured, make one of `hours`.
    `missing` says where the ImageNet weights that the first choice needs can be had, and is empty where they
    are at hand.
    """

    images: int
    classes: tuple[int, ...]
    side: int
    channels: int
    device: str
    hours: float | None = None
    images_per_second: float | None = None
    budget: int | None = None
    missing: str = ""


@dataclass(frozen=True)
class Choice:
    """An ordinary recipe, and why it is so: a line of the recipe, of the pictures, the sizes, the budget."""

    recipe: Recipe
    reasons: tuple[str, str, str, str]


def choose(facts: Facts) -> Choice:
    """The recipe for these facts. Raises `RecipeError` where there are too few images, or none that fit."""
    refuse_few(facts.images)
    name, why = _named(facts)
    recipe = get_recipe(name)
    budget = _budget(facts, recipe)
    settings = [
        *_switched(recipe, "horizontal_flip", facts.channels == 3),
        *_augmentation(facts.images),
        *([] if _without_classes(facts, recipe) else ["num_classes=null"]),
        f"generator.base_channels={_width(facts, recipe)}",
        f"techniques.ema.half_life_images={_half_life(recipe, budget)}",
        f"budget.images={budget}",
    ]
    if facts.device != "cuda":
        settings += [f"validation.num_samples={CPU_COUNT}", f"validation.every_ticks={CPU_EVERY}"]
        settings += [f"num_ticks={CPU_TICKS}"]
    chosen = override(recipe, settings)
    return Choice(
        chosen, (why, _of_pictures(facts, recipe), _of_sizes(facts, chosen), _of_budget(facts, chosen))
    )


def side_for(smaller: int, device: str, hours: float | None = None) -> int:
    """The side to prepare pictures at: a power of two from 32 to 256, no larger than nearly all of them are,
    and than the device can learn within the hours."""
    limits = SIDES.get(device, SIDES["mps"])
    most = next(side for least, side in limits if (hours or USUAL_HOURS) >= least)
    return max(32, min(most, 1 << max(smaller, 1).bit_length() - 1))


def facts_of(
    dataset: ImageDataset, device: str, hours: float | None = None, budget: int | None = None
) -> Facts:
    """The facts of an opened set and this machine."""
    features = _option(get_recipe("projected").discriminator, DISCRIMINATORS, "features")
    teacher = GRAPHS[features].extractor if features in GRAPHS else None
    missing = "" if teacher is None or teacher.is_available() else teacher.published.source
    classes = class_counts(dataset, len(dataset.classes))
    channels, side, _ = dataset.shape
    return Facts(len(dataset), classes, side, channels, device, hours, None, budget, missing)


def refuse_few(images: int) -> None:
    """Raises `RecipeError` below 100 images."""
    if images < FEW:
        raise RecipeError(
            f"the set has {images:,} image{'s' * (images != 1)}, and from fewer than {FEW} a GAN learns "
            "to repeat them: add pictures, or name a recipe to insist, such as `kennel train projected`"
        )


def _named(facts: Facts) -> tuple[str, str]:
    """A recipe's name, and why that one."""
    kind = f"{facts.images:,} {'color' if facts.channels == 3 else 'gray'} pictures"
    if facts.channels not in (1, 3):
        raise RecipeError("the set holds points and no pictures, for which none is chosen: name a recipe")
    sides = DISCRIMINATORS["projected"].sizes
    if facts.side in sides and not facts.missing:
        why = "its discriminator looks through a network that has seen ImageNet, so it learns fast, from few"
        return "projected", f"projected, for {kind}: {why}"
    if facts.side not in (*sides, *GENERATORS["dcgan"].sizes):
        raise RecipeError(
            f"the images have {facts.side}x{facts.side} pixels, which no recipe that could be chosen draws: "
            "prepare them again with --size 32 or 64, or name a recipe"
        )
    if facts.side not in sides:
        drawn = ", ".join(map(str, sides))
        return "dcgan", (
            f"dcgan, for {kind}: projected, which learns faster, draws sides of {drawn}, and these have "
            f"{facts.side} (`kennel data prepare` with --size 32 makes them fit)"
        )
    return "dcgan", (
        f"dcgan, for {kind}: the ImageNet weights that projected, which learns faster, looks through are not "
        f"at hand (they are in {facts.missing})"
    )


def _switched(recipe: Recipe, technique: str, on: bool) -> Iterable[str]:
    there = any(part.name == technique for part in recipe.techniques)
    return [] if on == there else [f"techniques.{technique}={'on' if on else 'off'}"]


def _augmentation(images: int) -> list[str]:
    """DiffAugment in all its kinds; shifts twice as far for the smallest sets, no holes for the largest."""
    name = "techniques.diff_augment"
    if images < SMALL:
        return [f"{name}.policy=[colour, translation, cutout]", f"{name}.translation_share=0.25"]
    kinds = "[colour, translation]" if images >= LARGE else "[colour, translation, cutout]"
    return [f"{name}.policy={kinds}"]


def _without_classes(facts: Facts, recipe: Recipe) -> str:
    """Why the set's classes are not used; empty where they are."""
    if recipe.instances.neighbors:
        return "the networks are conditioned on what is seen in each picture instead"
    if len(facts.classes) < 2:
        return "the set has none" if not facts.classes else "the set has a single one"
    small = sum(count < LEAST_OF_A_CLASS for count in facts.classes)
    return f"{small:,} of {len(facts.classes):,} have under {LEAST_OF_A_CLASS} images" if small else ""


def _width(facts: Facts, recipe: Recipe) -> int:
    """The generator's, by the device: on a GPU with many pictures twice the recipe's own."""
    own = int(_option(recipe.generator, GENERATORS, "base_channels"))
    if facts.device == "cuda":
        return 2 * own if facts.images >= ROOM else own
    # The channels of dcgan double whenever the side halves, and a larger side halves more often.
    return max(8, own * 64 // max(64, facts.side)) if recipe.generator.name == "dcgan" else own


def _option(part: ComponentConfig, registry: Registry[Any], name: str) -> Any:
    """What an option of a network is, where it is given or by default."""
    return getattr(validated(registry[part.name].Options, part.options, part.name), name)


def _budget(facts: Facts, recipe: Recipe) -> int:
    if facts.budget is not None:
        return facts.budget
    if facts.hours is not None and facts.images_per_second is not None:
        return images_of(facts.hours, facts.images_per_second, recipe.batch_size)
    return recipe.budget.in_images(facts.images)


def _half_life(recipe: Recipe, budget: int) -> int:
    """A tenth of the run, no longer than the recipe's own and no shorter than ten batches."""
    given = [part.options.get("half_life_images") for part in recipe.techniques if part.name == "ema"]
    own = int(given[0]) if given and given[0] else Ema.model_fields["half_life_images"].default
    return max(10 * recipe.batch_size, min(own, budget // 10))


def _of_pictures(facts: Facts, recipe: Recipe) -> str:
    mirrored = (
        "mirrored at random, as photographs may be"
        if facts.channels == 3
        else "not mirrored, since gray pictures may be digits or letters"
    )
    without = _without_classes(facts, recipe)
    classes = f"without classes ({without})" if without else f"by its {len(facts.classes):,} classes"
    return f"{facts.side}x{facts.side} in {'color' if facts.channels == 3 else 'gray'}, {mirrored}; {classes}"


def _of_sizes(facts: Facts, recipe: Recipe) -> str:
    width = _option(recipe.generator, GENERATORS, "base_channels")
    amount = "the strongest" if facts.images < SMALL else "the usual"
    if facts.images >= LARGE:
        amount = "little"
    return (
        f"a generator of width {width} and batches of {recipe.batch_size} on {facts.device}; {amount} "
        f"augmentation, for {facts.images:,} pictures"
    )


def _of_budget(facts: Facts, recipe: Recipe) -> str:
    images = recipe.budget.in_images(facts.images)
    if facts.budget is not None:
        why = "as was asked"
    elif facts.hours is not None and facts.images_per_second is not None:
        why = speed_words(facts.hours, facts.images_per_second)
    else:
        why = "the recipe's own; --hours H takes what the speed makes of so many hours"
    ema = next(part for part in recipe.techniques if part.name == "ema")
    return f"{images:,} images ({why}); samples by an average over {ema.options['half_life_images']:,} images"
