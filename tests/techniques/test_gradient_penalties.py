"""Gradient penalties of discriminators whose gradients are known."""

import pytest
import torch

from kennel.engine.compute import ComputeContext
from kennel.engine.optim import ScheduledOptimizer
from kennel.engine.step import GANStep
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks

WEIGHTS = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])  # squared norm 30
REAL = torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
FAKE = torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(1))


def term(name, output, **options):
    return TECHNIQUES[name](**options).discriminator_term(output)


def tracked(images):
    return images.clone().requires_grad_()


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_the_penalty_of_a_linear_discriminator_is_half_its_squared_norm(name, make_power_players, make_play):
    output = make_play(make_power_players(WEIGHTS), real=tracked(REAL), fake=tracked(FAKE))
    assert term(name, output).item() == pytest.approx(30 / 2)
    assert TECHNIQUES[name]().weight == 10


@pytest.mark.parametrize(("name", "images"), [("r1", REAL), ("r2", FAKE)])
def test_each_penalty_looks_at_its_own_side(name, images, make_power_players, make_play):
    # D(x) = sum x^2 has the gradient 2x.
    networks = make_power_players(torch.ones(1, 2, 2), power=2)
    output = make_play(networks, real=tracked(REAL), fake=tracked(FAKE))
    expected = 2 * images.square().sum((1, 2, 3)).mean()
    assert term(name, output).item() == pytest.approx(expected.item())


def test_the_penalty_teaches_the_weights(make_power_players, make_play):
    networks = make_power_players(WEIGHTS)
    output = make_play(networks, real=tracked(REAL), fake=tracked(FAKE))
    (gradient,) = torch.autograd.grad(term("r1", output), networks.discriminator.head.weight)
    assert torch.allclose(gradient.flatten(), WEIGHTS.flatten())  # of |w|^2 / 2


def test_the_penalty_looks_through_a_view(make_power_players, make_play):
    class Doubled(TECHNIQUES["instance_noise"]):
        def transform_inputs(self, images, context, kind):
            return 2 * images

    output = make_play(
        make_power_players(WEIGHTS), real=tracked(REAL), fake=tracked(FAKE), techniques=(Doubled(),)
    )
    assert term("r1", output).item() == pytest.approx(4 * 30 / 2)


@pytest.mark.parametrize(
    ("options", "progress", "share"),
    [
        ({}, 0.7, 1.0),
        ({"decay": "cosine"}, 0.0, 1.0),
        ({"decay": "cosine"}, 0.5, 0.55),
        ({"decay": "cosine"}, 1.0, 0.1),
        ({"decay": "linear", "final": 0.0, "until": 0.5}, 0.25, 0.5),
        ({"decay": "linear", "final": 0.0, "until": 0.5}, 0.75, 0.0),
    ],
)
def test_gamma_follows_its_schedule(options, progress, share, make_power_players, make_play, make_turn):
    context = make_turn(images_seen=int(1000 * progress))
    output = make_play(make_power_players(WEIGHTS), real=tracked(REAL), fake=tracked(FAKE), context=context)
    assert term("r1", output, **options).item() == pytest.approx(share * 15)


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
@pytest.mark.parametrize(
    ("slope", "options", "expected"),
    [
        (3.0, {}, 4.0),
        (0.25, {}, 0.75**2),
        (0.25, {"one_sided": True}, 0.0),
        (3.0, {"one_sided": True}, 4.0),
        (3.0, {"target": 0.0}, 9.0),
    ],
)
def test_a_slope_is_punished_by_its_squared_distance_from_the_target(
    name, slope, options, expected, make_power_players, make_play
):
    weights = slope * WEIGHTS / 30**0.5
    output = make_play(make_power_players(weights), real=REAL, fake=FAKE)
    assert term(name, output, **options).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["gradient_penalty", "dragan"])
