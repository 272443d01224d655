"""Distances of all pairs, and what flows back through them."""

import torch

from kennel.techniques._pairwise import pairwise_l1

POINTS = torch.randn(3, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_distances_are_those_written_out():
    expected = (POINTS[:, :, None] - POINTS[:, None]).abs().sum(3)
    assert torch.allclose(pairwise_l1(POINTS), expected)


def test_first_and_second_derivatives_agree_with_finite_differences():
    points = POINTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(pairwise_l1, (points,))
    assert torch.autograd.gradgradcheck(lambda given: pairwise_l1(given).neg().exp(), (points,))


def test_equal_points_pull_nowhere():
    points = torch.zeros(1, 4, 2, requires_grad=True)
    pairwise_l1(points).neg().exp().sum().backward()
    assert points.grad.abs().max() == 0


def test_distances_between_two_sets_are_those_written_out_with_both_derivatives():
    others = POINTS[:, 1:4].clone() + 0.1
    expected = (POINTS[:, :, None] - others[:, None]).abs().sum(3)
    assert torch.allclose(pairwise_l1(POINTS, others), expected)
    both = (POINTS.clone().requires_grad_(), others.requires_grad_())
    assert torch.autograd.gradcheck(pairwise_l1, both)
    assert torch.autograd.gradgradcheck(lambda *given: pairwise_l1(*given).neg().exp(), both)
