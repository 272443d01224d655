"""The first three singular values of every weight matrix, tick by tick (Brock et al. 2019, section 4)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kennel import rng
from kennel.techniques._power_iteration import WARM_UP, leading_singular_values, random_start
from kennel.techniques._weight_matrices import LAYERS, as_matrix, output_axis, weight_matrices

VALUES = 3
"""How many are told of each matrix."""
BLOCK = 8
"""How many are followed: the error of the first three falls with the ratio of the last to them, to the power
of twice the iterations, so that companions in the block are cheaper than iterations."""

TINY = torch.finfo(torch.float32).tiny

USED = "/used"
"""Ends the name of a reparametrized layer where the weight is meant that its forward pass uses."""

Spectrum = dict[str, list[float]]
"""Singular values, largest first, of each layer by its name, and by name and `USED` of what it uses."""


@torch.no_grad()
def followed_matrices(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Each layer's weight, flattened to (outputs, all the rest), by the layer's name.

    It is the parameter that the optimizer moves. Of a reparametrized layer that is the original weight: after
    spectral normalization the first singular value is about 1 whatever the parameter does. What such a
    layer uses follows under its name and `USED`; what a parametrization remembers is not moved by the look.
    """
    for name, one in weight_matrices(network, embeddings=True).items():
        layer, reparametrized, _ = name.rpartition(".parametrizations.")
        if not reparametrized:
            layer = name.rpartition(".")[0]
        yield layer, one.matrix().detach().float()
        if reparametrized:
            yield layer + USED, _used_matrix(network.get_submodule(layer)).float()


def layer_in_words(layer: str) -> str:
    """A spectrum's key as sentences name it: "layer first", or that of what the layer uses."""
    name = layer.removesuffix(USED)
    return f"layer {name}" if name == layer else f"layer {name} as it is used, after its parametrization,"


def _used_matrix(layer: nn.Module) -> Tensor:
    assert isinstance(layer, LAYERS)
    with _evaluated(layer):
        weight = layer.weight.detach()
    return as_matrix(weight, output_axis(layer))


@contextmanager
def _evaluated(layer: nn.Module) -> Iterator[None]:
    parametrisations = getattr(layer, "parametrizations", None)
    if not isinstance(parametrisations, nn.Module):
        yield
        return
    before = {module: module.training for module in parametrisations.modules()}
    parametrisations.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


class Spectra:
    """Follows the first three singular values of every weight matrix of some networks.

    Block power iteration (`techniques.spectrum`) on a block of 8, warm-started with the left vectors of the
    tick before. The estimates never exceed the true values, but for rounding.
    """

    def __init__(self, networks: Mapping[str, nn.Module], seed: int, iterations: int = 2) -> None:
        """`networks` by the name of their player; `seed` decides where the first look starts."""
        self._networks = dict(networks)
        self._seed = seed
        self._iterations = iterations
        self._left: dict[str, Tensor] = {}

    def measure(self) -> dict[str, Spectrum]:
        """The values of each network's layers as they are now. Waits for the device once.

        Those of a matrix that is not finite are not finite.
        """
        found: dict[str, dict[str, Tensor]] = {}
        for player, network in self._networks.items():
            found[player] = {
                name: self._leading(f"{player}.{name}", matrix) for name, matrix in followed_matrices(network)
            }
        flat = [values for spectrum in found.values() for values in spectrum.values()]
        numbers = iter(torch.cat(flat).tolist() if flat else [])
        return {
            player: {name: [next(numbers) for _ in values] for name, values in spectrum.items()}
            for player, spectrum in found.items()
        }

    def _leading(self, name: str, matrix: Tensor) -> Tensor:
        if matrix.device.type == "mps":  # it has no QR
            matrix = matrix.cpu()
        start, iterations = self._left.get(name), self._iterations
        if start is None:
            random = rng.generator(self._seed, f"spectrum of {name}")
            start, iterations = random_start(len(matrix), min(BLOCK, *matrix.shape), random), WARM_UP
        # In units of the largest weight, so that no product overflows; what is not finite is left out of the
        # iteration and comes back through the unit.
        unit = torch.linalg.vector_norm(matrix, ord=torch.inf)
        scaled = torch.nan_to_num(matrix / unit.clamp_min(TINY), nan=0.0, posinf=0.0, neginf=0.0)
        leading = leading_singular_values(scaled, start.to(matrix), iterations)
        self._left[name] = leading.left
        values: Tensor = leading.values[:VALUES] * unit
        return values

    def state_dict(self) -> dict[str, Tensor]:
        """The left singular vectors (outputs, 8) of each matrix, where the next tick starts from."""
        return dict(self._left)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes the vectors back; without any, the next look is a first one."""
        self._left = {name: left.clone() for name, left in state.items()}
