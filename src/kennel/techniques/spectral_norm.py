"""Spectral normalisation: every weight matrix divided by its largest singular value."""

from typing import Any, ClassVar, cast

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import register_parametrization

from kennel.errors import RecipeError
from kennel.techniques.contract import TECHNIQUES, Players, Stage, Technique
from kennel.techniques.matrices import LAYERS, as_matrix, from_matrix, output_axis
from kennel.techniques.spectrum import WARM_UP
from kennel.techniques.whose import Whose, networks_of

EPSILON = 1e-12
"""The shortest length that a vector is divided by."""


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

    `players` says whose layers (Zhang et al. 2018, arXiv 1805.08318, normalise both players); a generator's
    embeddings are left alone, as in BigGAN. `iterations` of the power method are made at each pass.
    """

    stage: ClassVar[Stage] = "reparametrise"

    players: Whose = "discriminator"
    iterations: PositiveInt = 1

    def build(self, players: Players, random: torch.Generator) -> None:
        """Puts the parametrisation on every layer; their parameters stay the same tensors."""
        for player, network in networks_of(players, self.players).items():
            for name, layer in list(network.named_modules()):
                skipped = player == "generator" and isinstance(layer, nn.Embedding)
                if isinstance(layer, LAYERS) and not skipped:
                    _refuse_zeros(layer.weight, f"{player}.{name}")
                    normalised = DividedBySpectralNorm(
                        layer.weight, output_axis(layer), self.iterations, random
                    )
                    register_parametrization(layer, "weight", normalised)


def _refuse_zeros(weight: Tensor, name: str) -> None:
    if not bool(weight.any()):
        raise RecipeError(
            f"spectral_norm cannot divide the weights of {name} by their norm, for they are all 0: let "
            "orthogonal_init or normal_init draw them, or --set techniques.spectral_norm=off"
        )
