"""Weight matrices with orthogonal rows, by initialization or by regularization."""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from kennel.shapes import Scalar
from kennel.techniques._networks import NetworkChoice, chosen_networks
from kennel.techniques._weight_matrices import LAYERS, output_axis, weight_matrices
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks, Stage, Technique


@TECHNIQUES.register("orthogonal_init")
class OrthogonalInit(Technique):
    """Initializes weights as random orthogonal matrices times `gain`, and biases with 0 (Saxe et al. 2014,
    arXiv 1312.6120; BigGAN, Brock et al. 2019, arXiv 1809.11096).

    Every linear layer, convolution and embedding of both networks; batch norm is unchanged. The matrix has a
    row per output; its rows are orthogonal, or its columns if it has more rows than columns.
    """

    stage: ClassVar[Stage] = "initialise"

    gain: PositiveFloat = 1.0

    @torch.no_grad()
    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        for network in networks.both():
            for layer in network.modules():
                if isinstance(layer, LAYERS):
                    outputs_first = layer.weight.transpose(0, output_axis(layer))
                    drawn = torch.empty(outputs_first.shape)
                    outputs_first.copy_(nn.init.orthogonal_(drawn, self.gain, generator=random))
                    if getattr(layer, "bias", None) is not None:
                        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


@TECHNIQUES.register("orthogonal_regularisation")
class OrthogonalRegularization(LossTerm):
    """Penalizes weight matrices whose rows are not orthogonal.

        off_diagonal:  |W W^T o (1 - I)|_F^2     rows of any norm
        full:          |W W^T - I|_F^2           rows of norm 1

    (Brock et al. 2019, arXiv 1809.11096; the second after Brock et al. 2017, arXiv 1609.07093), summed over
    all parameters of two or more axes, except a generator's embeddings. W has a row per output, as in
    BigGAN's released code; the papers write W^T W. For a reparametrized layer W is the original parameter.
    """

    weight: NonNegativeFloat = 1e-4

    networks: NetworkChoice = "generator"
    form: Literal["off_diagonal", "full"] = "off_diagonal"

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        return self._term(output, "discriminator")

    def generator_term(self, output: ForwardOutput) -> Scalar | None:
        return self._term(output, "generator")

    def _term(self, output: ForwardOutput, name: str) -> Scalar | None:
        network = chosen_networks(output.networks, self.networks).get(name)
        if network is None:
            return None
        matrices = weight_matrices(network, embeddings=name == "discriminator").values()
        distance = (
            distance_from_orthogonal_rows if self.form == "off_diagonal" else distance_from_orthonormal_rows
        )
        return torch.stack([distance(one.matrix()) for one in matrices]).sum()


def distance_from_orthogonal_rows(matrix: Tensor) -> Scalar:
    """|W W^T o (1 - I)|_F^2 of W (rows, columns): the squared products of all pairs of different rows."""
    rows, columns = matrix.shape
    if rows <= columns:
        products = matrix @ matrix.T
        return (products - products.diagonal().diag()).square().sum()
    # W W^T and W^T W have the same Frobenius norm, and W^T W is smaller: a generator's first layer may have
    # 16384 rows. These cannot all be orthogonal, so that the difference loses no accuracy.
    return (matrix.T @ matrix).square().sum() - matrix.square().sum(1).square().sum()


def distance_from_orthonormal_rows(matrix: Tensor) -> Scalar:
    """|W W^T - I|_F^2 of W (rows, columns)."""
    rows, columns = matrix.shape
    if rows <= columns:
        products = matrix @ matrix.T
        return (products - torch.eye(rows, device=matrix.device, dtype=matrix.dtype)).square().sum()
    return (matrix.T @ matrix).square().sum() - 2 * matrix.square().sum() + rows
