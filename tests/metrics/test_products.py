import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.metrics.products import Float32Product, Int8Product, Product, choose_product

PRODUCTS = [Float32Product(), Int8Product(96)]


def rows(count: int, seed: int, spread: float = 1.0, dimension: int = 96) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimension, generator=random) * spread


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([1e-12, 1.0, 1e12]),
    sparse=st.booleans(),
)
def test_no_product_is_further_off_than_its_bound(
    product: Product, seed: int, spread: float, sparse: bool
) -> None:
    left, right = rows(20, seed, spread), rows(30, seed + 1, spread)
    if sparse:
        left, right = left.relu(), right * (right > 1.5 * spread)
    one, other = product.prepare(left, left=True), product.prepare(right, left=False)
    wrong = (product(one, other).double() - left.double() @ right.double().T).abs()
    assert (wrong <= product.bound(one, other)[:, None]).all()


def test_the_8_bit_bound_is_within_ten_times_of_the_errors_that_occur() -> None:
    product = Int8Product(2048)
    left, right = rows(64, 1, dimension=2048), rows(64, 2, dimension=2048)
    one, other = product.prepare(left, left=True), product.prepare(right, left=False)
    wrong = (product(one, other).double() - left.double() @ right.double().T).abs()
    assert wrong.max() > product.bound(one, other).max() / 10, "the bound would say nothing"


def test_the_8_bit_product_has_no_bias() -> None:
    dimension, tries = 64, 400
    left, right = rows(4, 3, dimension=dimension), rows(4, 4, dimension=dimension)
    truth = left.double() @ right.double().T
    errors = []
    for seed in range(tries):
        product = Int8Product(dimension, seed)
        found = product(product.prepare(left, left=True), product.prepare(right, left=False))
        errors.append(found.double() - truth)
    gathered = torch.stack(errors)
    standard_error = gathered.std(0) / tries**0.5
    assert (gathered.mean(0).abs() < 5 * standard_error).all()


def test_rows_of_zeros_have_product_zero_to_within_their_bound() -> None:
    product = Int8Product(96)
    zeros, others = product.prepare(torch.zeros(3, 96), left=True), product.prepare(rows(5, 1), left=False)
    assert (product(zeros, others).abs() <= product.bound(zeros, others)[:, None]).all()
    assert product.bound(zeros, others).max() < 1e-30


def test_short_rows_and_accelerators_take_the_plain_product() -> None:
    assert choose_product(16, torch.device("cpu")).name == "float32"
    assert choose_product(2048, torch.device("cuda")).name == "float32"
    assert choose_product(2048, torch.device("cpu"), "int8").name == "int8"
    assert choose_product(1, torch.device("cpu"), "int8").name == "float32", "torch multiplies it wrongly"
