import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.errors import JudgementError
from kennel.evaluation.metrics import _nearest
from kennel.evaluation.metrics._nearest import nearest
from kennel.evaluation.metrics._products import ProductName

Rows = npt.NDArray[np.float32]


def rows(count: int, dimension: int, seed: int, offset: float = 0.0) -> Rows:
    random = np.random.default_rng(seed)
    return (random.standard_normal((count, dimension)) + offset).astype(np.float32)


def all_distances(left: Rows, right: Rows, cosine: bool) -> npt.NDArray[np.float64]:
    """Every pair by the definition, in float64."""
    one, other = left.astype(np.float64), right.astype(np.float64)
    if cosine:
        one = one / np.linalg.norm(one, axis=1, keepdims=True)
        other = other / np.linalg.norm(other, axis=1, keepdims=True)
        return 1 - np.abs(one @ other.T)
    return np.linalg.norm(one[:, None] - other[None], axis=-1)


@pytest.mark.parametrize("product", ["float32", "int8"])
@pytest.mark.parametrize("cosine", [False, True])
@settings(deadline=None, max_examples=20)
@given(
    sizes=st.tuples(st.integers(1, 60), st.integers(5, 80), st.sampled_from([2, 64, 100])),
    count=st.integers(1, 5),
    offset=st.sampled_from([0.0, 3.0, 1000.0]),
    seed=st.integers(0, 1000),
)
def test_the_nearest_are_those_of_the_definition(
    product: ProductName, cosine: bool, sizes: tuple[int, int, int], count: int, offset: float, seed: int
) -> None:
    many, more, dimension = sizes
    left, right = rows(many, dimension, seed, offset), rows(more, dimension, seed + 1, offset)
    found = nearest(left, right, count, cosine=cosine, product=product)
    truth = all_distances(left, right, cosine)
    np.testing.assert_allclose(found.distances, np.sort(truth, 1)[:, :count], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        np.take_along_axis(truth, found.indices, 1), found.distances, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("product", ["float32", "int8"])
def test_tiles_and_chunks_change_nothing(product: ProductName, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = rows(90, 64, 1), rows(150, 64, 2)
    whole = nearest(left, right, 3, product=product)
    for name, size in (
        ("LEFT_TILE", 16),
        ("RIGHT_TILE", 32),
        ("CHUNK", 48),
        ("GROUPS", 4),
        ("PAIR_BLOCK", 7),
    ):
        monkeypatch.setattr(_nearest, name, size)
    parts = nearest(left, right, 3, product=product)
    np.testing.assert_array_equal(whole.indices, parts.indices)
    np.testing.assert_array_equal(whole.distances, parts.distances)


@pytest.mark.parametrize("cosine", [False, True])
def test_a_row_is_no_neighbour_of_its_own_but_its_duplicate_is(cosine: bool) -> None:
    alone = rows(40, 64, 3)
    twice = np.concatenate([alone, alone[:10]])
    found = nearest(twice, twice, cosine=cosine, exclude_self=True)
    np.testing.assert_allclose(found.distances[:10, 0], 0, atol=1e-15)
    np.testing.assert_array_equal(found.indices[:10, 0], np.arange(40, 50))
    assert (found.distances[10:40, 0] > 0.01).all()


def test_many_equal_rows_all_count_as_neighbours() -> None:
    same = np.ones((30, 64), np.float32)
    found = nearest(same, same, 4, exclude_self=True)
    assert (found.distances == 0).all()
    assert (found.indices != np.arange(30)[:, None]).all()


@pytest.mark.parametrize("scale", [1e-18, 1e6, 1e18])
def test_the_size_of_the_features_does_not_matter(scale: float) -> None:
    left, right = rows(30, 64, 4), rows(50, 64, 5)
    plain = nearest(left, right, 2)
    scaled = nearest((left * scale).astype(np.float32), (right * scale).astype(np.float32), 2)
    np.testing.assert_allclose(scaled.distances, plain.distances * scale, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-18, 1e-13, 1e11, 1e18])
def test_the_size_of_rows_that_are_almost_alike_does_not_matter_to_the_cosine(scale: float) -> None:
    # So near to each other that all pairs are left to be looked at again.
    left, right = (1 + rows(count, 64, seed) * 1e-3 for count, seed in ((30, 4), (150, 5)))
    left, right = (left * scale).astype(np.float32), (right * scale).astype(np.float32)
    found = nearest(left, right, 2, cosine=True)
    truth = np.sort(all_distances(left, right, True), 1)[:, :2]
    np.testing.assert_allclose(found.distances, truth, rtol=0, atol=1e-14)


def test_8_bits_that_cannot_tell_give_way_to_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    # A far outlier a side makes the step of 8 bits coarse against all other distances.
    left, right = rows(40, 64, 6), rows(300, 64, 7)
    left[:, 0] += 1e4 * np.sign(left[:, 1])
    right[:, 0] += 1e4 * np.sign(right[:, 1])
    found = nearest(left, right, product="int8")
    np.testing.assert_allclose(found.distances[:, 0], all_distances(left, right, False).min(1), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-40, 1e37])
