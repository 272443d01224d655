"""The largest singular values of weight matrices, tracked over steps by block power iteration."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor

WARM_UP = 50
"""Iterations from a random start. They find the largest singular values of a random matrix, which lie close
together, to about half a percent."""


class SingularTriplets(NamedTuple):
    """The largest singular values of a matrix, in descending order, and their vectors."""

    values: Tensor
    """(count,)"""
    left: Tensor
    """(rows, count), orthonormal columns u0, u1, ..."""
    right: Tensor
    """(columns, count), orthonormal columns v0, v1, ..."""


@torch.no_grad()
def leading_singular_values(matrix: Tensor, start: Tensor, iterations: int = 1) -> SingularTriplets:
    """Estimates the `start.shape[1]` largest singular values of `matrix` (rows, columns).

    Block power iteration (orthogonal iteration: Golub and Van Loan, "Matrix Computations", section 8.2.4, on
    W W^T) from the orthonormal columns of `start` (rows, count), with a Rayleigh-Ritz step at the end, which
    handles equal and close values. Apart from rounding, estimates never exceed the true values. With the left
    vectors of the previous call as `start`, one iteration per step tracks a slowly changing matrix.
    """
    left = start
    for _ in range(iterations):
        right = torch.linalg.qr(matrix.T @ left).Q
        left = torch.linalg.qr(matrix @ right).Q
    # W^T left = Q R, and R = U S V^T: W ~ (left V) S (Q U)^T.
    q, r = torch.linalg.qr(matrix.T @ left)
    u, values, vh = torch.linalg.svd(r)
    return SingularTriplets(values, left @ vh.T, q @ u)


def random_start(rows: int, count: int, random: torch.Generator) -> Tensor:
    """Random orthonormal columns (rows, count), on the CPU."""
    return cast(Tensor, torch.linalg.qr(torch.randn(rows, count, generator=random)).Q)


class SpectrumTracker:
    """The largest singular values of named matrices; remembers the left vectors of the last update."""

    def __init__(self, matrices: Mapping[str, Tensor], count: int, random: torch.Generator) -> None:
        """Finds the largest `count` values of each matrix, or all if it has fewer, from random starts."""
        self._left: dict[str, Tensor] = {}
        for name, matrix in matrices.items():
            start = random_start(matrix.shape[0], min(count, *matrix.shape), random).to(matrix)
            self._left[name] = leading_singular_values(matrix, start, WARM_UP).left

    def update(self, name: str, matrix: Tensor, iterations: int = 1) -> SingularTriplets:
        """The values of the matrix `name` as it is now."""
        found = leading_singular_values(matrix, self._left[name], iterations)
        self._left[name] = found.left
        return found

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._left)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, left in self._left.items():
            left.copy_(state[name])
