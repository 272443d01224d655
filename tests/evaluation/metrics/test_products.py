import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.evaluation.metrics._products import ROUNDING, Float32Product, Int8Product, Product, choose_product
from kennel.features.base import exact_inference, full_precision_matmul

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


def test_the_rounding_of_long_sums_is_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the dither's own part: what is left has to hold the float32 sums of the shifts."""
    product = Int8Product(4096)
    # Codes of 126 wherever the other side's dither is above 1/2: no term of the left rows' sums cancels
    # another, and right rows of one value each are too short to hide them.
    left = (product._dithers[1] > 0.5).float().expand(2, -1) * 126
    right = torch.eye(4096)[:2]
    one, other = product.prepare(left, left=True), product.prepare(right, left=False)
    own, others = product._dithers.double() - 0.5
    steps = one.steps[0] * other.steps[0]
    rounded = ((one.values.double() - own) @ (other.values.double() - others).T) * steps
    monkeypatch.setattr("kennel.evaluation.metrics._products.CERTAINTY", 0.0)
    assert ((product(one, other).double() - rounded).abs() <= product.bound(one, other)[:, None]).all()
    worst = 4096 * ROUNDING * (one.values.double() @ others.abs()).max() * steps
    assert product.bound(one, other).min() >= 2 * worst


@pytest.mark.parametrize("chosen", [None, "tf32"])
def test_a_program_that_chose_tf32_gets_full_products_here_and_its_choice_back(chosen: str | None) -> None:
    matmul = torch.backends.cuda.matmul
    matmul.allow_tf32 = chosen is not None
    try:
        before = matmul.allow_tf32, torch.get_float32_matmul_precision()
        with full_precision_matmul(torch.device("cuda")):
            if hasattr(matmul, "fp32_precision"):
                assert matmul.fp32_precision == "ieee"
            else:
                assert not matmul.allow_tf32
        assert (matmul.allow_tf32, torch.get_float32_matmul_precision()) == before
        with exact_inference(torch.device("cuda")):
            pass
        assert matmul.allow_tf32 is before[0]
    finally:
        matmul.allow_tf32 = False
