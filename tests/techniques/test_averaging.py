"""The average forgets at the rate it promises."""

import pytest
import torch

from kennel.networks import DISCRIMINATORS, GENERATORS, Setting
from kennel.passes import Passes
from kennel.showing import Showing
from kennel.techniques import TECHNIQUES, Players, Turn


def players() -> Players:
    setting = Setting(8, 1, 4)
    return Players(
        GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options(width=2)),
        DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options(width=2)),
    )


def after(ema, players, images_seen: int, share: float) -> None:
    """One generator's turn has ended."""
    turn = Turn(images_seen, 10**6, "generator", 0, 0, torch.device("cpu"), float(share))
    fake = torch.zeros(2, 1, 8, 8)
    play = Showing(players, (), Passes()).play(turn, torch.zeros(2, 4), None, None, fake)
    ema.after_generator(play)


def stem(generator) -> torch.Tensor:
    return generator.state_dict()["stem.weight"]


@pytest.mark.parametrize("turns", [1, 10])
def test_after_a_half_life_an_old_weight_counts_half(turns):
    pair = players()
    ema = TECHNIQUES["ema"](half_life_images=1000)
    ema.build(pair, torch.Generator())
    before = stem(pair.generator).clone()
    with torch.no_grad():
        pair.generator.stem.weight.fill_(3.0)
    for index in range(turns):
        after(ema, pair, 900_000 + index * 1000 // turns, 1000 / turns)
    expected = (before + 3.0) / 2
    assert torch.allclose(stem(ema.sampling_generator()), expected, atol=1e-6)


def test_a_young_average_follows_closely():
    pair = players()
    ema = TECHNIQUES["ema"](half_life_images=1000, ramp_up=0.05)
    ema.build(pair, torch.Generator())
    with torch.no_grad():
        pair.generator.stem.weight.fill_(3.0)
    after(ema, pair, 64, 64)
    assert torch.allclose(stem(ema.sampling_generator()), torch.tensor(3.0), atol=1e-4)


def test_the_average_is_another_network_that_never_trains():
    pair = players()
    ema = TECHNIQUES["ema"]()
    ema.build(pair, torch.Generator())
    average = ema.sampling_generator()
    assert average is not pair.generator
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_counters_of_batch_norm_are_taken_over():
    pair = players()
    ema = TECHNIQUES["ema"]()
    ema.build(pair, torch.Generator())
    pair.generator(torch.randn(4, 4))
    after(ema, pair, 100, 4)
    assert ema.sampling_generator().state_dict()["layers.0.num_batches_tracked"] == 1
