"""Instance noise has the variance it promises, and fades."""

import pytest
import torch

from kennel.techniques import TECHNIQUES, StepContext

ZEROS = torch.zeros(16, 3, 64, 64)


def context(images_seen: int) -> StepContext:
    return StepContext(images_seen, 1000, "discriminator", images_seen, 0, torch.device("cpu"))


@pytest.mark.parametrize(("seen", "expected"), [(0, 0.01), (500, 0.005), (900, 0.001)])
def test_the_variance_falls_in_a_line_to_zero_at_the_end_of_the_run(seen, expected):
    noisy = TECHNIQUES["instance_noise"](variance=0.01).transform_inputs(ZEROS, context(seen), "real")
    # The sample variance of n draws has a standard deviation of sqrt(2/n) times the variance.
    tolerance = 5 * expected * (2 / ZEROS.numel()) ** 0.5
    assert noisy.var() == pytest.approx(expected, abs=tolerance)
    assert noisy.mean() == pytest.approx(0, abs=5 * (expected / ZEROS.numel()) ** 0.5)


def test_at_the_end_the_images_pass_untouched():
    assert TECHNIQUES["instance_noise"]().transform_inputs(ZEROS, context(1000), "real") is ZEROS


def test_an_earlier_end_of_the_noise_is_kept():
    technique = TECHNIQUES["instance_noise"](variance=0.4, until=0.5)
    assert technique.variance_at(0.25) == pytest.approx(0.2)
    assert technique.variance_at(0.5) == 0


def test_real_and_fake_images_get_noise_of_their_own():
    technique = TECHNIQUES["instance_noise"]()
    assert not torch.equal(
        technique.transform_inputs(ZEROS, context(0), "real"),
        technique.transform_inputs(ZEROS, context(0), "fake"),
    )
