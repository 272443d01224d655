"""The filter against the checkerboards of transposed convolutions."""

import math

import pytest
import torch

from kennel.networks import GENERATORS, NetworkSpec
from kennel.networks.dcgan import DcganGeneratorOptions
from kennel.networks.layers.checkerboard import CheckerboardFilter


def wave(across, along, side=32):
    """cos(across y) cos(along x), as a map (1, 1, side, side)."""
    places = torch.arange(side, dtype=torch.float64)
    return torch.outer(torch.cos(across * places), torch.cos(along * places))[None, None]


def inner(maps):
    """Without the pixels that the border reaches."""
    return maps[..., 4:-4, 4:-4]


@pytest.mark.parametrize(("across", "along"), [(math.pi, math.pi), (math.pi, 0.0), (0.0, math.pi)])
def test_what_repeats_every_two_pixels_is_gone(across, along):
    filtered = CheckerboardFilter().double()(wave(across, along))
    assert inner(filtered).abs().max() < 1e-12


def test_a_wave_keeps_the_share_that_the_formula_gives():
    for across in torch.linspace(0, math.pi, 7).tolist():
        for along in torch.linspace(0, math.pi, 7).tolist():
            given = wave(across, along)
            low = (math.cos(across) * math.cos(along)) ** 2
            high = 1 - (math.cos(across / 2) * math.cos(along / 2)) ** 2
            filtered = CheckerboardFilter().double()(given)
            torch.testing.assert_close(inner(filtered), inner(given) * (1 - low * high), atol=1e-6, rtol=0)


def test_what_is_even_stays_as_it_is_to_the_border():
    given = torch.full((1, 2, 8, 6), 0.7)
    torch.testing.assert_close(CheckerboardFilter()(given), given)


def test_its_gradient_is_the_true_one_and_can_be_differentiated_again():
    torch.manual_seed(0)
    maps = torch.randn(1, 2, 7, 6, dtype=torch.float64, requires_grad=True)
    filter_ = CheckerboardFilter().double()
    assert torch.autograd.gradcheck(filter_, (maps,))
    assert torch.autograd.gradgradcheck(lambda given: filter_(given).square(), (maps,))


def test_a_generator_with_it_draws_no_lattice_of_even_and_odd_pixels():
    torch.manual_seed(0)
    latents = torch.randn(16, 8)
    strengths = []
    for filtered in (False, True):
        torch.manual_seed(1)
        options = DcganGeneratorOptions(base_channels=4, checkerboard_filter=filtered)
        images = GENERATORS["dcgan"](NetworkSpec(32, 3, 8), options)(latents)
        board = inner(wave(math.pi, math.pi)).float()
        strengths.append((inner(images) * board).mean((2, 3)).abs().mean().item())
    assert strengths[1] < 0.1 * strengths[0]
