"""The first three singular values of every weight matrix at each tick (Brock et al. 2019, section 4)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kennel import rng
from kennel.techniques._power_iteration import WARM_UP, leading_singular_values, random_start
from kennel.techniques._weight_matrices import LAYERS, as_matrix, output_axis, weight_matrices

VALUES = 3
"""Singular values reported per matrix."""
BLOCK = 8
"""Singular vectors iterated per matrix. The error of the first three falls with the ratio of the last value
to them, to the power of twice the iterations, so a larger block is cheaper than more iterations."""

TINY = torch.finfo(torch.float32).tiny

USED = "/used"
"""Suffix of a reparametrized layer's name for the weight that its forward pass uses."""

Spectrum = dict[str, list[float]]
"""Singular values of each layer, largest first; a reparametrized layer also has the key name + `USED`."""


@torch.no_grad()
def followed_matrices(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields each layer's name and its weight, flattened to (outputs, rest).

    The weight is the parameter that the optimizer updates. For a reparametrized layer that is the original
    weight, since spectral normalization keeps the first singular value of the used weight near 1; the used
    weight follows under the name + `USED`. Buffers of the parametrization do not change.
    """
    for name, one in weight_matrices(network, embeddings=True).items():
        layer, reparametrized, _ = name.rpartition(".parametrizations.")
        if not reparametrized:
            layer = name.rpartition(".")[0]
        yield layer, one.matrix().detach().float()
        if reparametrized:
            yield layer + USED, _used_matrix(network.get_submodule(layer)).float()


def layer_in_words(layer: str) -> str:
    """A spectrum's key in words: "layer first", or the same layer after its parametrization."""
    name = layer.removesuffix(USED)
    return f"layer {name}" if name == layer else f"layer {name} as it is used, after its parametrization,"


def _used_matrix(layer: nn.Module) -> Tensor:
    assert isinstance(layer, LAYERS)
    with _parametrization_in_eval(layer):
        weight = layer.weight.detach()
    return as_matrix(weight, output_axis(layer))


@contextmanager
def _parametrization_in_eval(layer: nn.Module) -> Iterator[None]:
    parametrizations = getattr(layer, "parametrizations", None)
    if not isinstance(parametrizations, nn.Module):
        yield
        return
    before = {module: module.training for module in parametrizations.modules()}
    parametrizations.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


class Spectra:
    """Tracks the first three singular values of every weight matrix of some networks.

    Block power iteration (`techniques._power_iteration`) on a block of 8, warm-started with the left vectors
    of the previous tick. Estimates never exceed the true values, except by rounding.
    """

    def __init__(self, networks: Mapping[str, nn.Module], seed: int, iterations: int = 2) -> None:
        """`networks` by name; `seed` sets the start of the first measurement."""
        self._networks = dict(networks)
        self._seed = seed
        self._iterations = iterations
        self._left: dict[str, Tensor] = {}

    def measure(self) -> dict[str, Spectrum]:
        """Singular values by network and layer, not finite for a non-finite matrix. Waits for the device."""
        found: dict[str, dict[str, Tensor]] = {}
        for network_name, network in self._networks.items():
            found[network_name] = {
                layer: self._leading(f"{network_name}.{layer}", matrix)
                for layer, matrix in followed_matrices(network)
            }
        flat = [values for spectrum in found.values() for values in spectrum.values()]
        numbers = iter(torch.cat(flat).tolist() if flat else [])
        return {
            name: {layer: [next(numbers) for _ in values] for layer, values in spectrum.items()}
            for name, spectrum in found.items()
        }

    def _leading(self, name: str, matrix: Tensor) -> Tensor:
        if matrix.device.type == "mps":  # no QR there
            matrix = matrix.cpu()
        start, iterations = self._left.get(name), self._iterations
        if start is None:
            random = rng.generator(self._seed, f"spectrum of {name}")
            start, iterations = random_start(len(matrix), min(BLOCK, *matrix.shape), random), WARM_UP
        # Divide by the largest weight so that no product overflows. Non-finite weights count as 0 in the
        # iteration; the scale makes the result non-finite again.
        scale = torch.linalg.vector_norm(matrix, ord=torch.inf)
        scaled = torch.nan_to_num(matrix / scale.clamp_min(TINY), nan=0.0, posinf=0.0, neginf=0.0)
        leading = leading_singular_values(scaled, start.to(matrix), iterations)
        self._left[name] = leading.left
        values: Tensor = leading.values[:VALUES] * scale
        return values

    def state_dict(self) -> dict[str, Tensor]:
        """The left singular vectors (outputs, 8) of each matrix, from which the next tick starts."""
        return dict(self._left)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores the vectors; without any, the next measurement starts like the first."""
        self._left = {name: left.clone() for name, left in state.items()}
