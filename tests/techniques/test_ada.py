"""p follows how sure the discriminator is, at the published speed; each operation happens so often."""

import pytest
import torch

from kennel.errors import RecipeError
from kennel.rng import Draws
from kennel.techniques import TECHNIQUES
from kennel.techniques.ada import AugmentationDraws, color_transforms, geometric_transforms, pixel_blitting

IMAGES = torch.rand(400, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
STEPS = {"b": pixel_blitting, "g": geometric_transforms, "c": color_transforms}


@pytest.fixture
def plays(make_power_players, make_play, make_turn):
    networks = make_power_players(torch.ones(1, 1, 1))  # D(x) = x for images of one pixel

    def output(*real, share=100.0, images_seen=0):
        images = torch.tensor(real).view(-1, 1, 1, 1)
        context = make_turn(share=share, images_seen=images_seen)
        return make_play(networks, real=images, fake=torch.zeros_like(images), context=context)

    return output


def probability(ada):
    return ada.statistics()["probability"].item()


def with_p(p, images, step, seed=0):
    random = Draws(torch.Generator().manual_seed(seed))
    return step(images, AugmentationDraws(len(images), torch.tensor(p), random))


def changed(images, result):
    return (images != result).flatten(1).any(1).float().mean().item()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("letter", ["b", "g", "c"])
def test_with_p_of_zero_every_operation_is_the_identity(letter, channels):
    images = IMAGES[:, :channels]
    assert torch.equal(with_p(0.0, images, STEPS[letter]), images)


def test_a_fresh_technique_shows_images_as_they_are(make_turn):
    assert torch.equal(TECHNIQUES["ada"]().transform_inputs(IMAGES, make_turn(), "real"), IMAGES)


def test_p_rises_when_the_discriminator_is_sure_and_falls_when_it_is_not(plays):
    ada = TECHNIQUES["ada"](interval=1, adjustment_images=1000)
    for expected in (0.1, 0.2, 0.3):
        ada.after_discriminator(plays(1.0, 2.0, 3.0, 4.0))
        assert probability(ada) == pytest.approx(expected)
    assert ada.statistics()["real_sign"].item() == 1.0
    ada.after_discriminator(plays(1.0, 2.0, 3.0, -4.0))  # the mean sign is 0.5, below 0.6
    assert probability(ada) == pytest.approx(0.2)
    assert ada.statistics()["real_sign"].item() == 0.5


def test_p_stays_between_0_and_1(plays):
    ada = TECHNIQUES["ada"](interval=1, adjustment_images=150)
    ada.after_discriminator(plays(-1.0, -1.0))
    assert probability(ada) == 0
    for _ in range(3):
        ada.after_discriminator(plays(1.0, 1.0))
    assert probability(ada) == 1
    ada.after_discriminator(plays(-1.0, -1.0))
    assert probability(ada) == pytest.approx(1 / 3)


def test_p_goes_from_0_to_1_in_half_a_million_images_whatever_the_batch(plays):
    for batch in (1000.0, 5000.0):
        ada = TECHNIQUES["ada"]()
        for _ in range(int(250_000 / batch)):
            ada.after_discriminator(plays(1.0, 1.0, share=batch))
        expected = 0.5 - (250_000 / batch % 4) * batch / 500_000  # whole intervals of four turns
        assert probability(ada) == pytest.approx(expected, abs=1e-5)


def test_p_is_adjusted_by_the_mean_over_an_interval(plays):
    ada = TECHNIQUES["ada"](interval=4, adjustment_images=1000)
    for real in ([1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]):
        ada.after_discriminator(plays(*real))
        assert probability(ada) == 0
    ada.after_discriminator(plays(1.0, 1.0))  # the mean sign of the four is 0.75
    assert probability(ada) == pytest.approx(0.4)
    for real in ([1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], [1.0, 1.0]):
        ada.after_discriminator(plays(*real))
    assert probability(ada) == 0  # 0.5 of the next four


def test_what_it_remembers_is_enough_to_go_on(plays):
    ada = TECHNIQUES["ada"](interval=3, adjustment_images=1000)
    for _ in range(4):
        ada.after_discriminator(plays(1.0, 1.0))
    again = TECHNIQUES["ada"](interval=3, adjustment_images=1000)
    again.load_state_dict({name: value.clone() for name, value in ada.state_dict().items()})
    for sign in (-1.0, 1.0, 1.0):
        ada.after_discriminator(plays(sign, 1.0))
        again.after_discriminator(plays(sign, 1.0))
        assert again.state_dict() == ada.state_dict()
    assert probability(again) == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("options", "progress", "expected"),
    [
        ({"fixed": 0.3}, 0.0, 0.0),
        ({"fixed": 0.3}, 0.5, 0.15),
        ({"fixed": 0.3}, 1.0, 0.3),
        ({"fixed": 0.3, "ramp": "linear", "until": 0.5}, 0.25, 0.15),
        ({"fixed": 0.3, "until": 0.5}, 0.75, 0.3),
        ({"fixed": 0.3, "ramp": "constant"}, 0.0, 0.3),
    ],
)
def test_a_fixed_p_follows_its_ramp_and_not_the_discriminator(options, progress, expected, plays):
    ada = TECHNIQUES["ada"](interval=1, **options)
    output = plays(1.0, 1.0, images_seen=int(1000 * progress))
    assert ada.probability(output.context).item() == pytest.approx(expected)
    ada.after_discriminator(output)
    assert probability(ada) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("letter", "kept"),
    [
        # Of those that it happens to, half are mirrored, three in four are turned, and three in four are
        # shifted: an eighth of 8 pixels is 1, and half of a uniform on [-1, 1] rounds to 0, on each axis.
        ("b", (1 - 0.4 / 2) * (1 - 0.4 * 3 / 4) * (1 - 0.4 * 3 / 4)),
        ("g", (1 - 0.4) ** 4),  # scaled, turned (the two rotations together), stretched, shifted
        ("c", (1 - 0.4) ** 4 * (1 - 0.4 / 2)),
    ],
)
def test_an_image_is_left_alone_as_often_as_every_operation_passes_it_by(letter, kept):
    images = IMAGES.repeat(10, 1, 1, 1)
    result = with_p(0.4, images, STEPS[letter])
    five_deviations = 5 * (kept * (1 - kept) / len(images)) ** 0.5
    assert changed(images, result) == pytest.approx(1 - kept, abs=five_deviations)