def test_features_at_the_ends_of_float32_are_searched(scale: float) -> None:
    left, right = (rows(20, 8, seed) * np.float32(scale) for seed in (10, 11))
    found = nearest(left, right, 2)
    np.testing.assert_allclose(found.distances, np.sort(all_distances(left, right, False), 1)[:, :2])


@pytest.mark.parametrize("product", ["float32", "int8"])
@pytest.mark.parametrize("dimension", [1, 3, 64])
def test_an_outlier_that_leaves_all_others_below_float32_changes_nothing(
    product: ProductName, dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In tiles without the outlier the squares of 1e-22 would be rounded away, and with them the order.
    monkeypatch.setattr(_nearest, "LEFT_TILE", 8)
    monkeypatch.setattr(_nearest, "RIGHT_TILE", 16)
    left, right = rows(40, dimension, 12), rows(80, dimension, 13)
    left, right = left * np.float32(1e-4), right * np.float32(1e-4)
    left[0] = right[0] = 1e18
    found = nearest(left, right, 2, product=product)
    np.testing.assert_allclose(
        found.distances, np.sort(all_distances(left, right, False), 1)[:, :2], rtol=1e-9
    )


@pytest.mark.parametrize("product", ["float32", "int8"])
@pytest.mark.parametrize("seed", [42, 93, 110])
def test_where_denormal_numbers_are_0_as_in_training_the_nearest_are_the_same(
    product: ProductName, seed: int
) -> None:
    random = np.random.default_rng(seed)
    left, right = (
        (random.normal(size=(count, 24)) * 10 ** random.uniform(-12, 12, (count, 1))).astype(np.float32)
        for count in (30, 40)
    )
    expected = np.sort(all_distances(left, right, False), 1)[:, :3]
    try:
        if not torch.set_flush_denormal(True):
            pytest.skip("this processor knows no such mode")
        found = nearest(left, right, 3, product=product).distances
    finally:
        torch.set_flush_denormal(False)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("product", ["float32", "int8"])
@settings(deadline=None, max_examples=20)
@given(
    kind=st.sampled_from(["heavy tails", "sparse", "lattice", "sizes apart"]),
    dimension=st.integers(1, 66),
    form=st.sampled_from(["plain", "float64", "Fortran", "every other", "read-only"]),
    seed=st.integers(0, 1000),
)
def test_any_data_in_any_form_have_the_nearest_of_the_definition(
    product: ProductName, kind: str, dimension: int, form: str, seed: int
) -> None:
    random = np.random.default_rng(seed)

    def drawn(count: int) -> npt.NDArray[np.floating]:
        shape = (count, dimension)
        values = {
            "heavy tails": np.clip(random.standard_cauchy(shape) ** 3, -1e15, 1e15),
            "sparse": random.normal(size=shape) * (random.random(shape) < 0.05),
            "lattice": random.integers(0, 3, shape).astype(np.float64),
            "sizes apart": random.normal(size=shape) * 10 ** random.uniform(-12, 12, (count, 1)),
        }[kind]
        given = values if form == "float64" else values.astype(np.float32)
        if form == "Fortran":
            given = np.asfortranarray(given)
        elif form == "every other":
            given = given.repeat(2, 1)[:, ::2]
        given.flags.writeable = form != "read-only"
        return given

    left, right = drawn(30), drawn(40)
    found = nearest(left, right, 3, product=product)
    truth = all_distances(left, right, False)
    np.testing.assert_allclose(found.distances, np.sort(truth, 1)[:, :3], rtol=1e-9)


@pytest.mark.parametrize("cosine", [False, True])
def test_an_exact_copy_is_at_0_exactly(cosine: bool) -> None:
    own = rows(200, 37, 14)
    assert (nearest(own, own, cosine=cosine).distances == 0).all()


def test_equal_rows_go_by_their_index() -> None:
    right = rows(6, 16, 15)[[0, 1, 0, 2, 0, 3, 0, 0, 4, 5]]
    found = nearest(right[:2], right, 3)
    np.testing.assert_array_equal(found.indices[0], [0, 2, 4])
    itself = nearest(right, right, 2, exclude_self=True)
    np.testing.assert_array_equal(itself.indices[[0, 2, 4, 6, 7]], [[2, 4], [0, 4], [0, 2], [0, 2], [0, 2]])


@pytest.mark.parametrize("spread", [0.0, 1e-5])
def test_images_of_a_collapsed_generator_are_not_weighed_pair_by_pair(
    spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed = []
    exact = _nearest.Space.exact
    monkeypatch.setattr(
        _nearest.Space, "exact", lambda self, *pairs: weighed.append(len(pairs[0])) or exact(self, *pairs)
    )
    still = (rows(1, 64, 16) + spread * rows(500, 64, 17)).astype(np.float32)
    found = nearest(still, still, 3, exclude_self=True)
    assert sum(weighed) < 500 * 500 / 10
    truth = all_distances(still, still, False)
    np.testing.assert_allclose(found.distances, np.sort(truth, 1)[:, 1:4], rtol=1e-9)


def test_signs_do_not_matter_to_the_cosine() -> None:
    left, right = rows(30, 64, 8), rows(50, 64, 9)
    np.testing.assert_allclose(
        nearest(-left, right, cosine=True).distances, nearest(left, right, cosine=True).distances, atol=1e-12
    )


def test_what_cannot_be_searched_is_refused() -> None:
    good = rows(5, 8, 1)
    bad = good.copy()
    bad[1, 1] = np.nan
    for left, right in ((bad, good), (good, bad)):
        with pytest.raises(JudgementError, match="NaN"):
            nearest(left, right)
    with pytest.raises(JudgementError, match="same extractor"):
        nearest(good, rows(5, 9, 1))
    with pytest.raises(JudgementError, match="at least 6"):
        nearest(good, good, 5, exclude_self=True)
    with pytest.raises(JudgementError, match="at least one"):
        nearest(good[:0], good)


@pytest.mark.parametrize("product", ["float32", "int8"])
def test_looking_often_at_what_was_gathered_changes_nothing(
    product: ProductName, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = rows(90, 64, 0), rows(700, 64, 1)
    expected = nearest(left, right, 3, product=product)
    monkeypatch.setattr(_nearest, "RIGHT_TILE", 64)
    monkeypatch.setattr(_nearest, "PRUNE_SIZE", 0)
    looked: list[int] = []
    prune = _nearest._Search._prune

    def counting(search: _nearest._Search) -> None:
        looked.append(search._collected)
        prune(search)

    monkeypatch.setattr(_nearest._Search, "_prune", counting)
    found = nearest(left, right, 3, product=product)
    assert len(looked) > 2
    np.testing.assert_array_equal(found.distances, expected.distances)
    np.testing.assert_array_equal(found.indices, expected.indices)