def test_a_flat_discriminator_is_punished_without_a_nan(name, make_power_players, make_play):
    networks = make_power_players(torch.zeros(1, 2, 2))
    value = term(name, make_play(networks, real=REAL, fake=FAKE))
    assert value.item() == 1.0
    (gradient,) = torch.autograd.grad(value, networks.discriminator.head.weight)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_gradient_penalty_is_measured_between_real_and_fake(make_power_players, make_play):
    output = make_play(make_power_players(WEIGHTS), real=REAL, fake=FAKE)
    points = TECHNIQUES["gradient_penalty"]().points(output)
    shares = (points - FAKE) / (REAL - FAKE)
    assert torch.allclose(shares, shares[:, :, :1, :1].expand_as(shares), atol=1e-5)  # one share an image
    each = shares[:, 0, 0, 0]
    assert ((each >= 0) & (each <= 1)).all()
    assert len(each.unique()) == len(each)


def test_dragan_is_measured_above_the_real_images_by_half_a_deviation_at_most(make_power_players, make_play):
    real = 3 * torch.randn(2000, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    output = make_play(make_power_players(WEIGHTS), real=real, fake=torch.zeros_like(real))
    moved = (TECHNIQUES["dragan"]().points(output) - real) / real.std(correction=0)
    assert moved.min() >= -1e-6
    assert 0.45 < moved.max() <= 0.5 + 1e-6
    # Half of a product of two uniforms: mean 1/8, and the images' own shares are alike within an image.
    assert moved.mean().item() == pytest.approx(0.125, abs=0.01)
    within = torch.corrcoef(moved.flatten(1).T)[0, 1]
    assert within.item() == pytest.approx(3 / 7, abs=0.1)  # (1/3 1/4 - 1/16) / (1/9 - 1/16)


def test_the_penalties_reach_the_loss_with_their_weight(make_power_players, make_turn):
    """Wasserstein's loss of a linear critic, plus 10/2 |w|^2, plus 10 (|w| - 1)^2."""
    networks = make_power_players(WEIGHTS)
    setting = NetworkSpec(2, 1, 4)
    networks = Networks(
        GENERATORS["mlp"](setting, GENERATORS["mlp"].Options(hidden=(3,))), networks.discriminator
    )
    techniques = {name: TECHNIQUES[name]() for name in ("r1", "gradient_penalty")}
    optimiser = torch.optim.SGD(networks.discriminator.parameters(), 0.0)
    step = GANStep(
        networks,
        LOSSES["wgan"](),
        techniques,
        ScheduledOptimizer(optimiser, lambda progress: 0.0),
        ScheduledOptimizer(torch.optim.SGD(networks.generator.parameters(), 0.0), lambda progress: 0.0),
    )
    latents = torch.zeros(6, 4)
    with torch.no_grad():
        fake = networks.generator(latents)
        distance = networks.discriminator(fake).mean() - networks.discriminator(REAL).mean()
    statistics = step.discriminator_step(REAL, latents, None, make_turn())
    expected = distance.item() + 150 + 10 * (30**0.5 - 1) ** 2
    assert statistics["discriminator_loss"].item() == pytest.approx(expected, rel=1e-5)
    assert statistics["r1_discriminator_term"].item() == pytest.approx(15)


def test_a_penalty_of_a_bfloat16_pass_is_close_to_that_of_float32(make_turn):
    torch.manual_seed(0)
    setting = NetworkSpec(8, 1, 4)
    discriminator = DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options(base_channels=4))
    generator = GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options(base_channels=4))
    real = torch.rand(8, 1, 8, 8) * 2 - 1
    terms = []
    for precision in (torch.float32, torch.bfloat16):
        optimisers = [
            ScheduledOptimizer(torch.optim.SGD(player.parameters(), 0.0), lambda progress: 0.0)
            for player in (discriminator, generator)
        ]
        techniques = {"r1": TECHNIQUES["r1"]()}
        step = GANStep(
            Networks(generator, discriminator),
            LOSSES["bce"](),
            techniques,
            *optimisers,
            compute=ComputeContext(precision),
        )
        statistics = step.discriminator_step(real, torch.zeros(8, 4), None, make_turn())
        terms.append(statistics["r1_discriminator_term"].item())
    assert terms[0] > 0
    assert terms[1] == pytest.approx(terms[0], rel=0.05)
