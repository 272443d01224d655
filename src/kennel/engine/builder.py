"""Builds networks, loss, techniques and optimizers from a recipe."""

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
    """Returns the named device; "auto" picks CUDA, then MPS, then the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        if device.type == "cuda" and device.index is not None:
            # Events, streams and random generators without a device then use this one.
            torch.cuda.set_device(device)
    except (RuntimeError, AssertionError, NotImplementedError):
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = ["auto", "cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus))]
        names += ["mps"] if torch.backends.mps.is_available() else []
        raise RunError(
            f"the device '{name}' is not available: give {', '.join(names[:-1])} or {names[-1]}"
        ) from None
    return device


def refuse_unregistered(
    recipe: Recipe, where: str, kinds: Sequence[str] = ("generator", "discriminator", "loss", "technique")
) -> None:
    """Raises `RecipeError` if a part of an existing recipe is not registered in this process.

    User code or a plugin registered it before. `where` names the recipe's run or file in the message.
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
                    f"{where} uses the {kind} '{name}', which is not registered: give --import with the "
                    "module or file that registers it (in Python import that first, or give "
                    "train(networks=...) again), or install its plugin"
                )


def resolve(recipe: Recipe, dataset: ImageDataset) -> Recipe:
    """Fills in image size, channels and classes from the set, and writes out all options.

    Raises `RecipeError` if the recipe and the set disagree.
    """
    channels, height, width = dataset.shape
    if height != width:
        raise RecipeError(
            f"{dataset.name} has {width}x{height} images, but networks need square ones: prepare it again"
        )
    sizes = GENERATORS[recipe.generator.name].sizes
    for key, expected, actual, option in (
        ("size", recipe.image.size, height, "--size"),
        ("channels", recipe.image.channels, channels, "--color"),
    ):
        if expected is not None and expected != actual:
            possible = key == "channels" or not sizes or actual in sizes
            raise RecipeError(
                f"the recipe {recipe.name} needs image {key} {expected}, but {dataset.name} has {actual}: "
                f"prepare the set with another {option}"
                + (f", or add --set image.{key}={actual}" if possible else "")
            )
    image = recipe.image.model_copy(update={"size": height, "channels": channels})
    classes = _classes(recipe, dataset)
    if recipe.balance_classes and (dataset.labels is None or not dataset.classes):
        raise RecipeError(
            f"balance_classes is on, and {dataset.name} has no classes: prepare it from a folder for each "
            "class, or add --set balance_classes=false"
        )
    counts = class_counts(dataset, classes) or None
    found = {"image": image, "num_classes": classes, "class_counts": counts}
    return _in_full(recipe.model_copy(update={**found, "instances": _instances(recipe, len(dataset))}))


def class_counts(dataset: ImageDataset, classes: int) -> tuple[int, ...]:
    """Images per class; empty for 0 classes. Raises `DataError` for a label out of range."""
    if classes == 0 or dataset.labels is None:
        return ()
    labels = np.asarray(dataset.labels)
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(
            f"{dataset.name} has labels from {labels.min()} to {labels.max()} but {classes} classes: "
            "prepare it again"
        )
    return tuple(np.bincount(labels, minlength=classes).tolist())


def _classes(recipe: Recipe, dataset: ImageDataset) -> int:
    available = len(dataset.classes) if dataset.labels is not None else 0
    if recipe.num_classes == 0:
        return 0
    if available < 2:
        raise RecipeError(
            f"the recipe {recipe.name} is conditioned on classes, but {dataset.name} has "
            f"{'only one class' if available else 'no classes'}: prepare it from one folder per class (at "
            f"least two), or train without classes: {_without_classes(recipe)}"
        )
    if recipe.num_classes not in (None, available):
        raise RecipeError(
            f"the recipe {recipe.name} needs {recipe.num_classes} classes, but {dataset.name} has "
            f"{available}: give another set, or --set num_classes=null to use the set's classes"
        )
    return available


def _instances(recipe: Recipe, images: int) -> InstancesConfig:
    config = recipe.instances
    if not config.neighbors:
        return config
    count = min(images, config.max_instances)
    if config.neighbors > count:
        raise RecipeError(
            f"instances.neighbors={config.neighbors:,} is more than the {count:,} available images: "
            f"give at most {count:,}"
        )
    return config.model_copy(update={"num_instances": count})


