"""Each variation stays within what the paper allows, and touches both sides by draws of their own."""

import pytest
import torch

from kennel.config.base import validated
from kennel.errors import RecipeError
from kennel.techniques import TECHNIQUES

IMAGES = torch.rand(500, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def viewed(images, context, kind="real", **options):
    return TECHNIQUES["diff_augment"](**options).transform_inputs(images, context, kind)


def test_colour_alone_is_brightness_saturation_and_contrast_in_range(make_turn):
    result = viewed(IMAGES, make_turn(), policy=("colour",))
    brightness = result.mean((1, 2, 3)) - IMAGES.mean((1, 2, 3))  # the other two keep an image's mean
    assert -0.5 <= brightness.min() < -0.45
    assert 0.45 < brightness.max() <= 0.5

    def spread(images):  # of the grey image: contrast alone changes it
        return images.mean(1).flatten(1).std(1)

    contrast = spread(result) / spread(IMAGES)
    assert 0.5 - 1e-5 <= contrast.min() < 0.55
    assert 1.45 < contrast.max() <= 1.5 + 1e-5
    saturation = (result - result.mean(1, keepdim=True)).flatten(1).std(1)
    saturation = saturation / (IMAGES - IMAGES.mean(1, keepdim=True)).flatten(1).std(1) / contrast
    assert -1e-5 <= saturation.min() < 0.1
    assert 1.9 < saturation.max() <= 2 + 1e-5


def test_a_grey_image_has_brightness_and_contrast_alone(make_turn):
    grey = IMAGES[:, :1]
    result = viewed(grey, make_turn(), policy=("colour",))
    slope = result.flatten(1).std(1) / grey.flatten(1).std(1)
    assert ((slope > 0.5 - 1e-5) & (slope < 1.5 + 1e-5)).all()
    restored = (result - result.mean((1, 2, 3), keepdim=True)) / slope[:, None, None, None]
    assert torch.allclose(restored, grey - grey.mean((1, 2, 3), keepdim=True), atol=1e-5)


@pytest.mark.parametrize(("size", "most"), [(8, 1), (32, 4), (28, 4)])
def test_translation_is_by_an_eighth_of_the_side_at_most(size, most, make_turn):
    point = torch.zeros(600, 1, size, size)
    point[:, 0, size // 2, size // 2] = 1.0
    result = viewed(point, make_turn(), policy=("translation",))
    places = result.nonzero()[:, 2:] - size // 2
    assert len(places) == len(point)
    assert places.min() == -most
    assert places.max() == most
    assert len(places.unique(dim=0)) == (2 * most + 1) ** 2


def test_a_translated_image_lets_grey_in(make_turn):
    result = viewed(torch.ones(100, 1, 8, 8), make_turn(), policy=("translation",))
    assert set(result.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(("size", "side"), [(8, 4), (7, 4), (6, 3)])
def test_the_hole_is_half_the_side_and_may_reach_over_the_border(size, side, make_turn):
    result = viewed(torch.ones(500, 1, size, size), make_turn(), policy=("cutout",))
    holes = (result == 0).flatten(1).sum(1)
    assert holes.max() == side**2
    least = side // 2 if side % 2 == 0 else side // 2 + 1
    assert holes.min() == least**2


def test_real_and_fake_images_and_every_turn_have_draws_of_their_own(make_turn):
    images = IMAGES[:4]
    first = viewed(images, make_turn())
    assert torch.equal(first, viewed(images, make_turn()))
    assert not torch.equal(first, viewed(images, make_turn(), "fake"))
    assert not torch.equal(first, viewed(images, make_turn(images_seen=64)))


def test_the_generator_learns_through_it_and_a_penalty_looks_through_it(make_turn):
    images = IMAGES[:4].clone().requires_grad_()
    view = viewed(images.tanh(), make_turn())
    (gradient,) = torch.autograd.grad(view.square().sum(), images, create_graph=True)
    assert gradient.abs().sum() > 0
    (second,) = torch.autograd.grad(gradient.square().sum(), images)
    assert second.abs().sum() > 0


@pytest.mark.parametrize("policy", [[], ["colour", "colour"], ["color"]])
def test_an_impossible_policy_is_refused(policy):
    with pytest.raises(RecipeError, match="policy"):
        validated(TECHNIQUES["diff_augment"], {"policy": policy}, "technique diff_augment")


def test_points_are_refused(make_power_players):
    with pytest.raises(RecipeError, match="diff_augment needs images, and the recipe draws points"):
        TECHNIQUES["diff_augment"]().modify_networks(
            make_power_players(torch.ones(2, 1, 1)), torch.Generator()
        )
