"""One's own networks, losses, techniques, recipes and metrics by name."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import kennel.evaluation.metrics.builtin  # noqa: F401 (built-in metrics keep their names)
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

    Each is a subclass of `kennel.Generator` or `kennel.Discriminator`; or a class or function that makes an
    `nn.Module` of a `NetworkSpec` (`size`, `channels`, `latent_dim`, `num_classes`); or a module, of which
    each run begins with a copy. A generator maps latents (batch, latent_dim), float, to images (batch,
    channels, size, size) in [-1, 1]; a discriminator maps images to raw logits, (batch) or (batch, outputs).
    Where `forward` has a second argument it is given labels, int64 (batch), None without classes.

    Without either it is a decorator of a subclass: `@kennel.register_network("mine")`. Raises `ValueError`
    where another network has the name.
    """
    if generator is not None:
        GENERATORS.register(name)(generator_class(generator))
    if discriminator is not None:
        DISCRIMINATORS.register(name)(discriminator_class(discriminator))
    is_decorator = generator is None and discriminator is None

    def add(network: Network) -> Network:
        if not is_decorator:
            raise TypeError("register_network with networks is no decorator: call it on a line of its own")
        if issubclass(network, Generator):
            GENERATORS.register(name)(network)
        elif issubclass(network, Discriminator):
            DISCRIMINATORS.register(name)(network)
        else:
            raise RecipeError(
                f"{network.__qualname__} may be a generator or a discriminator: write "
                f"register_network('{name}', generator=...) or discriminator=..."
            )
        return network

    return add


def register_loss(name: str) -> Callable[[LossClass], LossClass]:
    """Decorator that registers a subclass of `kennel.Loss`, for `loss.name` of a recipe."""
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

    `direction` is "lower" or "higher" where one is better. `context.images` and `context.reference` have
    `features`, float32 (count, dimension). `needs` are among "logits", "labels" and "pyramid"; `usual`
    measures it where no metric is named; `least(dimension, settings)` is the minimum number of images.
    """

    def add(find: Find) -> Find:
        def found(context: MetricContext) -> MetricResult:
            given = find(context)
            return given if isinstance(given, MetricResult) else MetricResult(float(given), {})

        for part in ("__doc__", "__module__", "__qualname__", "__name__"):
            setattr(found, part, getattr(find, part))
        metric(name, label or name, direction, needs=needs, default=usual, min_images=least)(found)
        return find

    return add
