"""The generator matches mean and spread of what the discriminator starts from."""

from dataclasses import replace

import pytest
import torch

from kennel.techniques import TECHNIQUES
from kennel.techniques.moment_matching import pooled


@pytest.fixture
def output(make_power_players, make_play, make_turn):
    """A play in which the discriminator's trained layers start from these maps."""
    pixel = torch.ones(1, 1, 1)
    networks = make_power_players(pixel)

    def make(real, fake):
        one = make_play(networks, real=pixel[None], fake=pixel[None], context=make_turn(share=8.0))
        return replace(one, real_embedded=real, fake_embedded=fake)

    return make


@pytest.fixture
def technique(make_power_players, monkeypatch):
    """The technique, built for a discriminator whose trained layers start from such maps."""

    def make(maps=1, channels=3, **options):
        made = TECHNIQUES["moment_matching"](**options)
        networks = make_power_players(torch.ones(1, 1, 1))
        monkeypatch.setattr(type(networks.discriminator), "embedded_widths", (channels,) * maps)
        made.modify_networks(networks, torch.Generator())
        return made

    return make


def maps(mean, deviation, count=4_000, channels=3):
    """Maps whose average over the positions has this mean and deviation, exactly, over the images."""
    values = torch.randn(count, channels, generator=torch.Generator().manual_seed(0)).double()
    values = (values - values.mean(0)) / values.std(0, correction=0) * deviation + mean
    return values.float()[:, :, None, None].expand(-1, -1, 2, 2)


def test_the_term_is_the_squared_distance_of_means_and_deviations_over_the_real_variance(output, technique):
    made = technique(maps=2)
    given = output((maps(1.0, 2.0), maps(0.0, 1.0)), (maps(4.0, 3.0), maps(0.0, 0.5)))
    made.after_discriminator(given)
    expected = (3**2 + 1**2) / 2**2 + 0.5**2 / 1**2
    torch.testing.assert_close(made.generator_term(given), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_equal_sides_have_nothing_to_match(output, technique):
    made = technique()
    same = output(maps(1.0, 2.0), maps(1.0, 2.0))
    made.after_discriminator(same)
    assert made.generator_term(same) < 1e-6


def test_the_gradient_is_that_of_the_batchs_moments_at_the_averages(output, technique):
    made = technique(channels=2, half_life_images=8)
    torch.manual_seed(0)
    real, old = torch.randn(16, 2, 1, 1), torch.randn(16, 2, 1, 1) + 1
    made.after_discriminator(output(real, old))
    now = torch.randn(16, 2, 1, 1, dtype=torch.float64, requires_grad=True)
    made.generator_term(output(None, now)).backward()
    state = {name: value.double() for name, value in made.state_dict().items()}
    mean, square = state["fake.0"] / state["weight"]
    mean_real, square_real = state["real.0"] / state["weight"]
    deviation, deviation_real = (square - mean**2).sqrt(), (square_real - mean_real**2).sqrt()
    # d/dx of |m - m_r|^2 + |s - s_r|^2, where dm/dx = 1/n and ds/dx = (x - m)/(n s).
    slope = 2 * (mean - mean_real) + 2 * (deviation - deviation_real) * (now[:, :, 0, 0] - mean) / deviation
    expected = slope / 16 / (deviation_real**2).sum()
    torch.testing.assert_close(now.grad[:, :, 0, 0], expected, rtol=1e-4, atol=1e-6)


def test_an_older_turn_counts_half_after_the_half_life(output, technique):
    made = technique(half_life_images=8)
    made.after_discriminator(output(maps(0.0, 1.0), maps(0.0, 1.0)))
    made.after_discriminator(output(maps(3.0, 1.0), maps(3.0, 1.0)))
    mean = (made.state_dict()["real.0"] / made.state_dict()["weight"])[0]
    torch.testing.assert_close(mean, torch.full((3,), 2.0))  # (3 * 1/2 + 0 * 1/4) / (3/4)


def test_what_is_remembered_comes_back(output, technique):
    made, other = technique(maps=2), technique(maps=2)
    given = output((maps(1.0, 2.0), maps(0.0, 1.0)), (maps(4.0, 3.0), maps(0.0, 0.5)))
    made.after_discriminator(given)
    other.load_state_dict(made.state_dict())
    for one in (made, other):
        one.after_discriminator(given)
    assert torch.equal(made.generator_term(given), other.generator_term(given))


@pytest.mark.parametrize(
    "embedded", [torch.rand(2, 3, 4, 4), (torch.rand(2, 3, 4, 4), torch.rand(2, 5, 2, 2))]
)
def test_maps_are_averaged_over_their_positions(embedded):
    expected = [embedded] if isinstance(embedded, torch.Tensor) else embedded
    for one, other in zip(pooled(embedded), expected, strict=True):
        torch.testing.assert_close(one, other.flatten(2).mean(2))