def _without_classes(recipe: Recipe) -> str:
    """The options that make the recipe unconditional; they also switch off techniques that need classes."""
    need_them = [part.name for part in recipe.techniques if "classes" in TECHNIQUES[part.name].needs]
    return " ".join(["--set num_classes=0", *(f"--set techniques.{name}=off" for name in need_them)])


def _in_full(recipe: Recipe) -> Recipe:
    """Writes out every option, so that a default that is given equals one that is left out."""
    loss = build_loss(recipe)
    techniques = build_techniques(recipe, loss).values()
    return recipe.model_copy(
        update={
            "loss": _part(recipe.loss, loss),
            "generator": _part(recipe.generator, network_options(GENERATORS, recipe.generator, "generator")),
            "discriminator": _part(
                recipe.discriminator, network_options(DISCRIMINATORS, recipe.discriminator, "discriminator")
            ),
            "techniques": tuple(
                _part(part, technique) for part, technique in zip(recipe.techniques, techniques, strict=True)
            ),
        }
    )


def _part(part: ComponentConfig, options: BaseModel) -> ComponentConfig:
    return ComponentConfig(name=part.name, **options.model_dump(mode="json"))


def network_options(registry: Any, part: ComponentConfig, kind: str) -> Any:
    """The network's checked options, defaults included; `kind` names the part in an error."""
    return validated(registry[part.name].Options, part.options, f"{kind} {part.name}")


def build_loss(recipe: Recipe) -> Loss:
    return validated(LOSSES[recipe.loss.name], recipe.loss.options, f"loss {recipe.loss.name}")


