"""Truncation sweeps."""

import numpy as np
import pytest
import torch
from scipy import stats

from kennel.errors import RunError
from kennel.images import to_uint8
from kennel.networks import StyleGenerator
from kennel.sampling.sweep import LOOSEST, TIGHTEST, TruncationSweep, quantile_truncated
from loaded import loaded


def sweep(given, frames=3, **options) -> TruncationSweep:
    return TruncationSweep(given.generator, given.recipe.latent, (0, 1), None, frames, **options)


def test_mapped_latents_follow_the_truncated_normal_and_keep_their_order():
    latents = torch.randn(20, 100, generator=torch.Generator().manual_seed(0))
    mapped = quantile_truncated(latents, 0.7).flatten().double().numpy()
    assert np.abs(mapped).max() <= 0.7
    assert stats.kstest(mapped, stats.truncnorm(-0.7, 0.7).cdf).pvalue > 1e-3
    assert np.array_equal(np.argsort(mapped), np.argsort(latents.flatten().numpy()))
    torch.testing.assert_close(quantile_truncated(latents, 8.0), latents)


def test_thresholds_decrease_and_images_come_closer_together():
    frames = list(sweep(loaded(), frames=5))
    thresholds = [threshold for threshold, _ in frames]
    assert thresholds == sorted(thresholds, reverse=True)
    assert (thresholds[0], thresholds[-1]) == pytest.approx((LOOSEST, TIGHTEST))
    differences = [np.abs(cells[0].astype(int) - cells[1]).mean() for _, cells in frames]
    assert differences[-1] < 0.5 * differences[0]


def test_a_mapping_network_ends_at_its_mean_style():
    given = loaded("stylegan2")
    network = given.generator
    assert isinstance(network, StyleGenerator)
    network.mean_style.normal_(generator=torch.Generator().manual_seed(1))
    (first, start), *_, (last, end) = sweep(given)
    assert (first, last) == (1, 0)
    assert np.abs(start.astype(int) - given.samples(2).pixels()).max() <= 1
    mean = to_uint8(network.synthesize(network.mean_style.expand(2, network.styled, -1)).detach())
    assert np.abs(end.astype(int) - mean.numpy()).max() <= 1


def test_standing_statistics_are_computed_for_each_threshold():
    plain, standing = (
        list(sweep(loaded(), sampling=loaded(passes=passes).recipe.sampling)) for passes in (0, 1)
    )
    assert all(not np.array_equal(one[1], other[1]) for one, other in zip(plain, standing, strict=True))


@pytest.mark.parametrize(
    ("given", "tightest", "message"),
    [
        ({"distribution": "uniform"}, None, "for a normal prior, and this run's latents are uniform"),
        ({}, 4.0, "cannot end a sweep from 3: give at least 0.01 and less than 3"),
        ({}, 0.001, "give at least 0.01"),
        ({"kind": "stylegan2"}, 1.5, "cannot end a sweep from 1"),
    ],
)
def test_what_cannot_be_truncated_is_refused(given, tightest, message):
    with pytest.raises(RunError, match=message):
        sweep(loaded(**given), tightest=tightest)
