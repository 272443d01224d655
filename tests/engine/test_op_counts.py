"""Operations and live bytes against hand-counted answers."""

import pytest
import torch
from torch import nn

from kennel.engine.op_counts import OperationCounter


def counted(output, living=()) -> OperationCounter:
    """One call of `output`, followed."""
    account = OperationCounter(living)
    with account:
        output()
    return account


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_convolution_and_both_of_its_gradients_are_three_times_its_products(kind, groups):
    layer = kind(16, 32, 4, stride=2, padding=1, groups=groups)
    images = torch.randn(3, 16, 10, 10, requires_grad=True)
    # Every place of the smaller side meets a kernel of 16 channels: 5x5 places downwards, 10x10 upwards.
    places = 25 if kind is nn.Conv2d else 100
    products = 3 * places * 16 * 32 // groups * 16
    assert counted(lambda: layer(images)).flops == 2 * products
    assert counted(lambda: layer(images).sum().backward()).flops == 3 * 2 * products


def test_a_frozen_convolution_counts_one_gradient_only():
    layer = nn.Conv2d(4, 8, 3, padding=1).requires_grad_(False)
    images = torch.randn(2, 4, 6, 6, requires_grad=True)
    products = 2 * 36 * 4 * 8 * 9
    assert counted(lambda: layer(images).sum().backward()).flops == 2 * 2 * products


def test_the_most_that_lives_at_once_is_found():
    def output() -> None:
        first = torch.zeros(1000)
        second = first + 1  # 8000 bytes
        del first
        third = second.view(10, 100)  # no memory of its own
        fourth = third * 2  # 8000 again
        del second, third, fourth

    assert counted(output).peak == 8000


def test_what_lives_before_counts_until_it_is_freed():
    kept = [torch.zeros(500)]
    live = OperationCounter(kept)
    with live:
        torch.zeros(100)
        kept.clear()
        torch.zeros(200)
    assert live.peak == 2000 + 400
    assert live.now == 0


def test_backward_frees_what_the_forward_pass_saved():
    weight = torch.randn(100, 100, requires_grad=True)

    def output() -> None:
        inner = weight.exp()  # saved for its own gradient
        (inner * 3).sum().backward()

    # weight; exp and its triple, then a gradient for each: at most exp, the incoming and the outgoing one.
    assert counted(output, [weight]).peak == pytest.approx(4 * 40_000, rel=0.001)
