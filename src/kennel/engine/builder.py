"""A recipe becomes objects: networks, loss, techniques, optimizers, on their device."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from kennel import rng
from kennel.config.base import validated
from kennel.config.recipe import ComponentConfig, InstancesConfig, Recipe
from kennel.data.dataset import ImageDataset
from kennel.engine.compute_defaults import compute_context, place, with_compute_defaults
from kennel.engine.optim import build_optimizer
from kennel.engine.step import GANStep
from kennel.errors import DataError, KennelError, RecipeError, RunError
from kennel.losses import LOSSES, Loss
from kennel.networks import DISCRIMINATORS, GENERATORS, Generator, NetworkSpec
from kennel.networks.layers.instances import parts_with_instances
from kennel.techniques import STAGES, TECHNIQUES, AuxiliaryNetwork, LossTerm, Networks, Technique


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name; "auto" takes CUDA, then MPS, then the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        if device.type == "cuda" and device.index is not None:
            # What names no device (events, streams, random generators) is then meant for this one.
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError, NotImplementedError):
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        here = ["auto", "cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus))]
        here += ["mps"] if torch.backends.mps.is_available() else []
        raise RunError(
            f"the device '{name}' cannot be used here: give {', '.join(here[:-1])} or {here[-1]}"
        ) from None
    return device


def refuse_unregistered(
    recipe: Recipe, where: str, kinds: Sequence[str] = ("generator", "discriminator", "loss", "technique")
) -> None:
    """Raises `RecipeError` where a part of a recipe that was built before is not registered in this process.

    It was registered by code of the user's or by a plugin; `where` says whose recipe it is.
    """
    parts: dict[str, tuple[Container[object], list[str]]] = {
        "generator": (GENERATORS, [recipe.generator.name]),
        "discriminator": (DISCRIMINATORS, [recipe.discriminator.name]),
        "loss": (LOSSES, [recipe.loss.name]),
        "technique": (TECHNIQUES, [part.name for part in recipe.techniques]),
    }
    for kind in kinds:
        registry, names = parts[kind]
        for name in names:
            if name not in registry:
                raise RecipeError(
                    f"{where} has the {kind} '{name}', which is not registered here: give --import with the "
                    "module or file that registers it (in Python import that first, or give "
                    "train(networks=...) again), or install its plugin"
                )


def resolve(recipe: Recipe, dataset: ImageDataset) -> Recipe:
    """The recipe with the image's size, channels and classes filled in from the set, its options written out.

    Refused where the recipe and the set disagree.
    """
    channels, height, width = dataset.shape
    if height != width:
        raise RecipeError(
            f"{dataset.name} holds {width}x{height} images: networks draw squares, prepare it again"
        )
    sizes = GENERATORS[recipe.generator.name].sizes
    for what, wanted, given, option in (
        ("size", recipe.image.size, height, "--size"),
        ("channels", recipe.image.channels, channels, "--color"),
    ):
        if wanted is not None and wanted != given:
            possible = what == "channels" or not sizes or given in sizes
            raise RecipeError(
                f"the recipe {recipe.name} wants image {what} {wanted}, and {dataset.name} has {given}: "
                f"prepare the set with another {option}"
                + (f", or add --set image.{what}={given}" if possible else "")
            )
    image = recipe.image.model_copy(update={"size": height, "channels": channels})
    classes = _classes(recipe, dataset)
    counts = class_counts(dataset, classes) or None
    found = {"image": image, "num_classes": classes, "class_counts": counts}
    return _in_full(recipe.model_copy(update={**found, "instances": _instances(recipe, len(dataset))}))


def class_counts(dataset: ImageDataset, classes: int) -> tuple[int, ...]:
    """The images of each of a set's `classes`; empty for 0. Raises `DataError` for a label beyond them."""
    if classes == 0 or dataset.labels is None:
        return ()
    labels = np.asarray(dataset.labels)
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"{dataset.name} has labels from {labels.min()} to {labels.max()}, and {classes} classes: "
            "prepare it again"
        )
    return tuple(np.bincount(labels, minlength=classes).tolist())


def _classes(recipe: Recipe, dataset: ImageDataset) -> int:
    there = len(dataset.classes) if dataset.labels is not None else 0
    if recipe.num_classes == 0:
        return 0
    if there < 2:
        raise RecipeError(
            f"the recipe {recipe.name} draws by class, and {dataset.name} has "
            f"{'one class only' if there else 'no classes'}: prepare it from a folder for each class, two at "
            f"least, or draw without: {_without_classes(recipe)}"
        )
    if recipe.num_classes not in (None, there):
        raise RecipeError(
            f"the recipe {recipe.name} wants {recipe.num_classes} classes, and {dataset.name} has {there}: "
            "give another set, or --set num_classes=null to take what the set has"
        )
    return there


def _instances(recipe: Recipe, images: int) -> InstancesConfig:
    """The recipe's instances, their number filled in."""
    wanted = recipe.instances
    if not wanted.neighbors:
        return wanted
    count = min(images, wanted.max_instances)
    if wanted.neighbors > count:
        raise RecipeError(
            f"instances.neighbors={wanted.neighbors:,} asks for more than the {count:,} images there are: "
            f"give at most {count:,}"
        )
    return wanted.model_copy(update={"num_instances": count})


