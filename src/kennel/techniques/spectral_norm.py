"""Spectral normalization: every weight matrix divided by its largest singular value."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar, cast

import torch
from pydantic import PositiveInt, field_validator
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import register_parametrization

from kennel.errors import RecipeError
from kennel.networks.layers.attention import NonLocalBlock
from kennel.techniques._players import Whose, networks_of
from kennel.techniques._power_iteration import WARM_UP
from kennel.techniques._weight_matrices import LAYERS, as_matrix, from_matrix, output_axis
from kennel.techniques.base import TECHNIQUES, Networks, Stage, Technique

EPSILON = 1e-12
"""The shortest length that a vector is divided by."""
MOST_SHOWN = 12
"""So many layers are named where a pattern matches none."""


class DividedBySpectralNorm(nn.Module):
    """A parametrisation: W to W / sigma, sigma = u^T W v (Miyato et al. 2018, equation 8 and algorithm 1).

    u, the left singular vector, is remembered and is improved by `iterations` of the power method at each
    pass in training mode; v follows from it:

        v = W^T u / |W^T u|        u = W v / |W v|

    In evaluation mode u stays, and v is the best for it. No gradient goes through u and v (equation 10). All
    of it is float32 whatever the precision of the layers.
    """

    u: Tensor

    def __init__(self, weight: Tensor, axis: int, iterations: int, random: torch.Generator) -> None:
        """For `weight` with its outputs along `axis`; u starts at random and is brought close."""
        super().__init__()
        self.axis, self.iterations = axis, iterations
        u = normalize(torch.randn(weight.shape[axis], generator=random), dim=0, eps=EPSILON)
        self.register_buffer("u", _power_iteration(as_matrix(weight.detach(), axis), u, WARM_UP)[0])

    @torch.no_grad()
    def begin_with(self, weight: Tensor) -> None:
        """Brings u close to another weight's first singular vector, as at the beginning."""
        self.u.copy_(_power_iteration(as_matrix(weight, self.axis), self.u, WARM_UP)[0])

    def forward(self, weight: Tensor) -> Tensor:
        """W / sigma, of the shape of the weight."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = as_matrix(weight, self.axis)
            u, v = self._vectors(matrix.detach())
            return cast(Tensor, _Divided.apply(weight, u, v, self.axis))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _vectors(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Both vectors, in memory of their own: another pass before `backward` must not change them."""
        if self.training:
            u, v = _power_iteration(matrix, self.u, self.iterations)
            self.u.copy_(u)
            return u, v
        # An average of several u, as in an averaged network, is shorter than 1.
        u = normalize(self.u, dim=0, eps=EPSILON)
        return u, normalize(torch.mv(matrix.T, u), dim=0, eps=EPSILON)


class _Divided(torch.autograd.Function):
    """W / sigma, sigma = u^T W v, with its gradient in as few passes over the memory as it needs.

    For the gradient g of the quotient, that of W is (g - <g, W / sigma> u v^T) / sigma (equation 12).
    """

    @staticmethod
    def forward(context: Any, weight: Tensor, u: Tensor, v: Tensor, axis: int) -> Tensor:
        sigma = torch.dot(u, torch.mv(as_matrix(weight, axis), v))
        divided = weight / sigma
        context.axis = axis
        context.save_for_backward(divided, u, v, sigma)
        return divided

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        divided, u, v, sigma = context.saved_tensors
        gradient = torch.empty_like(divided).copy_(gradients[0])  # laid out as the weight is
        along = torch.dot(_flat(gradient), _flat(divided))
        gradient.div_(sigma)
        matrix = as_matrix(gradient, context.axis).addr_(u * (-along / sigma), v)
        if matrix.data_ptr() != gradient.data_ptr():  # where the layout lets no matrix be seen in it
            gradient.copy_(from_matrix(matrix, gradient, context.axis))
        return gradient, None, None, None


def _flat(tensor: Tensor) -> Tensor:
    """All numbers in the order of the memory."""
    return as_matrix(tensor).reshape(-1)