def build_techniques(recipe: Recipe, loss: Loss) -> dict[str, Technique]:
    """The recipe's techniques by name; their options and what they need from the loss are checked."""
    techniques = {}
    for part in recipe.techniques:
        technique = validated(TECHNIQUES[part.name], part.options, f"technique {part.name}")
        _refuse_unmet_needs(part.name, technique, recipe, loss)
        techniques[part.name] = technique
    terms = {name: one for name, one in techniques.items() if isinstance(one, LossTerm)}
    replacing = next((name for name, term in terms.items() if term.replaces_adversarial), None)
    for name, technique in techniques.items():
        if replacing and type(technique).select_fakes is not Technique.select_fakes:
            raise RecipeError(
                f"{name} selects fakes for the adversarial loss, which {replacing} replaces: add "
                f"--set techniques.{replacing}.adversarial=true, or --set techniques.{name}=off"
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
                problem = "classes, but the recipe uses none: give a set that has classes and "
                remedy = "--set num_classes=null"
            case "normal_latents":
                problem = f"normal latents, but the recipe's are {recipe.latent_distribution}: give "
                remedy = "--set latent_distribution=normal"
            case _:
                problem = f"a loss with {need}, but {recipe.loss.name} has none: use one of "
                remedy = ", ".join(one for one in LOSSES if need in LOSSES[one].provides)
        raise RecipeError(f"the technique {name} needs {problem}{remedy}, or --set techniques.{name}=off")


def build_networks(recipe: Recipe) -> Networks:
    """Both networks on the CPU, initialized from the recipe's seed."""
    spec = network_spec(recipe)
    with _seeded_weights(recipe):
        return Networks(
            _network(GENERATORS, recipe.generator, "generator", spec),
            _network(DISCRIMINATORS, recipe.discriminator, "discriminator", spec),
        )


def build_generator(recipe: Recipe) -> Generator:
    """The generator alone, with the weights of `build_networks`, before any technique modifies it."""
    spec = network_spec(recipe)
    with _seeded_weights(recipe):
        generator: Generator = _network(GENERATORS, recipe.generator, "generator", spec)
        return generator


@contextmanager
def _seeded_weights(recipe: Recipe) -> Iterator[None]:
    """Seeds the global generator, from which new layers draw, and restores it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(recipe.seed, "weights"))
        yield


def _network(registry: Any, part: ComponentConfig, kind: str, spec: NetworkSpec) -> Any:
    return registry[part.name](spec, network_options(registry, part, kind))


def network_spec(recipe: Recipe) -> NetworkSpec:
    """The shapes that the networks are built for. Raises `RecipeError` if the recipe is not resolved."""
    if recipe.image.size is None or recipe.image.channels is None:
        raise RecipeError("the recipe has no image size yet: give it a data set")
    if recipe.num_classes is None:
        raise RecipeError(
            "the recipe has no number of classes yet: give it a data set, or --set num_classes=0"
        )
    latent, counts, instances = recipe.latent, recipe.class_counts or (), recipe.instances
    if instances.neighbors and recipe.num_classes:
        raise RecipeError(
            "the recipe is conditioned on both classes and instances, and only one is possible: add --set "
            "num_classes=0, or --set instances.neighbors=0"
        )
    if instances.neighbors and not instances.num_instances:
        raise RecipeError("the recipe has no number of instances yet: give it a data set")
    if counts and (len(counts) != recipe.num_classes or sum(counts) == 0):
        raise RecipeError(
            f"the recipe's class_counts has {len(counts)} classes with {sum(counts):,} images, but "
            f"num_classes is {recipe.num_classes}: leave class_counts out, it is filled in from the data set"
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


def build_step(
    recipe: Recipe, device: torch.device, log: Callable[[str], None] = lambda sentence: None
) -> GANStep:
    """All objects of a resolved recipe, on `device`; `log` gets a message if compiling fails."""
    try:
        return _build_step(with_compute_defaults(recipe, device), device, log)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, KennelError) or "alloc" not in str(error).lower() + type(error).__name__.lower():
            raise
        raise RecipeError(
            "the recipe's networks need more memory than is available: give a smaller width, latent or "
            "reference"
        ) from None


def _build_step(recipe: Recipe, device: torch.device, log: Callable[[str], None]) -> GANStep:
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
        compute_context(recipe, device, log),
    )


def _refuse_unused_classes(recipe: Recipe, networks: Networks, techniques: Mapping[str, Technique]) -> None:
    """Refuses classes (or instances) that a network or the generator's losses would silently ignore."""
    if recipe.instances.neighbors:
        _refuse_without_instances(recipe, networks)
    if not recipe.num_classes:
        return
    if networks.generator.conditional == "never":
        able = [name for name in GENERATORS if GENERATORS[name].conditional != "never"]
        raise RecipeError(
            f"the generator {recipe.generator.name} ignores classes: use one of {', '.join(able)}, or "
            "--set num_classes=0"
        )
    has_class_loss = any(technique.supplies_class_signal for technique in techniques.values())
    # A term that replaces the adversarial loss reads only the last hidden layer.
    replaced = any(isinstance(one, LossTerm) and one.replaces_adversarial for one in techniques.values())
    discriminator = networks.discriminator
    reads = discriminator.features_read_labels if replaced else discriminator.reads_labels
    if not reads and not has_class_loss:
        suppliers = ", ".join(name for name in TECHNIQUES if TECHNIQUES[name].supplies_class_signal)
        raise RecipeError(
            f"none of the generator's losses uses the labels (discriminator {recipe.discriminator.name}), "
            f"so it cannot learn the classes: let the discriminator read them "
            f"(discriminator.conditioning), add {suppliers}, or --set num_classes=0"
        )


def sampling_generator(step: GANStep) -> Generator:
    """The generator to sample from: the last average that a technique keeps, else the trained generator."""
    averages = [technique.sampling_generator() for technique in step.techniques]
    return next((one for one in reversed(averages) if one is not None), step.networks.generator)


def _refuse_without_instances(recipe: Recipe, networks: Networks) -> None:
    """Raises `RecipeError` unless both networks support instances."""
    for kind, part, network, registry in (
        ("generator", recipe.generator, networks.generator, GENERATORS),
        ("discriminator", recipe.discriminator, networks.discriminator, DISCRIMINATORS),
    ):
        if not parts_with_instances(network):
            able = ", ".join(name for name in registry if registry[name].takes_instances)
            raise RecipeError(
                f"the {kind} {part.name} takes no instances: use one that does ({able}; its options must "
                "not switch them off), or --set instances.neighbors=0"
            )
