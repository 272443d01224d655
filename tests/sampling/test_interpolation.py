"""Interpolation on the line and on the sphere."""

import math

import torch

from kennel.config.recipe import LatentConfig
from kennel.sampling.interpolation import between_latents, lerp, slerp

FIRST = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
SECOND = torch.tensor([[0.0, 2.0], [2.0, 2.0]])


def test_the_arc_between_two_axes_is_a_quarter_of_a_circle():
    angles = torch.linspace(0, 1, 5)
    points = slerp(FIRST[:1].expand(5, 2), SECOND[:1].expand(5, 2), angles)
    expected = 2 * torch.stack([(angles * math.pi / 2).cos(), (angles * math.pi / 2).sin()], 1)
    torch.testing.assert_close(points, expected)


def test_parallel_vectors_are_interpolated_linearly_and_stay_finite():
    half = torch.full((2,), 0.5)
    torch.testing.assert_close(slerp(FIRST, SECOND, half)[1], torch.tensor([1.5, 1.5]))
    assert torch.equal(slerp(torch.zeros(1, 3), torch.zeros(1, 3), half[:1]), torch.zeros(1, 3))
    torch.testing.assert_close(lerp(FIRST, SECOND, half)[0], torch.tensor([1.0, 1.0]))


def test_normal_latents_keep_their_length_and_uniform_ones_stay_on_the_line():
    first, second = torch.randn(2, 8, 512, generator=torch.Generator().manual_seed(0))
    half = torch.full((8,), 0.5)
    on_sphere = between_latents(LatentConfig(dim=512), first, second, half)
    on_line = between_latents(LatentConfig(dim=512, distribution="uniform"), first, second, half)
    assert (on_sphere.norm(dim=1) / 512**0.5 - 1).abs().max() < 0.1
    torch.testing.assert_close(on_line, (first + second) / 2)
    assert on_line.norm(dim=1).max() < 0.8 * 512**0.5
