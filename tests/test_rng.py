"""Draws depend on (seed, rank, images seen, purpose) and on nothing else."""

import pytest
import torch

from kennel import rng


def test_the_same_key_gives_the_same_draws():
    first = torch.randn(5, generator=rng.generator(1, "noise", 64))
    again = torch.randn(5, generator=rng.generator(1, "noise", 64))
    assert torch.equal(first, again)


def test_each_part_of_the_key_matters():
    keys = {
        rng.key(0, "a"),
        rng.key(1, "a"),
        rng.key(0, "b"),
        rng.key(0, "a", images_seen=1),
        rng.key(0, "a", rank=1),
    }
    assert len(keys) == 5


def test_keys_fit_a_signed_64_bit_seed():
    assert all(0 <= rng.key(seed, "x") < 2**63 for seed in range(1000))


@pytest.mark.parametrize(
    "draw",
    [
        lambda draws, rows: draws.uniform(rows, 3),
        lambda draws, rows: draws.normal(rows),
        lambda draws, rows: draws.integers(-2, 3, rows, 2),
        lambda draws, rows: draws.uniform(4, rows, 2, rows=1).transpose(0, 1),
    ],
)
def test_ranks_draw_together_what_one_process_draws(draw):
    def draws(rank=0, ranks=1):
        return rng.Draws(rng.generator(0, "noise"), rank, ranks)

    whole, parts = draws(), [draws(rank, 3) for rank in range(3)]
    for _ in range(2):  # the second draw of each follows the first
        assert torch.equal(torch.cat([draw(part, 2) for part in parts]), draw(whole, 6))


def test_one_process_draws_as_torch_does():
    draws = rng.Draws(rng.generator(0, "noise"))
    assert torch.equal(draws.normal(2, 3), torch.randn(2, 3, generator=rng.generator(0, "noise")))


def test_layers_draw_as_after_torchs_own_seeding():
    torch.manual_seed(7)
    expected = torch.nn.functional.dropout(torch.ones(50))
    torch.manual_seed(8)
    rng.seed_layers(7, torch.device("cpu"))
    assert torch.equal(torch.nn.functional.dropout(torch.ones(50)), expected)