def _without_classes(recipe: Recipe) -> str:
    """The options under which the recipe asks for no classes: its techniques that need some go with them."""
    need_them = [part.name for part in recipe.techniques if "classes" in TECHNIQUES[part.name].needs]
    return " ".join(["--set num_classes=0", *(f"--set techniques.{name}=off" for name in need_them)])


def _in_full(recipe: Recipe) -> Recipe:
    """The recipe with every option written out: a default that is given and one that is not are the same."""
    loss = build_loss(recipe)
    generator, discriminator = GENERATORS[recipe.generator.name], DISCRIMINATORS[recipe.discriminator.name]
    return recipe.model_copy(
        update={
            "loss": _part(recipe.loss, loss),
            "generator": _part(recipe.generator, _options(generator, recipe.generator, "generator")),
            "discriminator": _part(
                recipe.discriminator, _options(discriminator, recipe.discriminator, "discriminator")
            ),
            "techniques": tuple(
                _part(part, technique)
                for part, technique in zip(
                    recipe.techniques, build_techniques(recipe, loss).values(), strict=True
                )
            ),
        }
    )


def _part(part: ComponentConfig, options: BaseModel) -> ComponentConfig:
    return ComponentConfig(name=part.name, **options.model_dump(mode="json"))


def build_loss(recipe: Recipe) -> Loss:
    """The recipe's loss with its options checked."""
    return validated(LOSSES[recipe.loss.name], recipe.loss.options, f"loss {recipe.loss.name}")


def build_techniques(recipe: Recipe, loss: Loss) -> dict[str, Technique]:
    """The recipe's techniques by name, their options checked, and their needs met by the loss."""
    techniques = {}
    for part in recipe.techniques:
        technique = validated(TECHNIQUES[part.name], part.options, f"technique {part.name}")
        _refuse_unmet_needs(part.name, technique, recipe, loss)
        techniques[part.name] = technique
    terms = {name: one for name, one in techniques.items() if isinstance(one, LossTerm)}
    alone = next((name for name, one in terms.items() if one.replaces_adversarial), None)
    for name, technique in techniques.items():
        if alone and type(technique).select_fakes is not Technique.select_fakes:
            raise RecipeError(
                f"{name} chooses among the fakes of the adversarial loss, which {alone} replaces: add "
                f"--set techniques.{alone}.adversarial=true, or --set techniques.{name}=off"
            )
    return techniques


def _refuse_unmet_needs(name: str, technique: Technique, recipe: Recipe, loss: Loss) -> None:
    provided = set(loss.provides)
    if recipe.num_classes != 0:
        provided.add("classes")
    if recipe.latent.distribution == "normal":
        provided.add("normal_latents")
    for need in sorted(technique.needs - provided):
        match need:
            case "classes":
                problem = "classes, and the recipe draws without: give a set that has some and "
                remedy = "--set num_classes=null"
            case "normal_latents":
                problem = f"normal latents, and the recipe's are {recipe.latent_distribution}: "
                remedy = "--set latent_distribution=normal"
            case _:
                problem = f"a loss with {need}, and {recipe.loss.name} has none: take one of "
                remedy = ", ".join(one for one in LOSSES if need in LOSSES[one].provides)
        raise RecipeError(f"the technique {name} needs {problem}{remedy}, or --set techniques.{name}=off")


def build_networks(recipe: Recipe) -> Networks:
    """The recipe's two networks, their weights drawn from the recipe's seed, on the CPU."""
    spec = network_spec(recipe)
    with _fresh_weights(recipe):
        generator = _generator(recipe, spec)
        discriminator_class = DISCRIMINATORS[recipe.discriminator.name]
        discriminator = discriminator_class(
            spec, _options(discriminator_class, recipe.discriminator, "discriminator")
        )
    return Networks(generator, discriminator)


def build_generator(recipe: Recipe) -> Generator:
    """The generator alone, its weights as `build_players` draws them; no technique has changed it yet."""
    spec = network_spec(recipe)
    with _fresh_weights(recipe):
        return _generator(recipe, spec)


