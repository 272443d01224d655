"""Leading singular values agree with the whole decomposition, even where they are equal, and are tracked."""

import pytest
import torch

from kennel.techniques._power_iteration import SpectrumTracker, leading_singular_values, random_start

RANDOM = torch.Generator()


def matrix_of(values: list[float], rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """A float64 matrix with these singular values."""
    random = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(rows, rows, generator=random, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(columns, columns, generator=random, dtype=torch.float64)).Q
    count = len(values)
    return left[:, :count] @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right[:, :count].T


@pytest.mark.parametrize(("rows", "columns"), [(12, 20), (20, 12), (8, 8)], ids=["wide", "tall", "square"])
@pytest.mark.parametrize(
    "values", [[5.0, 3.0, 2.0, 1.0, 0.5], [4.0, 4.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.1]], ids=str
)
def test_the_first_three_agree_with_the_decomposition(values, rows, columns):
    matrix = matrix_of(values, rows, columns)
    start = random_start(rows, 3, RANDOM.manual_seed(1)).double()
    found = leading_singular_values(matrix, start, 100)
    expected = torch.tensor(values[:3], dtype=torch.float64)
    assert torch.allclose(found.values, expected, rtol=1e-10)
    # The vectors belong to the values, and are orthonormal, where these are equal too.
    assert torch.allclose(matrix @ found.right, found.left * expected, atol=1e-8)
    for vectors in (found.left, found.right):
        assert torch.allclose(vectors.T @ vectors, torch.eye(3, dtype=torch.float64), atol=1e-10)


def test_few_iterations_never_say_too_much():
    matrix = torch.randn(30, 40, generator=RANDOM.manual_seed(0), dtype=torch.float64)
    truth = torch.linalg.svdvals(matrix)[:2]
    start = random_start(30, 2, RANDOM.manual_seed(1)).double()
    errors = []
    for iterations in (0, 1, 3, 10, 30):
        found = leading_singular_values(matrix, start, iterations).values
        assert (found <= truth + 1e-12).all()
        errors.append((truth - found).max().item())
    assert errors == sorted(errors, reverse=True)


def test_a_matrix_of_lower_rank_has_zeros_and_no_nan():
    matrix = matrix_of([2.0], 6, 5).float()
    found = leading_singular_values(matrix, random_start(6, 3, RANDOM.manual_seed(0)), 5)
    assert torch.allclose(found.values, torch.tensor([2.0, 0.0, 0.0]), atol=1e-5)
    zero = leading_singular_values(torch.zeros(6, 5), random_start(6, 2, RANDOM.manual_seed(0)))
    assert torch.equal(zero.values, torch.zeros(2))


def test_a_matrix_that_drifts_is_followed_with_one_iteration_a_turn():
    random = torch.Generator().manual_seed(3)
    matrix = matrix_of([3.0, 2.0, 1.0, 0.5, 0.2], 10, 14, seed=3).float()
    tracker = SpectrumTracker({"layer": matrix}, 2, random)
    for _ in range(50):
        matrix = matrix + 0.01 * torch.randn(matrix.shape, generator=random)
        found = tracker.update("layer", matrix)
    assert torch.allclose(found.values, torch.linalg.svdvals(matrix)[:2], rtol=1e-3)


def test_what_was_followed_is_taken_back_bit_for_bit():
    random = torch.Generator().manual_seed(4)
    matrices = {"one": torch.randn(6, 9, generator=random), "row": torch.randn(1, 9, generator=random)}
    first = SpectrumTracker(matrices, 2, torch.Generator().manual_seed(0))
    again = SpectrumTracker(matrices, 2, torch.Generator().manual_seed(1))
    again.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for name, matrix in matrices.items():
        one, other = first.update(name, matrix), again.update(name, matrix)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert len(first.update("row", matrices["row"]).values) == 1
