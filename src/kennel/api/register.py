"""Registration of user-defined networks, losses, techniques, recipes and metrics."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import kennel.evaluation.metrics.builtin  # noqa: F401 (reserves the names of built-in metrics)
from kennel.config.recipe import Recipe
from kennel.errors import RecipeError
from kennel.evaluation.metrics.base import Default, Direction, MetricResult, MinImages, Need, metric
from kennel.evaluation.metrics.context import MetricContext
from kennel.losses import LOSSES, Loss
from kennel.networks import DISCRIMINATORS, GENERATORS, Discriminator, Generator
from kennel.networks.user_modules import Plain, discriminator_class, generator_class
from kennel.recipes import RECIPES
from kennel.techniques import TECHNIQUES, Technique

Find = Callable[[MetricContext], MetricResult | float]
RecipeFunction = TypeVar("RecipeFunction", bound=Callable[[], Recipe])
LossClass = TypeVar("LossClass", bound=type[Loss])
TechniqueClass = TypeVar("TechniqueClass", bound=type[Technique])
Network = TypeVar("Network", bound=type[Any])


def register_network(
    name: str,
    generator: Plain | type[Generator] | None = None,
    discriminator: Plain | type[Discriminator] | None = None,
) -> Callable[[Network], Network]:
    """Registers a generator, a discriminator or both under `name`, for `generator.name` and
    `discriminator.name` of a recipe.

    Each is a subclass of `kennel.Generator` or `kennel.Discriminator`; or a class or function that creates an
    `nn.Module` from a `NetworkSpec` (`size`, `channels`, `latent_dim`, `num_classes`); or a module, which
    each run copies. A generator maps latents (batch, latent_dim), float, to images (batch, channels, size,
    size) in [-1, 1]; a discriminator maps images to logits, (batch) or (batch, outputs). A second argument of
    `forward` receives labels, int64 (batch), or None without classes.

    Without networks it is a decorator of a subclass: `@kennel.register_network("mine")`. Raises `ValueError`
    if another network has the name.
    """
    if generator is not None:
        GENERATORS.register(name)(generator_class(generator))
    if discriminator is not None:
        DISCRIMINATORS.register(name)(discriminator_class(discriminator))
    is_decorator = generator is None and discriminator is None

    def add(network: Network) -> Network:
        if not is_decorator:
            raise TypeError("register_network with networks is not a decorator: call it as a function")
        if issubclass(network, Generator):
            GENERATORS.register(name)(network)
        elif issubclass(network, Discriminator):
            DISCRIMINATORS.register(name)(network)
        else:
            raise RecipeError(
                f"{network.__qualname__} is no subclass of kennel.Generator or kennel.Discriminator: write "
                f"register_network('{name}', generator=...) or discriminator=..."
            )
        return network

    return add


def register_loss(name: str) -> Callable[[LossClass], LossClass]:
    """Decorator that registers a subclass of `kennel.Loss` for `loss.name` of a recipe."""
    return cast("Callable[[LossClass], LossClass]", LOSSES.register(name))


def register_technique(name: str) -> Callable[[TechniqueClass], TechniqueClass]:
    """Decorator that registers a subclass of `kennel.Technique` or `kennel.LossTerm`.

    Its fields are its options: `techniques.NAME=on`, `techniques.NAME.option=value`.
    """
    return cast("Callable[[TechniqueClass], TechniqueClass]", TECHNIQUES.register(name))


def register_recipe(name: str) -> Callable[[RecipeFunction], RecipeFunction]:
    """Decorator that registers a function without arguments that returns a `kennel.Recipe`."""
    return cast("Callable[[RecipeFunction], RecipeFunction]", RECIPES.register(name))


def register_metric(
    name: str,
    label: str | None = None,
    direction: Direction = "neither",
    *,
    needs: Iterable[Need] = (),
    usual: Default = False,
    least: MinImages = lambda dimension, settings: 2,
) -> Callable[[Find], Find]:
    """Decorator that registers a function from a `MetricContext` to a number or a `MetricResult`.

    `direction` is "lower", "higher" or "neither": which values are better. `context.images` and
    `context.reference` have `features`, float32 (count, dimension). `needs` may have "logits", "labels" and
    "pyramid"; `usual` metrics are measured by default; `least(dimension, settings)` is the minimum number of
    images.
    """

    def add(find: Find) -> Find:
        def wrapped(context: MetricContext) -> MetricResult:
            result = find(context)
            return result if isinstance(result, MetricResult) else MetricResult(float(result), {})

        for attribute in ("__doc__", "__module__", "__qualname__", "__name__"):
            setattr(wrapped, attribute, getattr(find, attribute))
        metric(name, label or name, direction, needs=needs, default=usual, min_images=least)(wrapped)
        return find

    return add
