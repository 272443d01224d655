"""Label techniques change the side they should, by as much as they say."""

import pytest
import torch

from kennel.losses import Targets
from kennel.techniques import TECHNIQUES, StepContext

TURN = StepContext(0, 100, "discriminator", 0, 0, torch.device("cpu"))
MANY = torch.zeros(20_000)
HARD = Targets.for_logits(MANY, MANY)


def test_one_sided_smoothing_leaves_the_fakes_alone():
    targets = TECHNIQUES["one_sided_smoothing"](real=0.8).modify_targets(HARD, TURN)
    assert torch.all(targets.real == torch.tensor(0.8))
    assert torch.all(targets.fake == 0)


def test_a_range_gives_each_image_its_own_label_inside_it():
    targets = TECHNIQUES["one_sided_smoothing"](real=(0.9, 1.0)).modify_targets(HARD, TURN)
    assert targets.real.min() >= 0.9
    assert targets.real.max() <= 1.0
    assert targets.real.mean() == pytest.approx(0.95, abs=1e-3)
    assert targets.real.unique().numel() > 1000


def test_noisy_labels_flip_their_share_on_both_sides():
    targets = TECHNIQUES["noisy_labels"](probability=0.1).modify_targets(HARD, TURN)
    # Five standard deviations of a binomial share over 20,000 draws.
    tolerance = 5 * (0.1 * 0.9 / len(MANY)) ** 0.5
    assert (targets.real == 0).float().mean() == pytest.approx(0.1, abs=tolerance)
    assert (targets.fake == 1).float().mean() == pytest.approx(0.1, abs=tolerance)
    assert not torch.equal(targets.real == 0, targets.fake == 1)


def test_another_turn_draws_other_labels():
    later = StepContext(64, 100, "discriminator", 1, 0, torch.device("cpu"))
    technique = TECHNIQUES["noisy_labels"](probability=0.5)
    assert not torch.equal(
        technique.modify_targets(HARD, TURN).real, technique.modify_targets(HARD, later).real
    )


@pytest.mark.parametrize("real", [1.5, (0.9, 0.2), -0.1])
def test_a_label_that_is_none_is_refused(real):
    with pytest.raises(ValueError, match="real"):
        TECHNIQUES["one_sided_smoothing"](real=real)


def test_smoothing_and_flips_give_the_same_labels_in_either_order():
    smooth, flip = TECHNIQUES["one_sided_smoothing"](real=0.8), TECHNIQUES["noisy_labels"](probability=0.3)
    one = flip.modify_targets(smooth.modify_targets(HARD, TURN), TURN)
    other = smooth.modify_targets(flip.modify_targets(HARD, TURN), TURN)
    assert torch.equal(one.real, other.real)
    assert torch.equal(one.fake, other.fake)
    assert one.real.unique().tolist() == [0.0, pytest.approx(0.8)]
