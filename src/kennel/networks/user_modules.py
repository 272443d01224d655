"""User-defined networks: wraps any `nn.Module` for `kennel.register_network`."""

import copy
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, TypeAlias, cast

import torch
from torch import Tensor, nn

from kennel.errors import RecipeError
from kennel.networks.base import (
    DISCRIMINATORS,
    GENERATORS,
    BatchStatistic,
    Discriminator,
    Generator,
    Network,
    NetworkSpec,
)
from kennel.shapes import Features, Images, Labels, Latents, Logits

Plain: TypeAlias = nn.Module | Callable[[NetworkSpec], nn.Module]
"""A module, which each run copies, or a class or function that makes one from a spec."""


class _PlainNetwork(Network):
    make: ClassVar[Callable[[NetworkSpec], nn.Module]]

    def _build(self, kind: str, what: str, *shape: int) -> None:
        """Makes the module and tests it on a batch of `shape`. Raises `RecipeError` if that fails."""
        make = type(self).make
        self.module = make(self.spec)
        if not isinstance(self.module, nn.Module):
            raise RecipeError(
                f"the {kind} {getattr(make, '__qualname__', make)} made {type(self.module).__name__}: "
                "expected an nn.Module"
            )
        type(self).conditional = "optional" if _takes_labels(self.module) else "never"
        _try(self, torch.zeros(shape), what)

    def _call(self, inputs: Tensor, labels: Labels | None) -> Any:
        return self.module(inputs, labels) if self.conditional == "optional" else self.module(inputs)


class PlainGenerator(_PlainNetwork, Generator):
    """A module that maps latents (batch, latent) to images (batch, channels, size, size) in [-1, 1].

    If its `forward` has a second argument, it gets the labels.
    """

    def __init__(self, spec: NetworkSpec, options: Any) -> None:
        super().__init__(spec, options)
        self._build("generator", "latents", 2, spec.latent_dim)

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        """One image per latent. Raises `RecipeError` for images of another shape than the set's."""
        images = self._call(latents, labels)
        expected = (len(latents), self.spec.channels, self.spec.size, self.spec.size)
        if not isinstance(images, Tensor) or tuple(images.shape) != expected:
            raise RecipeError(
                f"the generator {name_of(type(self))} returns {_shape(images)}: expected images of "
                f"{expected} (batch, channels, height, width)"
            )
        return images.float()


class PlainDiscriminator(_PlainNetwork, Discriminator):
    """A module that maps images to raw logits: (batch), (batch, outputs), or a map of them.

    If its `forward` has a second argument, it gets the labels. Its hidden layers are not known: techniques
    that use the last hidden layer need a subclass of `Discriminator`.
    """

    def __init__(self, spec: NetworkSpec, options: Any) -> None:
        super().__init__(spec, options)
        self._build("discriminator", "images", 2, spec.channels, spec.size, spec.size)

    @property
    def features_read_labels(self) -> bool:
        """As `reads_labels`: the features are the logits."""
        return self.reads_labels

    @property
    def feature_width(self) -> int:
        self._refuse()

    def features(self, images: Images, labels: Labels | None = None) -> Features:
        """The logits (batch, outputs), as the hidden layer is not known."""
        result = self._call(images, labels)
        if not isinstance(result, Tensor) or result.ndim < 1 or len(result) != len(images):
            raise RecipeError(
                f"the discriminator {name_of(type(self))} returns {_shape(result)} for {len(images)} "
                "images: expected one logit an image, (batch) or (batch, outputs)"
            )
        return result.reshape(len(result), -1)

    def logits(self, features: Features, labels: Labels | None = None) -> Logits:
        """`features` in float32: (batch), or (batch, outputs) if there are several."""
        values = features.float()
        return values.squeeze(1) if values.shape[1] == 1 else values

    def require_hidden_features(self) -> None:
        self._refuse()

    def append_statistic(self, statistic: BatchStatistic, random: torch.Generator) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise RecipeError(
            f"a technique of this recipe needs the last hidden layer of the discriminator "
            f"{name_of(type(self))}, which is not known for a plain module: make it a subclass of "
            "kennel.Discriminator (with `features` and `head`), or remove the technique"
        )


def generator_class(given: Plain | type[Generator]) -> type[Generator]:
    """The class to register: `given` if it is a `Generator`, else a wrapper of it."""
    if isinstance(given, type) and issubclass(given, Generator):
        return given
    return cast(type[Generator], _wrapper(PlainGenerator, given))


def discriminator_class(given: Plain | type[Discriminator]) -> type[Discriminator]:
    """The class to register: `given` if it is a `Discriminator`, else a wrapper of it."""
    if isinstance(given, type) and issubclass(given, Discriminator):
        return given
    return cast(type[Discriminator], _wrapper(PlainDiscriminator, given))


def register_pair(generator: Plain, discriminator: Plain) -> tuple[str, str]:
    """Registers both under their class names, replacing previous plain modules; returns the names.

    Raises `ValueError` if a network that is not a plain module has the name.
    """
    kinds = generator_class(generator), discriminator_class(discriminator)
    names = name_of(kinds[0]), name_of(kinds[1])
    GENERATORS.register(names[0], replace=_is_plain(GENERATORS.registered.get(names[0])))(kinds[0])
    DISCRIMINATORS.register(names[1], replace=_is_plain(DISCRIMINATORS.registered.get(names[1])))(kinds[1])
    return names


def name_of(kind: type[nn.Module]) -> str:
    """The name of a class or function, without the enclosing scopes."""
    return kind.__qualname__.rpartition(".")[2]


def _is_plain(kind: type[nn.Module] | None) -> bool:
    return kind is not None and issubclass(kind, PlainGenerator | PlainDiscriminator)


def _wrapper(base: Any, given: Any) -> Any:
    """A subclass of `base` with the name and the docstring of `given`."""
    if isinstance(given, nn.Module):
        origin: Any = type(given)

        def make(spec: NetworkSpec) -> nn.Module:
            return copy.deepcopy(given)
    else:
        origin, make = given, given
    if not callable(given) or not hasattr(origin, "__qualname__"):
        raise RecipeError(
            f"{given!r} is not a network: give an nn.Module, or a class or function that makes one from a "
            "NetworkSpec"
        )
    attributes = {
        "make": staticmethod(make),
        "__module__": origin.__module__,
        "__qualname__": origin.__qualname__,
        "__doc__": origin.__doc__,
    }
    if isinstance(origin, type) and _takes_labels(origin):
        attributes["conditional"] = "optional"
    return type(name_of(origin), (base,), attributes)


def _try(network: Network, inputs: Tensor, what: str) -> None:
    """A test pass, so that errors appear before a run starts. Raises `RecipeError`."""
    labels = torch.zeros(len(inputs), dtype=torch.int64) if network.spec.num_labels else None
    try:
        with torch.no_grad():
            network.eval()(inputs, labels)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RecipeError(
            f"{name_of(type(network))} fails on {what} of shape {tuple(inputs.shape)}: {reason}"
        ) from error
    network.train()


def _takes_labels(module: Any) -> bool:
    """Whether `forward` has a second argument, after `self` if `module` is a class."""
    parameters = list(inspect.signature(module.forward).parameters.values())[isinstance(module, type) :]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters) >= 2


def _shape(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
