"""Chooses a recipe and its sizes for a set and a device, as `kennel train` does if none is named.

`choose` is a function of `Facts` alone; docs/recipes/auto.md gives the reason for each rule.
"""

from dataclasses import dataclass

from kennel.config.recipe import Recipe, override
from kennel.data.dataset import ImageDataset
from kennel.data.set_checks import FEW
from kennel.engine.builder import class_counts, network_options
from kennel.errors import RecipeError
from kennel.features.pretrained import GRAPHS
from kennel.networks import DISCRIMINATORS, GENERATORS
from kennel.recipes import get_recipe
from kennel.techniques.ema import Ema
from kennel.training.time_budget import images_of, speed_words

AUTO = "auto"
"""The name that stands for a chosen recipe."""
MIN_CLASS_IMAGES = 20
"""Classes are not used if the smallest has fewer images."""
SMALL, LARGE = 1_000, 50_000
"""Smaller sets than the first get the strongest augmentation, sets from the second on the weakest."""
MANY = 10_000
"""Images from which on the generator may be wider; with fewer, users of projected GANs saw collapses."""
SIDES: dict[str, tuple[tuple[float, int], ...]] = {
    "cpu": ((12.0, 128), (0.0, 64)),
    "mps": ((4.0, 128), (0.0, 64)),
    "cuda": ((6.0, 256), (0.5, 128), (0.0, 64)),
}
"""(least hours, largest side) for each kind of device, most hours first."""
DEFAULT_HOURS = 1.0
"""The hours for which a side is chosen if none are given."""
CPU_SAMPLES, CPU_EVERY, CPU_TICKS = 1_000, 4, 20
"""Without CUDA: samples per validation, ticks between validations, and ticks, so five validations per run."""


@dataclass(frozen=True)
class Facts:
    """What the choice depends on: the set, the device, and the length of the run.

    `classes` are the image counts of the classes, `side` and `channels` those of the packed images, `device`
    is its type. The length is `budget` in images, else `hours` at the measured `images_per_second`. `missing`
    says where to get missing ImageNet weights of the first choice; it is empty if they are available.
    `by_class`: samples of a given class are needed, as for `kennel expand`.
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
    by_class: bool = False


@dataclass(frozen=True)
class Choice:
    """A recipe, with one line of reasons each for the recipe, the pictures, the sizes and the budget."""

    recipe: Recipe
    reasons: tuple[str, str, str, str]


def choose(facts: Facts) -> Choice:
    """The recipe for these facts. Raises `RecipeError` for too few images, or if no recipe fits."""
    refuse_few(facts.images)
    name, reason = _recipe_name(facts)
    recipe = get_recipe(name)
    budget = _budget(facts, recipe)
    settings = [
        *_flip(recipe, facts.channels == 3),
        *([] if facts.by_class else _augmentation(facts.images)),
        *([] if _no_classes_reason(facts, recipe) else ["num_classes=null"]),
        *(["balance_classes=true"] if facts.by_class else []),
        f"generator.base_channels={_width(facts, recipe)}",
        f"techniques.ema.half_life_images={_half_life(recipe, budget)}",
        f"budget.images={budget}",
    ]
    if facts.device != "cuda":
        settings += [f"validation.num_samples={CPU_SAMPLES}", f"validation.every_ticks={CPU_EVERY}"]
        settings += [f"num_ticks={CPU_TICKS}"]
    chosen = override(recipe, settings)
    lines = (_pictures_line(facts, recipe), _sizes_line(facts, chosen), _budget_line(facts, chosen))
    return Choice(chosen, (reason, *lines))


def side_for(smaller: int, device: str, hours: float | None = None) -> int:
    """The side to prepare pictures at: a power of two from 32 to 256, at most `smaller`, the side that nearly
    all pictures have, and at most what the device can train in the hours."""
    limits = SIDES.get(device, SIDES["mps"])
    most = next(side for least, side in limits if (hours or DEFAULT_HOURS) >= least)
    return max(32, min(most, 1 << max(smaller, 1).bit_length() - 1))


def facts_of(
    dataset: ImageDataset, device: str, hours: float | None = None, budget: int | None = None
) -> Facts:
    features = network_options(DISCRIMINATORS, get_recipe("projected").discriminator, "projected").features
    teacher = GRAPHS[features].extractor if features in GRAPHS else None
    missing = "" if teacher is None or teacher.is_available() else teacher.published.source
    classes = class_counts(dataset, len(dataset.classes))
    channels, side, _ = dataset.shape
    return Facts(len(dataset), classes, side, channels, device, hours, None, budget, missing)


def refuse_few(images: int) -> None:
    """Raises `RecipeError` below 100 images."""
    if images < FEW:
        raise RecipeError(
            f"the set has {images:,} image{'s' * (images != 1)}, and a GAN memorizes fewer than {FEW}: add "
            "pictures, or name a recipe to train anyway, such as `kennel train projected`"
        )


def _recipe_name(facts: Facts) -> tuple[str, str]:
    """(recipe name, reason)."""
    pictures = f"{facts.images:,} {_color(facts)} pictures"
    if facts.channels not in (1, 3):
        raise RecipeError("the set has points instead of pictures, for which no recipe is chosen: name one")
    sides = DISCRIMINATORS["projected"].sizes
    if facts.by_class and len(facts.classes) < 2:
        raise RecipeError("the set has fewer than two classes, and a recipe that draws by class is needed")
    if facts.side in sides and not facts.missing and not facts.by_class:
        why = "its discriminator uses a network pretrained on ImageNet, so it learns fast, from few images"
        return "projected", f"projected, for {pictures}: {why}"
    if facts.side not in (*sides, *GENERATORS["dcgan"].sizes):
        raise RecipeError(
            f"the images have {facts.side}x{facts.side} pixels, for which there is no recipe to choose: "
            "prepare them again with --size 32 or 64, or name a recipe"
        )
    if facts.by_class:
        return "acgan", f"acgan, for {pictures}: it draws images of a given class, which projected does not"
    if facts.side not in sides:
        return "dcgan", (
            f"dcgan, for {pictures}: projected, which learns faster, needs a side of "
            f"{', '.join(map(str, sides))}, not {facts.side} (prepare with `kennel data prepare --size 32`)"
        )
    return "dcgan", (
        f"dcgan, for {pictures}: projected, which learns faster, needs ImageNet weights that are missing; "
        f"get them from {facts.missing}"
    )


def _color(facts: Facts) -> str:
    return "color" if facts.channels == 3 else "gray"


def _flip(recipe: Recipe, on: bool) -> list[str]:
    is_on = any(part.name == "horizontal_flip" for part in recipe.techniques)
    return [] if on == is_on else [f"techniques.horizontal_flip={'on' if on else 'off'}"]


def _augmentation(images: int) -> list[str]:
    """All kinds of DiffAugment; with twice the translation for small sets, without cutout for large ones."""
    name = "techniques.diff_augment"
    if images < SMALL:
        return [f"{name}.policy=[colour, translation, cutout]", f"{name}.translation_share=0.25"]
    kinds = "[colour, translation]" if images >= LARGE else "[colour, translation, cutout]"
    return [f"{name}.policy={kinds}"]


def _no_classes_reason(facts: Facts, recipe: Recipe) -> str:
    """Why the set's classes are not used; empty if they are."""
    if recipe.instances.neighbors:
        return "the networks are conditioned on features of each picture instead"
    if len(facts.classes) < 2:
        return "the set has none" if not facts.classes else "the set has only one"
    if facts.by_class:
        return ""
    small = sum(count < MIN_CLASS_IMAGES for count in facts.classes)
    return f"{small:,} of {len(facts.classes):,} have under {MIN_CLASS_IMAGES} images" if small else ""