def test_blitting_moves_pixels_and_changes_no_value():
    result = with_p(1.0, torch.arange(64.0).view(1, 1, 8, 8).repeat(50, 1, 1, 1), pixel_blitting)
    assert set(result.unique().tolist()) <= set(range(64))
    assert len({tuple(image.flatten().tolist()) for image in result}) > 30


def test_colours_change_by_the_published_amounts():
    # With the same draws, mid-grey becomes contrast times brightness, and white contrast more.
    ones = torch.full((4000, 1, 1, 1), 1.0)
    zeros = torch.zeros(4000, 1, 1, 1)
    brightness_by_contrast = with_p(1.0, zeros, color_transforms).flatten()
    contrast = with_p(1.0, ones, color_transforms).flatten() - brightness_by_contrast
    assert contrast.abs().log2().std().item() == pytest.approx(0.5, rel=0.06)  # the sign is the flip's
    assert (brightness_by_contrast / contrast).std().item() == pytest.approx(0.2, rel=0.06)


def test_light_becomes_dark_in_half_of_the_grey_images_too_as_in_the_released_code():
    grey = IMAGES.mean(1, keepdim=True)
    result = with_p(1.0, grey, color_transforms)
    signs = ((result - result.mean((1, 2, 3), keepdim=True)) * grey).sum((1, 2, 3)).sign()
    assert (signs < 0).float().mean().item() == pytest.approx(0.5, abs=0.125)  # five standard deviations


def test_a_grey_image_becomes_what_the_grey_of_its_colour_image_becomes():
    """Hue and saturation leave the grey axis alone, so that one channel lacks nothing but them."""
    colour = IMAGES.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    whole, alone = with_p(1.0, colour, color_transforms), with_p(1.0, colour[:, :1], color_transforms)
    assert torch.allclose(whole.mean(1, keepdim=True), alone, atol=1e-5)


def test_hue_and_saturation_keep_the_grey_of_each_pixel_but_for_a_flip():
    result = with_p(1.0, IMAGES, color_transforms)
    grey, before = result.mean(1).flatten(1), IMAGES.mean(1).flatten(1)
    # What is left of grey is an affine map of what it was: brightness, contrast, perhaps a flip.
    slopes = (grey - grey.mean(1, keepdim=True)).norm(dim=1) / (before - before.mean(1, keepdim=True)).norm(
        dim=1
    )
    signs = ((grey - grey.mean(1, keepdim=True)) * before).sum(1).sign()
    fitted = (signs * slopes)[:, None] * (before - before.mean(1, keepdim=True))
    assert torch.allclose(grey - grey.mean(1, keepdim=True), fitted, atol=1e-4)
    assert (signs < 0).float().mean().item() == pytest.approx(0.5, abs=0.125)  # five standard deviations


@pytest.mark.parametrize("policy", ["b", "g", "c", "bg", "bgc"])
def test_gradients_flow_through_twice(policy, make_turn):
    ada = TECHNIQUES["ada"](policy=policy, fixed=1.0, ramp="constant")
    images = IMAGES[:4].double().requires_grad_()

    def view(images):
        return ada.transform_inputs(images.square(), make_turn(), "fake")

    assert torch.autograd.gradcheck(view, images[:1, :, :4, :4].detach().requires_grad_())
    (gradient,) = torch.autograd.grad(view(images).square().sum(), images, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), images)
    assert second.abs().sum() > 0


def test_the_policy_says_which_operations_there_are(make_turn):
    def view(policy):
        technique = TECHNIQUES["ada"](policy=policy, fixed=1.0, ramp="constant")
        return technique.transform_inputs(IMAGES, make_turn(), "real")

    values = {policy: view(policy).flatten(2).sort(2).values for policy in ("b", "g", "c", "bg")}
    before = IMAGES.flatten(2).sort(2).values
    for policy in ("b", "g", "bg"):  # without colour the values of a channel stay within its range
        assert (values[policy][..., -1] <= before[..., -1] + 1e-5).all()
        assert (values[policy][..., 0] >= before[..., 0] - 1e-5).all()
    assert (values["c"][..., -1] > before[..., -1] + 0.1).any()
    assert not torch.equal(values["bg"], values["g"])
    assert not torch.equal(values["bg"], values["b"])


def test_real_and_fake_images_have_draws_of_their_own(make_turn):
    ada = TECHNIQUES["ada"](fixed=1.0, ramp="constant")
    first = ada.transform_inputs(IMAGES, make_turn(), "real")
    assert torch.equal(first, ada.transform_inputs(IMAGES, make_turn(), "real"))
    assert not torch.equal(first, ada.transform_inputs(IMAGES, make_turn(), "fake"))


def test_points_are_refused(make_power_players):
    with pytest.raises(RecipeError, match="ada needs images, and the recipe draws points"):
        TECHNIQUES["ada"]().modify_networks(make_power_players(torch.ones(2, 1, 1)), torch.Generator())