def _power_iteration(matrix: Tensor, u: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """u (rows) and v (columns) after some iterations, at least one."""
    for _ in range(iterations):
        v = normalize(torch.mv(matrix.T, u), dim=0, eps=EPSILON)
        u = normalize(torch.mv(matrix, v), dim=0, eps=EPSILON)
    return u, v


@TECHNIQUES.register("spectral_norm")
class SpectralNorm(Technique):
    """Every linear layer, convolution and embedding is divided by its spectral norm (Miyato et al. 2018,
    arXiv 1802.05957).

    `networks` says whose layers (Zhang et al. 2018, arXiv 1805.08318, normalize both players); a generator's
    embeddings are left alone, as in BigGAN. `iterations` of the power method are made at each pass.

    `exempt` names layers that keep their weights: `first`, `last`, `attention` (the non-local blocks, which
    Iyengar, Pandey and Mehta, section 2.1, do not normalize), `embeddings`, or a pattern of module names as
    `nn.Module.named_modules` has them (`head`, `layers.*`, `generator.stem`). A pattern that matches a module
    exempts all layers in it; one that matches no layer raises `RecipeError`.
    """

    stage: ClassVar[Stage] = "reparametrise"

    networks: Whose = "discriminator"
    iterations: PositiveInt = 1
    exempt: tuple[str, ...] = ()

    @field_validator("exempt", mode="before")
    @classmethod
    def _from_a_line(cls, given: Any) -> Any:
        return [name.strip() for name in given.split(",")] if isinstance(given, str) else given

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Puts the parametrisation on every layer; their parameters stay the same tensors."""
        layers = {
            f"{player}.{name}": layer
            for player, network in networks_of(networks, self.networks).items()
            for name, layer in network.named_modules()
            if isinstance(layer, LAYERS) and not (player == "generator" and isinstance(layer, nn.Embedding))
        }
        exempt = self._exempted(layers, networks_of(networks, self.networks))
        for name, layer in layers.items():
            if name not in exempt:
                _refuse_zeros(layer.weight, name)
                normalised = DividedBySpectralNorm(layer.weight, output_axis(layer), self.iterations, random)
                register_parametrization(layer, "weight", normalised)

    def _exempted(self, layers: Mapping[str, nn.Module], networks: Mapping[str, nn.Module]) -> set[str]:
        """Those of `layers`, by player and name, that `exempt` means."""
        kinds = _kinds(networks)
        found: set[str] = set()
        for word in self.exempt:
            if word in kinds:
                found |= kinds[word] & layers.keys()  # a network may have no attention
                continue
            matched = {name for name in layers if _matches(word, name)}
            if not matched:
                raise RecipeError(_unknown(word, kinds, layers))
            found |= matched
        if found and found == layers.keys():
            raise RecipeError(
                f"techniques.spectral_norm.exempt = {', '.join(self.exempt)} leaves no layer to normalize: "
                "exempt fewer, or --set techniques.spectral_norm=off"
            )
        return found


def _kinds(networks: Mapping[str, nn.Module]) -> dict[str, set[str]]:
    """What each word of `exempt` that is no pattern means: names of layers, each after its player's.

    A network's layers are registered in the order of its forward pass, but for embeddings and non-local
    blocks: `tests/networks/test_base.py` holds every network to that.
    """
    kinds: dict[str, set[str]] = {"first": set(), "last": set(), "attention": set(), "embeddings": set()}
    for player, network in networks.items():
        inside = {
            f"{player}.{name}.{inner}"
            for name, block in network.named_modules()
            if isinstance(block, NonLocalBlock)
            for inner, _ in block.named_modules()
        }
        layers = {f"{player}.{name}": one for name, one in network.named_modules() if isinstance(one, LAYERS)}
        embeddings = {name for name, layer in layers.items() if isinstance(layer, nn.Embedding)}
        in_order = [name for name in layers if name not in embeddings | inside]
        kinds["first"].add(in_order[0])
        kinds["last"].add(in_order[-1])
        kinds["attention"] |= inside
        kinds["embeddings"] |= embeddings
    return kinds


def _matches(pattern: str, name: str) -> bool:
    """Whether it matches a layer or a module that holds it; with or without the player before the name."""
    player, _, within = name.partition(".")
    parts = within.split(".")
    paths = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    return any(fnmatchcase(path, pattern) or fnmatchcase(f"{player}.{path}", pattern) for path in paths)


def _unknown(pattern: str, kinds: dict[str, set[str]], layers: Mapping[str, nn.Module]) -> str:
    shown = list(layers)[:MOST_SHOWN]
    further = f" and {len(layers) - MOST_SHOWN} more" if len(layers) > MOST_SHOWN else ""
    return (
        f"techniques.spectral_norm.exempt = '{pattern}' matches no layer: give {', '.join(kinds)}, or a "
        f"pattern of these names: {', '.join(shown)}{further}"
    )


def _refuse_zeros(weight: Tensor, name: str) -> None:
    if not bool(weight.any()):
        raise RecipeError(
            f"spectral_norm cannot divide the weights of {name} by their norm, for they are all 0: let "
            "orthogonal_init, normal_init or xavier_init draw them, or --set techniques.spectral_norm=off"
        )
