"""Weight matrices with orthogonal rows: at the start, or all the time."""

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from kennel.shapes import Scalar
from kennel.techniques._players import Whose, networks_of
from kennel.techniques._weight_matrices import LAYERS, output_axis, weight_matrices
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks, Stage, Technique


@TECHNIQUES.register("orthogonal_init")
class OrthogonalInit(Technique):
    """Weights begin as random orthogonal matrices times `gain`, biases as 0 (Saxe et al. 2014, arXiv
    1312.6120; BigGAN, Brock et al. 2019, arXiv 1809.11096).

    Every linear layer, convolution and embedding of both networks; batch norm is left alone. The matrix has
    a row for each output: its rows are orthogonal, or, where it is taller than wide, its columns.
    """

    stage: ClassVar[Stage] = "initialise"

    gain: PositiveFloat = 1.0

    @torch.no_grad()
    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Draws every weight matrix of both networks anew from `random`."""
        for network in networks.both():
            for layer in network.modules():
                if isinstance(layer, LAYERS):
                    outputs_first = layer.weight.transpose(0, output_axis(layer))
                    drawn = torch.empty(outputs_first.shape)
                    outputs_first.copy_(nn.init.orthogonal_(drawn, self.gain, generator=random))
                    if getattr(layer, "bias", None) is not None:
                        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


@TECHNIQUES.register("orthogonal_regularisation")
class OrthogonalRegularisation(LossTerm):
    """Holds the rows of every weight matrix orthogonal to one another.

        off_diagonal:  |W W^T o (1 - I)|_F^2     the rows' lengths are free
        full:          |W W^T - I|_F^2           their lengths are 1 as well

    (Brock et al. 2019, arXiv 1809.11096; the second after Brock et al. 2017, arXiv 1609.07093),
    summed over all parameters of two axes or more, but for a generator's embeddings. W has a row for each
    output, as in BigGAN's released code; the papers write W^T W. Of a reparametrised layer W is the
    parameter behind its weight.
    """

    weight: NonNegativeFloat = 1e-4

    networks: Whose = "generator"
    form: Literal["off_diagonal", "full"] = "off_diagonal"

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        """The sum over the discriminator's matrices, where they are asked for."""
        return self._term(output, "discriminator")

    def generator_term(self, output: ForwardOutput) -> Scalar | None:
        """The sum over the generator's matrices, where they are asked for."""
        return self._term(output, "generator")

    def _term(self, output: ForwardOutput, player: str) -> Scalar | None:
        network = networks_of(output.networks, self.networks).get(player)
        if network is None:
            return None
        matrices = weight_matrices(network, embeddings=player == "discriminator").values()
        distance = (
            distance_from_orthogonal_rows if self.form == "off_diagonal" else distance_from_orthonormal_rows
        )
        return torch.stack([distance(one.matrix()) for one in matrices]).sum()


def distance_from_orthogonal_rows(matrix: Tensor) -> Scalar:
    """|W W^T o (1 - I)|_F^2 of W (rows, columns): the squared products of any two different rows."""
    rows, columns = matrix.shape
    if rows <= columns:
        products = matrix @ matrix.T
        return (products - products.diagonal().diag()).square().sum()
    # W W^T and W^T W have the same Frobenius norm, and the second is the smaller: a generator's first layer
    # may have 16384 rows. Its rows cannot all be orthogonal, so nothing is lost in the difference.
    return (matrix.T @ matrix).square().sum() - matrix.square().sum(1).square().sum()


def distance_from_orthonormal_rows(matrix: Tensor) -> Scalar:
    """|W W^T - I|_F^2 of W (rows, columns): the same, and the squared distances of squared lengths from 1."""
    rows, columns = matrix.shape
    if rows <= columns:
        products = matrix @ matrix.T
        return (products - torch.eye(rows, device=matrix.device, dtype=matrix.dtype)).square().sum()
    return (matrix.T @ matrix).square().sum() - 2 * matrix.square().sum() + rows
