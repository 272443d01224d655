"""How real and fake images go through the discriminator: together, or apart."""

import pytest
import torch

from kennel.networks import DISCRIMINATORS, GENERATORS, Setting
from kennel.passes import Passes
from kennel.showing import Showing
from kennel.techniques import TECHNIQUES, Players, Turn

SETTING = Setting(8, 1, 4)


def players(batch_norm: bool) -> Players:
    torch.manual_seed(0)
    generator = GENERATORS["dcgan"](SETTING, GENERATORS["dcgan"].Options(width=4))
    kind = DISCRIMINATORS["dcgan"]
    return Players(generator, kind(SETTING, kind.Options(width=4, batch_norm=batch_norm)))


def batches_seen(both: Players, twice: bool) -> list[int]:
    sizes: list[int] = []
    both.discriminator.first.register_forward_pre_hook(lambda module, entry: sizes.append(len(entry[0])))
    images = torch.zeros(3, 1, 8, 8)
    turn = Turn(0, 100, "discriminator", 0, 0, torch.device("cpu"))
    Showing(both, (), Passes()).play(turn, torch.zeros(3, 4), None, images, images, twice)
    return sizes


def test_images_go_together():
    assert batches_seen(players(batch_norm=False), twice=False) == [6]


def test_where_a_penalty_wants_one_sides_gradient_the_sides_go_apart():
    assert batches_seen(players(batch_norm=False), twice=True) == [3, 3]


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_batch_norm_which_would_notice_keeps_them_together(name):
    both = players(batch_norm=True)
    # 8x8 has one layer of 4 channels and none after it that is normalised, so a norm is put in.
    both.discriminator.layers.append(torch.nn.BatchNorm2d(4))
    assert TECHNIQUES[name].gradients_of
    assert batches_seen(both, twice=True) == [6]