def _width(facts: Facts, recipe: Recipe) -> int:
    """The generator's width: on a GPU with many images twice the recipe's own."""
    own: int = network_options(GENERATORS, recipe.generator, "generator").base_channels
    if facts.device == "cuda":
        return 2 * own if facts.images >= MANY else own
    # The channels of dcgan double whenever the side halves, and a larger side halves more often.
    return max(8, own * 64 // max(64, facts.side)) if recipe.generator.name == "dcgan" else own


def _budget(facts: Facts, recipe: Recipe) -> int:
    if facts.budget is not None:
        return facts.budget
    if facts.hours is not None and facts.images_per_second is not None:
        return images_of(facts.hours, facts.images_per_second, recipe.batch_size)
    return recipe.budget.in_images(facts.images)


def _half_life(recipe: Recipe, budget: int) -> int:
    """A tenth of the run, at most the recipe's own and at least ten batches."""
    given = [part.options.get("half_life_images") for part in recipe.techniques if part.name == "ema"]
    own = int(given[0]) if given and given[0] else Ema.model_fields["half_life_images"].default
    return max(10 * recipe.batch_size, min(own, budget // 10))


def _pictures_line(facts: Facts, recipe: Recipe) -> str:
    flipped = "flipped at random" if facts.channels == 3 else "not flipped, since they may be digits"
    reason = _no_classes_reason(facts, recipe)
    classes = f"without classes ({reason})" if reason else f"by its {len(facts.classes):,} classes"
    classes += ", each shown equally often" if facts.by_class else ""
    return f"{facts.side}x{facts.side} in {_color(facts)}, {flipped}; {classes}"


def _sizes_line(facts: Facts, recipe: Recipe) -> str:
    width = network_options(GENERATORS, recipe.generator, "generator").base_channels
    amount = "little" if facts.images >= LARGE else "the strongest" if facts.images < SMALL else "the usual"
    amount = "no" if facts.by_class else amount  # with it, acgan drew the wrong class more often than not
    return (
        f"a generator of width {width} and batches of {recipe.batch_size} on {facts.device}; {amount} "
        f"augmentation, for {facts.images:,} pictures"
    )


def _budget_line(facts: Facts, recipe: Recipe) -> str:
    images = recipe.budget.in_images(facts.images)
    if facts.budget is not None:
        why = "as requested"
    elif facts.hours is not None and facts.images_per_second is not None:
        why = speed_words(facts.hours, facts.images_per_second)
    else:
        why = "the recipe's own; --hours H sets a time instead"
    ema = next(part for part in recipe.techniques if part.name == "ema")
    return f"{images:,} images ({why}); samples by an average over {ema.options['half_life_images']:,} images"
