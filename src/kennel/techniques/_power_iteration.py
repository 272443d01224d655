"""The leading singular values of weight matrices, followed from turn to turn by block power iteration."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

WARM_UP = 50
"""Iterations from a random start. At the edge of a random matrix's spectrum, where singular values lie close
together, they come within about half a percent; two turns' matrices differ far less than two random ones."""


class Leading(NamedTuple):
    """The largest singular values of a matrix, largest first, and their vectors in the same order."""

    values: Tensor
    """(count,)"""
    left: Tensor
    """(rows, count), orthonormal columns u0, u1, ..."""
    right: Tensor
    """(columns, count), orthonormal columns v0, v1, ..."""


@torch.no_grad()
def leading_singular_values(matrix: Tensor, start: Tensor, iterations: int = 1) -> Leading:
    """Estimates of the `start.shape[1]` largest singular values of `matrix` (rows, columns).

    Block power iteration (orthogonal iteration: Golub and Van Loan, "Matrix Computations", section 8.2.4, on
    W W^T) from `start` (rows, count), orthonormal columns. The singular values of what the matrix does to
    the subspace that is found are taken at the end (Rayleigh-Ritz), so that values that are equal or close to
    one another are no trouble. The estimates never exceed the true values, but for rounding, and with the
    left vectors of the last call as `start` one iteration a turn follows a matrix that changes slowly.
    """
    left = start
    for _ in range(iterations):
        right = torch.linalg.qr(matrix.T @ left).Q
        left = torch.linalg.qr(matrix @ right).Q
    # matrix^T left = basis core, and core = turn values back^T: matrix ~ (left back) values (basis turn)^T.
    basis, core = torch.linalg.qr(matrix.T @ left)
    context, values, back = torch.linalg.svd(core)
    return Leading(values, left @ back.T, basis @ context)


def random_start(rows: int, count: int, random: torch.Generator) -> Tensor:
    """Orthonormal columns (rows, count) of a uniformly random direction, on the CPU."""
    basis: Tensor = torch.linalg.qr(torch.randn(rows, count, generator=random)).Q
    return basis


class Followed:
    """The leading singular values of named matrices; remembers where it found them last."""

    def __init__(self, matrices: Mapping[str, Tensor], count: int, random: torch.Generator) -> None:
        """Finds the first `count` of each matrix, or as many as it has, from random starts."""
        self._left: dict[str, Tensor] = {}
        for name, matrix in matrices.items():
            start = random_start(matrix.shape[0], min(count, *matrix.shape), random).to(matrix)
            self._left[name] = leading_singular_values(matrix, start, WARM_UP).left

    def follow(self, name: str, matrix: Tensor, iterations: int = 1) -> Leading:
        """The values of the matrix of this name as it is now."""
        found = leading_singular_values(matrix, self._left[name], iterations)
        self._left[name] = found.left
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """The left singular vectors (rows, count) of each matrix."""
        return dict(self._left)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes the vectors back."""
        for name, left in self._left.items():
            left.copy_(state[name])
