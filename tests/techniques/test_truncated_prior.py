"""Truncated latents are those of the truncated normal, and the rest is left alone."""

import math

import pytest
import torch
from scipy import stats

from kennel.techniques import TECHNIQUES


@pytest.mark.parametrize("threshold", [0.1, 0.5, 1.0, 2.0])
def test_latents_follow_the_truncated_normal(threshold, make_turn):
    latents = torch.randn(500, 40, generator=torch.Generator().manual_seed(0))
    truncated = TECHNIQUES["truncated_prior"](threshold=threshold).transform_latents(latents, make_turn())
    inside = latents.abs() <= threshold
    assert torch.equal(truncated[inside], latents[inside])
    assert truncated.abs().max() <= threshold
    whole = stats.truncnorm(-threshold, threshold)
    # What was drawn again follows the same distribution as what was inside from the first.
    for values in (truncated, truncated[~inside]):
        assert stats.kstest(values.flatten().numpy(), whole.cdf).pvalue > 1e-3
    error = 5 / math.sqrt(latents.numel())
    assert truncated.var().item() == pytest.approx(whole.var(), abs=error * whole.var() + 1e-4)


def test_a_wide_threshold_changes_nothing(make_turn):
    latents = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        TECHNIQUES["truncated_prior"](threshold=9.0).transform_latents(latents, make_turn()), latents
    )


def test_the_draws_belong_to_the_turn(make_turn):
    technique = TECHNIQUES["truncated_prior"](threshold=0.5)
    latents = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    first, again = (technique.transform_latents(latents, make_turn(images_seen=64)) for _ in range(2))
    later = technique.transform_latents(latents, make_turn(images_seen=128))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
