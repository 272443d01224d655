"""Both kinds of order are permutations; the computed one is as good as a drawn one by every test here."""

import math

import numpy as np
import pytest
import torch

from kennel import rng
from kennel.data import shuffle
from kennel.data.shuffle import EpochShuffle, permuted


def keys(seed=0):
    return [rng.key(seed, f"round {number}") for number in range(shuffle.ROUNDS)]


def whole(count, seed=0):
    return permuted(np.arange(count, dtype=np.uint64), count, keys(seed)).astype(np.int64)


def test_a_computed_order_shows_every_image_once():
    for count in [*range(1, 300), 1000, 1023, 1024, 1025, 4097, 65_537, 1_000_003]:
        assert np.array_equal(np.sort(whole(count)), np.arange(count))


def test_a_computed_order_is_the_same_asked_for_in_pieces_or_at_once():
    everything = whole(5000)
    some = np.array([4999, 0, 17, 2500], np.uint64)
    assert np.array_equal(permuted(some, 5000, keys()), everything[some.astype(np.int64)])


def test_where_an_image_lands_is_uniform_over_the_keys():
    count, draws = 40, 2000
    landed = np.array([permuted(np.array([0, 1], np.uint64), count, keys(seed)) for seed in range(draws)])
    for places in landed.T:
        expected = draws / count
        chi_square = ((np.bincount(places.astype(int), minlength=count) - expected) ** 2 / expected).sum()
        # 39 degrees of freedom: mean 39, standard deviation 8.8; five of them.
        assert chi_square < 39 + 5 * math.sqrt(2 * 39)
    # Two neighbours lie next to each other as often as any two do: 2 / count, five standard deviations.
    together = np.abs(landed[:, 0].astype(int) - landed[:, 1].astype(int)) == 1
    chance = 2 / count
    assert together.mean() == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / draws))


@pytest.mark.parametrize("count", [999_983, 1 << 20])
def test_a_computed_order_has_no_visible_pattern(count):
    """Four figures whose mean and spread are known for a random permutation, within five deviations."""
    shuffled = whole(count)
    places = np.arange(count)
    for lag in (1, 2, 64, 4096, 1 << 16):
        correlation = np.corrcoef(shuffled[:-lag], shuffled[lag:])[0, 1]
        assert abs(correlation) < 5 / math.sqrt(count - lag)
    assert abs(np.corrcoef(places, shuffled)[0, 1]) < 5 / math.sqrt(count)
    descents = int((np.diff(shuffled) < 0).sum())
    assert descents == pytest.approx((count - 1) / 2, abs=5 * math.sqrt((count + 1) / 12))
    # 32 x 32 cells of (place, image): chi-square with 31 x 31 degrees of freedom.
    cells = np.histogram2d(places, shuffled, bins=32)[0]
    expected = count / 32**2
    chi_square = ((cells - expected) ** 2 / expected).sum()
    assert chi_square == pytest.approx(31**2, abs=5 * math.sqrt(2 * 31**2))
    low_bits = np.histogram2d(places % 64, shuffled % 64, bins=64)[0]
    expected = count / 64**2
    chi_square = ((low_bits - expected) ** 2 / expected).sum()
    assert chi_square == pytest.approx(63**2, abs=5 * math.sqrt(2 * 63**2))


def test_epochs_and_seeds_of_a_computed_order_have_nothing_in_common():
    count = 20_000
    epochs = EpochShuffle(count, 0, table_images=10)
    first, second = epochs.at(0, count), epochs.at(count, count)
    other = EpochShuffle(count, 1, table_images=10).at(0, count)
    for left, right in ((first, second), (first, other)):
        # The number of equal places is Poisson with mean 1: more than 10 has a chance of 1e-8.
        assert int((left == right).sum()) <= 10
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / math.sqrt(count)


def test_the_rounds_of_a_computed_order_have_nothing_in_common():
    """With one key for all rounds and halves of one size, swapping the halves would undo the permutation."""
    count = 1 << 16
    order = EpochShuffle(count, 0, table_images=10).at(0, count)
    places = torch.arange(count)
    swapped = (places % 256) * 256 + places // 256
    there_and_back = swapped[order[swapped[order]]]
    # The number of places that come back is about Poisson with mean 1: more than 10 has a chance of 1e-8.
    assert int((there_and_back == places).sum()) <= 10


@pytest.mark.parametrize("table_images", [10, 1 << 22], ids=["computed", "table"])
def test_places_may_span_blocks_and_epochs(table_images, monkeypatch):
    monkeypatch.setattr(shuffle, "BLOCK", 16)
    everything = EpochShuffle(50, 3, table_images=table_images).at(0, 150)
    for epoch in range(3):
        assert sorted(everything[50 * epoch : 50 * (epoch + 1)].tolist()) == list(range(50))
    again = EpochShuffle(50, 3, table_images=table_images)
    for start in (0, 37, 110, 5):
        assert torch.equal(again.at(start, 40), everything[start : start + 40])


def test_a_set_of_ordinary_size_keeps_the_order_of_torchs_randperm():
    drawn = torch.randperm(37, generator=rng.generator(5, "order of epoch 2"))
    assert torch.equal(EpochShuffle(37, 5).at(2 * 37, 37), drawn)


def test_the_orders_of_a_hundred_million_images_are_read_anywhere_in_no_time_and_no_room():
    huge = EpochShuffle(100_000_000, 0)
    places = huge.at(3 * 100_000_000 + 77_777_777, 256)
    assert len(places.unique()) == 256
    assert int(places.min()) >= 0
    assert int(places.max()) < 100_000_000
    assert sum(block.nbytes for block in huge._blocks.values()) <= 2 * 8 * shuffle.BLOCK


def test_only_cuda_is_copied_to_while_nobody_waits(monkeypatch):
    """Elsewhere what is copied from may be freed, and read, before the copy has begun."""
    told = []
    copy = torch.Tensor.to

    def recorded(tensor, device, non_blocking=False):
        told.append((device, non_blocking))
        return copy(tensor, device)

    monkeypatch.setattr(torch.Tensor, "to", recorded)
    elsewhere = torch.device("meta")
    assert EpochShuffle(37, 0, elsewhere).at(0, 8).device == elsewhere
    assert told == [(elsewhere, False)]
