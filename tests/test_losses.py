"""Losses against hand-computed values, finite differences and their known optimum."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from kennel.losses import LOSSES, Targets

REAL = torch.tensor([2.0, -1.0, 0.5])
FAKE = torch.tensor([-2.0, 1.3, 0.1])
DISTANCES = torch.tensor([0.2, 0.9, 0.3])


def test_bce_is_the_cross_entropy_of_both_batches():
    targets = Targets(torch.tensor([0.8, 0.8, 0.8]), torch.zeros(3))
    expected = binary_cross_entropy(REAL.sigmoid(), targets.real) + binary_cross_entropy(
        FAKE.sigmoid(), targets.fake
    )
    assert LOSSES["bce"]().discriminator_loss(REAL, FAKE, targets) == pytest.approx(expected.item(), rel=1e-6)


def test_the_non_saturating_generator_minimises_minus_log_of_its_success():
    expected = -FAKE.sigmoid().log().mean()
    assert LOSSES["bce"]().generator_loss(None, FAKE) == pytest.approx(expected.item(), rel=1e-6)


def test_the_minimax_generator_minimises_the_log_of_its_failure():
    expected = (1 - FAKE.sigmoid()).log().mean()
    assert LOSSES["minimax"]().generator_loss(None, FAKE) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("name", ["bce", "minimax"])
def test_at_the_equilibrium_the_discriminator_loss_is_two_log_two(name):
    zeros = torch.zeros(4)
    loss = LOSSES[name]().discriminator_loss(zeros, zeros, Targets.for_logits(zeros, zeros))
    assert loss == pytest.approx(2 * math.log(2), rel=1e-6)


def test_a_smoothed_label_is_the_best_answer_of_the_discriminator():
    logits = torch.linspace(-4, 4, 2001)
    losses = torch.stack(
        [
            LOSSES["bce"]().discriminator_loss(
                logit[None], torch.full((1,), -50.0), Targets(torch.tensor([0.8]), torch.zeros(1))
            )
            for logit in logits
        ]
    )
    assert logits[losses.argmin()].sigmoid() == pytest.approx(0.8, abs=1e-3)


def both(name, **options):
    """(discriminator loss, generator loss) of REAL and FAKE, with hard labels."""
    loss = LOSSES[name](**options)
    targets = Targets.for_logits(REAL, FAKE)._replace(distances=DISTANCES)
    real = REAL if loss.generator_needs_real else None
    return loss.discriminator_loss(REAL, FAKE, targets).item(), loss.generator_loss(real, FAKE).item()


# REAL is (2, -1, 0.5) with mean 0.5; FAKE is (-2, 1.3, 0.1) with mean -0.2. By hand:
BY_HAND = {
    # ((1 + 4 + 0.25) / 3 + (4 + 1.69 + 0.01) / 3) / 2, and (9 + 0.09 + 0.81) / 3 / 2
    "lsgan": (1.825, 1.65),
    # (0 + 2 + 0.5) / 3 + (0 + 2.3 + 1.1) / 3, and the mean of the fakes with its sign turned
    "hinge": (5.9 / 3, 0.2),
    "wgan": (-0.7, 0.2),
    # real minus -0.2: (2.2, -0.8, 0.7); fake minus 0.5: (-2.5, 0.8, -0.4)
    # D: (1.44 + 3.24 + 0.09 + 2.25 + 3.24 + 0.36) / 6; G: (10.24 + 0.04 + 2.89 + 12.25 + 0.04 + 1.96) / 6
    "ralsgan": (10.62 / 6, 27.42 / 6),
    # D: (0 + 1.8 + 0.3 + 0 + 1.8 + 0.6) / 6; G: (3.2 + 0.2 + 1.7 + 3.5 + 0.2 + 1.4) / 6
    "rahinge": (4.5 / 6, 10.2 / 6),
    # -0.5 + (0 [0.2 - 4] + [0.9 + 2.3] + 0 [0.3 - 0.4]) / 3
    "loss_sensitive": (-0.5 + 3.2 / 3, 0.2),
}


@pytest.mark.parametrize("name", list(BY_HAND))
def test_losses_of_a_small_batch_are_those_worked_out_by_hand(name):
    assert both(name) == pytest.approx(BY_HAND[name], rel=1e-5)


def test_relativistic_losses_are_cross_entropies_of_how_much_more_real_the_real_images_look():
    real_over, fake_over = REAL - FAKE.mean(), FAKE - REAL.mean()
    discriminator = -(real_over.sigmoid().log().mean() + (1 - fake_over.sigmoid()).log().mean()) / 2
    generator = -(fake_over.sigmoid().log().mean() + (1 - real_over.sigmoid()).log().mean()) / 2
    assert both("ragan") == pytest.approx((discriminator.item(), generator.item()), rel=1e-5)
    pairs = (REAL - FAKE).sigmoid()
    expected = (-pairs.log().mean().item(), -(1 - pairs).log().mean().item())
    assert both("relativistic_paired") == pytest.approx(expected, rel=1e-5)


def test_least_squares_has_both_codings_of_its_paper():
    # (a, b, c) = (-1, 1, 0): ((1 + 4 + 0.25) + (1 + 5.29 + 1.21)) / 3 / 2, and (4 + 1.69 + 0.01) / 3 / 2
    assert both("lsgan", a=-1, b=1, c=0) == pytest.approx((12.75 / 6, 5.7 / 6), rel=1e-5)


def test_a_soft_label_of_least_squares_lies_between_its_codes():
    loss, soft = LOSSES["lsgan"](a=-1, b=1, c=0), Targets(torch.full((3,), 0.9), torch.zeros(3))
    expected = ((REAL - 0.8).square().mean() + (FAKE + 1).square().mean()) / 2
    assert loss.discriminator_loss(REAL, FAKE, soft).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_best_least_squares_discriminator_lies_between_the_codes_by_the_odds():
    # Mao et al. 2017, eq. 5: (b p + a q) / (p + q), here for an image that is real 3 times and fake once.
    loss, logits = LOSSES["lsgan"](a=-1, b=1, c=0), torch.linspace(-2, 2, 4001)
    values = torch.stack(
        [
            3 * loss.discriminator_loss(one[None], -torch.ones(1), Targets(torch.ones(1), torch.zeros(1)))
            + loss.discriminator_loss(torch.ones(1), one[None], Targets(torch.ones(1), torch.zeros(1)))
            for one in logits
        ]
    )
    assert logits[values.argmin()].item() == pytest.approx((3 - 1) / 4, abs=2e-3)


def test_the_hinge_is_content_with_a_margin_of_one():
    loss = LOSSES["hinge"]()
    real, fake = torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -7.0])
    assert loss.discriminator_loss(real, fake, Targets.for_logits(real, fake)) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("ragan", math.log(2)), ("relativistic_paired", math.log(2)), ("ralsgan", 1.0), ("rahinge", 1.0)],
)
def test_players_that_are_even_pay_the_same_in_a_relativistic_game(name, value):
    same = torch.full((4,), 0.7)
    loss = LOSSES[name]()
    targets = Targets.for_logits(same, same)
    assert loss.discriminator_loss(same, same, targets).item() == pytest.approx(value, rel=1e-6)
    assert loss.generator_loss(same, same).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("name", ["wgan", "ralsgan", "rahinge", "ragan", "relativistic_paired"])
def test_a_shift_of_all_logits_changes_nothing_where_only_differences_count(name):
    loss, targets = LOSSES[name](), Targets.for_logits(REAL, FAKE)
    there = loss.discriminator_loss(REAL, FAKE, targets).item()
    assert loss.discriminator_loss(REAL + 3, FAKE + 3, targets).item() == pytest.approx(there, rel=1e-5)


def test_the_margin_of_the_loss_sensitive_gan_grows_with_the_distance_of_the_pair():
    near = both("loss_sensitive")[0]
    assert both("loss_sensitive", scale=2)[0] == pytest.approx(near + (0.9 + 0.2) / 3, rel=1e-5)
    assert both("loss_sensitive", weight=2)[0] == pytest.approx(2 * near + 0.5, rel=1e-5)


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_agree_with_finite_differences(name):
    loss = LOSSES[name]()
    real, fake = REAL.double().requires_grad_(), FAKE.double().requires_grad_()

    def discriminator(real, fake):
        targets = Targets.for_logits(real, fake)._replace(distances=DISTANCES.double())
        return loss.discriminator_loss(real, fake, targets)

    def generator(fake):
        return loss.generator_loss(REAL.double() if loss.generator_needs_real else None, fake)

    assert torch.autograd.gradcheck(discriminator, (real, fake))
    assert torch.autograd.gradcheck(generator, (fake,))


@pytest.mark.parametrize("name", list(LOSSES))
def test_extreme_logits_give_finite_losses(name):
    loss = LOSSES[name]()
    extreme = torch.tensor([200.0, -200.0])
    targets = Targets.for_logits(extreme, extreme)._replace(distances=torch.tensor([0.1, 2.0]))
    value = loss.discriminator_loss(extreme, -extreme, targets)
    assert torch.isfinite(value)
    assert torch.isfinite(loss.generator_loss(extreme, extreme))


@pytest.mark.parametrize("name", list(LOSSES))
def test_of_several_outputs_an_image_each_plays_by_itself_and_the_loss_is_their_mean(name):
    torch.manual_seed(0)
    real, fake = torch.randn(6, 3), torch.randn(6, 3)
    targets = Targets(torch.rand(6), torch.rand(6), torch.rand(6))
    loss = LOSSES[name]()
    alone = [loss.discriminator_loss(real[:, i], fake[:, i], targets) for i in range(3)]
    torch.testing.assert_close(loss.discriminator_loss(real, fake, targets), torch.stack(alone).mean())
    alone = [loss.generator_loss(real[:, i], fake[:, i]) for i in range(3)]
    torch.testing.assert_close(loss.generator_loss(real, fake), torch.stack(alone).mean())