@contextmanager
def _fresh_weights(recipe: Recipe) -> Iterator[None]:
    """Fresh networks draw from the global generator: it is set for this and put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(recipe.seed, "weights"))
        yield


def _generator(recipe: Recipe, spec: NetworkSpec) -> Generator:
    generator_class = GENERATORS[recipe.generator.name]
    return generator_class(spec, _options(generator_class, recipe.generator, "generator"))


def network_spec(recipe: Recipe) -> NetworkSpec:
    """What a resolved recipe's networks are built for; `RecipeError` where it is not resolved."""
    if recipe.image.size is None or recipe.image.channels is None:
        raise RecipeError("the recipe names no image size yet: give it a data set")
    if recipe.num_classes is None:
        raise RecipeError(
            "the recipe says not how many classes yet: give it a data set, or --set num_classes=0"
        )
    latent, counts, instances = recipe.latent, recipe.class_counts or (), recipe.instances
    if instances.neighbors and recipe.num_classes:
        raise RecipeError(
            "the recipe draws by class and by instance, and a label is one of the two: add --set "
            "num_classes=0, or --set instances.neighbors=0"
        )
    if instances.neighbors and not instances.num_instances:
        raise RecipeError("the recipe says not how many instances yet: give it a data set")
    if counts and (len(counts) != recipe.num_classes or sum(counts) == 0):
        raise RecipeError(
            f"the recipe's class_counts are of {len(counts)} classes with {sum(counts):,} images, and "
            f"classes is {recipe.num_classes}: leave class_counts out, it is filled in from the data set"
        )
    return NetworkSpec(
        recipe.image.size,
        recipe.image.channels,
        latent.dim,
        recipe.num_classes,
        latent.distribution,
        counts,
        instances.num_instances or 0,
        instances.dim if instances.num_instances else 0,
    )


def _options(network: Any, part: ComponentConfig, kind: str) -> Any:
    return validated(network.Options, part.options, f"{kind} {part.name}")


def build_step(
    recipe: Recipe, device: torch.device, say: Callable[[str], None] = lambda sentence: None
) -> GANStep:
    """All objects of a resolved recipe, on `device`; `say` hears of what cannot be compiled."""
    try:
        return _build_step(with_compute_defaults(recipe, device), device, say)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, KennelError) or "alloc" not in str(error).lower() + type(error).__name__.lower():
            raise
        raise RecipeError(
            "the recipe's networks need more memory than there is: give a smaller width, latent or reference"
        ) from None


def _build_step(recipe: Recipe, device: torch.device, say: Callable[[str], None]) -> GANStep:
    loss = build_loss(recipe)
    techniques = build_techniques(recipe, loss)
    networks = build_networks(recipe)
    _refuse_unused_classes(recipe, networks, techniques)
    for stage in STAGES:
        for name, technique in techniques.items():
            if technique.stage == stage:
                if stage == "copy":
                    place(networks, device, recipe.compute)
                technique.modify_networks(networks, rng.generator(recipe.seed, f"build of {name}"))
    place(networks, device, recipe.compute)
    auxiliary = {name: one for name, one in techniques.items() if isinstance(one, AuxiliaryNetwork)}
    return GANStep(
        networks,
        loss,
        techniques,
        build_optimizer(recipe.discriminator_optimizer, networks.discriminator.parameters(), device),
        build_optimizer(recipe.generator_optimizer, networks.generator.parameters(), device),
        {
            name: build_optimizer(one.optimizer, one.network.to(device).parameters(), device)
            for name, one in auxiliary.items()
        },
        compute_context(recipe, device, say),
    )


def _refuse_unused_classes(recipe: Recipe, networks: Networks, techniques: Mapping[str, Technique]) -> None:
    """A class that one player knows and the other cannot learn from would be ignored in silence."""
    if recipe.instances.neighbors:
        _refuse_without_instances(recipe, networks)
    if not recipe.num_classes:
        return
    if networks.generator.conditional == "never":
        able = [name for name in GENERATORS if GENERATORS[name].conditional != "never"]
        raise RecipeError(
            f"the generator {recipe.generator.name} draws without regard to classes: take one of "
            f"{', '.join(able)}, or --set num_classes=0"
        )
    taught = any(technique.supplies_class_signal for technique in techniques.values())
    # A term that stands in for the adversarial loss sees no more than the last hidden layer.
    replaced = any(isinstance(one, LossTerm) and one.replaces_adversarial for one in techniques.values())
    discriminator = networks.discriminator
    reads = discriminator.features_read_labels if replaced else discriminator.reads_labels
    if not reads and not taught:
        teachers = ", ".join(name for name in TECHNIQUES if TECHNIQUES[name].supplies_class_signal)
        raise RecipeError(
            f"nothing that the generator learns from reads the labels (discriminator "
            f"{recipe.discriminator.name}), so it would never learn its classes: let it read them "
            f"(discriminator.conditioning), add {teachers}, or --set num_classes=0"
        )


def sampling_generator(step: GANStep) -> Generator:
    """The generator to sample from: the last technique's that keeps one (an average), else the player."""
    kept = [technique.sampling_generator() for technique in step.techniques]
    return next((one for one in reversed(kept) if one is not None), step.networks.generator)


def _refuse_without_instances(recipe: Recipe, networks: Networks) -> None:
    """Both players must take instances."""
    for kind, network, registry in (
        ("generator", networks.generator, GENERATORS),
        ("discriminator", networks.discriminator, DISCRIMINATORS),
    ):
        if not parts_with_instances(network):
            able = ", ".join(name for name in registry if registry[name].takes_instances)
            part = recipe.generator if kind == "generator" else recipe.discriminator
            raise RecipeError(
                f"the {kind} {part.name} takes no instances: take one that does ({able}; its options may "
                "not leave it out), or --set instances.neighbors=0"
            )
