"""Draws depend on (seed, rank, images seen, purpose) and on nothing else."""

import torch

from kennel import randomness


def test_the_same_key_gives_the_same_draws():
    first = torch.randn(5, generator=randomness.generator(1, "noise", 64))
    again = torch.randn(5, generator=randomness.generator(1, "noise", 64))
    assert torch.equal(first, again)


def test_each_part_of_the_key_matters():
    keys = {
        randomness.key(0, "a"),
        randomness.key(1, "a"),
        randomness.key(0, "b"),
        randomness.key(0, "a", images_seen=1),
        randomness.key(0, "a", rank=1),
    }
    assert len(keys) == 5


def test_keys_fit_a_signed_64_bit_seed():
    assert all(0 <= randomness.key(seed, "x") < 2**63 for seed in range(1000))
