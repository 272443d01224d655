"""Spectral normalization: every weight matrix is divided by its largest singular value."""

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
from kennel.techniques._networks import NetworkChoice, chosen_networks
from kennel.techniques._power_iteration import WARM_UP
from kennel.techniques._weight_matrices import LAYERS, as_matrix, from_matrix, output_axis
from kennel.techniques.base import TECHNIQUES, Networks, Stage, Technique

EPSILON = 1e-12
"""The minimum norm in divisions."""
MAX_SHOWN = 12
"""The maximum number of layer names in an error message."""


class DividedBySpectralNorm(nn.Module):
    """A parametrization: W to W / sigma, sigma = u^T W v (Miyato et al. 2018, equation 8 and algorithm 1).

    The buffer u, the left singular vector, is updated by `iterations` of the power method in each pass in
    training mode; v follows from it:

        v = W^T u / |W^T u|        u = W v / |W v|

    In evaluation mode u is constant, and v is the best for it. No gradient flows through u and v (equation
    10). Computed in float32 at any precision of the layers.
    """

    u: Tensor

    def __init__(self, weight: Tensor, axis: int, iterations: int, random: torch.Generator) -> None:
        """For `weight` with its outputs along `axis`; u starts at random, with a warm-up."""
        super().__init__()
        self.axis, self.iterations = axis, iterations
        u = normalize(torch.randn(weight.shape[axis], generator=random), dim=0, eps=EPSILON)
        self.register_buffer("u", _power_iteration(as_matrix(weight.detach(), axis), u, WARM_UP)[0])

    @torch.no_grad()
    def begin_with(self, weight: Tensor) -> None:
        """Adapts u to another weight, with a warm-up."""
        self.u.copy_(_power_iteration(as_matrix(weight, self.axis), self.u, WARM_UP)[0])

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = as_matrix(weight, self.axis)
            u, v = self._vectors(matrix.detach())
            return cast(Tensor, _Divided.apply(weight, u, v, self.axis))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _vectors(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """u and v in new memory: another pass before `backward` must not change them."""
        if self.training:
            u, v = _power_iteration(matrix, self.u, self.iterations)
            self.u.copy_(u)
            return u, v
        # In an averaged network u is an average, shorter than 1.
        u = normalize(self.u, dim=0, eps=EPSILON)
        return u, normalize(torch.mv(matrix.T, u), dim=0, eps=EPSILON)


class _Divided(torch.autograd.Function):
    """W / sigma, sigma = u^T W v, with a gradient of few passes over memory.

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
        gradient = torch.empty_like(divided).copy_(gradients[0])  # in the weight's memory layout
        along = torch.dot(_flat(gradient), _flat(divided))
        gradient.div_(sigma)
        matrix = as_matrix(gradient, context.axis).addr_(u * (-along / sigma), v)
        if matrix.data_ptr() != gradient.data_ptr():  # this layout has no matrix view
            gradient.copy_(from_matrix(matrix, gradient, context.axis))
        return gradient, None, None, None


def _flat(tensor: Tensor) -> Tensor:
    """All numbers in memory order."""
    return as_matrix(tensor).reshape(-1)


def _power_iteration(matrix: Tensor, u: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """u (rows) and v (columns) after one or more iterations."""
    for _ in range(iterations):
        v = normalize(torch.mv(matrix.T, u), dim=0, eps=EPSILON)
        u = normalize(torch.mv(matrix, v), dim=0, eps=EPSILON)
    return u, v


@TECHNIQUES.register("spectral_norm")
class SpectralNorm(Technique):
    """Divides every linear layer, convolution and embedding by its spectral norm (Miyato et al. 2018,
    arXiv 1802.05957).

    `networks` selects the networks (Zhang et al. 2018, arXiv 1805.08318, normalize both); a generator's
    embeddings are not normalized, as in BigGAN. `iterations` of the power method per pass.

    `exempt` lists layers that are not normalized: `first`, `last`, `attention` (the non-local blocks, which
    Iyengar, Pandey and Mehta, section 2.1, do not normalize), `embeddings`, or a pattern of the names in
    `nn.Module.named_modules` (`head`, `layers.*`, `generator.stem`). A pattern that matches a module exempts
    all layers in it. A pattern that matches no layer raises `RecipeError`.
    """

    stage: ClassVar[Stage] = "reparametrise"

    networks: NetworkChoice = "discriminator"
    iterations: PositiveInt = 1
    exempt: tuple[str, ...] = ()

    @field_validator("exempt", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        return [name.strip() for name in given.split(",")] if isinstance(given, str) else given

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Adds the parametrization to every layer; the parameters stay the same tensors."""
        chosen = chosen_networks(networks, self.networks)
        layers = {
            f"{network}.{name}": layer
            for network, module in chosen.items()
            for name, layer in module.named_modules()
            if isinstance(layer, LAYERS) and not (network == "generator" and isinstance(layer, nn.Embedding))
        }
        exempt = self._exempt_layers(layers, chosen)
        for name, layer in layers.items():
            if name not in exempt:
                _refuse_zeros(layer.weight, name)
                divided = DividedBySpectralNorm(layer.weight, output_axis(layer), self.iterations, random)
                register_parametrization(layer, "weight", divided)

    def _exempt_layers(self, layers: Mapping[str, nn.Module], networks: Mapping[str, nn.Module]) -> set[str]:
        groups = _groups(networks)
        found: set[str] = set()
        for word in self.exempt:
            if word in groups:
                found |= groups[word] & layers.keys()  # may be empty: not every network has attention
                continue
            matched = {name for name in layers if _matches(word, name)}
            if not matched:
                raise RecipeError(_no_match(word, groups, layers))
            found |= matched
        if found and found == layers.keys():
            raise RecipeError(
                f"techniques.spectral_norm.exempt = {', '.join(self.exempt)} leaves no layer to normalize: "
                "exempt fewer, or --set techniques.spectral_norm=off"
            )
        return found


def _groups(networks: Mapping[str, nn.Module]) -> dict[str, set[str]]:
    """The layer names of each keyword of `exempt`, prefixed with the network's name.

    Networks register their layers in the order of the forward pass, except embeddings and non-local blocks
    (checked by `tests/networks/test_base.py`).
    """
    groups: dict[str, set[str]] = {"first": set(), "last": set(), "attention": set(), "embeddings": set()}
    for network, module in networks.items():
        attention = {
            f"{network}.{name}.{inner}"
            for name, block in module.named_modules()
            if isinstance(block, NonLocalBlock)
            for inner, _ in block.named_modules()
        }
        layers = {f"{network}.{name}": one for name, one in module.named_modules() if isinstance(one, LAYERS)}
        embeddings = {name for name, layer in layers.items() if isinstance(layer, nn.Embedding)}
        in_order = [name for name in layers if name not in embeddings | attention]
        groups["first"].add(in_order[0])
        groups["last"].add(in_order[-1])
        groups["attention"] |= attention
        groups["embeddings"] |= embeddings
    return groups


def _matches(pattern: str, name: str) -> bool:
    """Whether the pattern matches a layer or a module that contains it; the network's name is optional."""
    network, _, within = name.partition(".")
    parts = within.split(".")
    paths = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
    return any(fnmatchcase(path, pattern) or fnmatchcase(f"{network}.{path}", pattern) for path in paths)


def _no_match(pattern: str, groups: dict[str, set[str]], layers: Mapping[str, nn.Module]) -> str:
    shown = list(layers)[:MAX_SHOWN]
    further = f" and {len(layers) - MAX_SHOWN} more" if len(layers) > MAX_SHOWN else ""
    return (
        f"techniques.spectral_norm.exempt = '{pattern}' matches no layer: give {', '.join(groups)}, or a "
        f"pattern of these names: {', '.join(shown)}{further}"
    )


def _refuse_zeros(weight: Tensor, name: str) -> None:
    if not bool(weight.any()):
        raise RecipeError(
            f"spectral_norm cannot normalize {name}, as its weights are all 0: add orthogonal_init, "
            "normal_init or xavier_init, or --set techniques.spectral_norm=off"
        )
