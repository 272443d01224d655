"""Losses against hand-computed values, finite differences and their known optimum."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from kennel.losses import LOSSES, Targets

REAL = torch.tensor([2.0, -1.0, 0.5])
FAKE = torch.tensor([-2.0, 1.5, 0.0])


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


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_agree_with_finite_differences(name):
    loss = LOSSES[name]()
    real, fake = REAL.double().requires_grad_(), FAKE.double().requires_grad_()

    def discriminator(real, fake):
        return loss.discriminator_loss(real, fake, Targets.for_logits(real, fake))

    def generator(fake):
        return loss.generator_loss(REAL.double() if loss.generator_needs_real else None, fake)

    assert torch.autograd.gradcheck(discriminator, (real, fake))
    assert torch.autograd.gradcheck(generator, (fake,))


@pytest.mark.parametrize("name", list(LOSSES))
def test_extreme_logits_give_finite_losses(name):
    loss = LOSSES[name]()
    extreme = torch.tensor([200.0, -200.0])
    value = loss.discriminator_loss(extreme, -extreme, Targets.for_logits(extreme, extreme))
    assert torch.isfinite(value)
    assert torch.isfinite(loss.generator_loss(extreme, extreme))
