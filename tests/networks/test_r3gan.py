"""R3GAN's networks are, number for number, those of formulas written here from the paper and its settings."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, leaky_relu

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.base import BatchStatistic
from kennel.networks.r3gan import Block, Resample
from kennel.networks.summary import parameters_at

GAIN = math.sqrt(2 / (1 + 0.2**2))
SMALL = {"base_channels": 128, "full_width_side": 8, "min_channels": 32, "blocks": 2}
CLASSES = 120


def built(registry, size=32, classes=0, seed=0, **options):
    torch.manual_seed(seed)
    network = registry["modern"]
    return network(NetworkSpec(size, 3, 64, classes), network.Options(**{**SMALL, **options})).eval()


@pytest.mark.parametrize(
    ("size", "classes", "options", "generator", "discriminator"),
    [
        (32, 10, {"base_channels": 768}, 20_781_952, 21_280_512),  # CIFAR-10
        (64, 0, {"base_channels": 768}, 22_429_824, 22_381_440),  # FFHQ
        (
            256,
            0,
            {"base_channels": 768},
            23_057_952,
            23_009_568,
        ),  # FFHQ: 23.058 M and 23.010 M
        (32, 1000, {"base_channels": 1536, "group": 32}, 82_914_304, 86_548_992),  # ImageNet
        (
            64,
            1000,
            {"base_channels": 1536, "group": 32, "full_width_side": 64},
            103_570_432,
            107_205_120,
        ),  # ImageNet
    ],
)
def test_the_authors_settings_have_their_numbers_of_parameters(
    size, classes, options, generator, discriminator
):
    setting = NetworkSpec(size, 3, 64, classes)
    assert parameters_at(GENERATORS["modern"], setting, **options) == generator
    assert parameters_at(DISCRIMINATORS["modern"], setting, **options) == discriminator


@pytest.mark.parametrize("way", ["up", "down"])
def test_resampling_is_bilinear_between_centers(way):
    ramp = torch.arange(16.0)[None, None, None].expand(1, 2, 16, 16).contiguous()
    made = Resample(way)(ramp)
    side = made.shape[-1]
    centers = (torch.arange(float(side)) + 0.5) * 16 / side - 0.5  # in pixels of the input
    inner = slice(1, side - 1)  # the border fades to 0
    expected = centers[None].expand(side, side)
    assert torch.allclose(made[0, 0, inner, inner], expected[inner, inner], atol=1e-5)


@pytest.mark.parametrize("way", ["up", "down"])
def test_resampling_keeps_a_constant_and_fades_to_0_beyond_the_border(way):
    made = Resample(way)(torch.ones(1, 1, 8, 8))[0, 0]
    edge = 0.75 if way == "up" else 0.875
    assert torch.allclose(made[1:-1, 1:-1], torch.tensor(1.0))
    assert torch.allclose(made[0, 1:-1], torch.tensor(edge))
    assert made[0, 0] == pytest.approx(edge**2)


def test_halving_is_the_transpose_of_doubling_up_to_its_gain():
    maps = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    other = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    up, down = Resample("up")(maps), Resample("down")(other)
    assert torch.allclose((up * other).sum(), 4 * (maps * down).sum())


def test_a_mirrored_image_gives_the_mirrored_features():
    discriminator, images = built(DISCRIMINATORS), torch.randn(4, 3, 32, 32)
    with torch.no_grad():  # at the beginning every block is the identity
        features, mirrored = (
            discriminator.layers(discriminator.from_pixels(shown)) for shown in (images, images.flip(3))
        )
    assert (mirrored.flip(3) - features).norm() / features.norm() < 1e-6


def test_a_block_is_its_formula():
    block = Block(32, built(GENERATORS).options, 4).double()
    first, second, third = block.branch()
    for parameter in block.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    maps = torch.randn(2, 32, 6, 6, dtype=torch.float64)
    hidden = torch.einsum("oc,bchw->bohw", first.weight[:, :, 0, 0], maps) + first.bias[:, None, None]
    hidden = leaky_relu(hidden, 0.2)
    groups = [  # the inner channels, 16 by 16
        conv2d(hidden[:, at : at + 16], second.weight[at : at + 16], second.bias[at : at + 16], padding=1)
        for at in range(0, 64, 16)
    ]
    hidden = leaky_relu(torch.cat(groups, 1), 0.2)
    expected = maps + torch.einsum("oc,bchw->bohw", third.weight[:, :, 0, 0], hidden)
    assert third.bias is None
    assert torch.allclose(block(maps), expected)


def by_formula(maps, layers):
    """The stages of a network, one after the other: what each layer is, by its kind."""
    for layer in layers:
        if isinstance(layer, Block):
            maps = maps + layer.layers(maps)
        elif isinstance(layer, Resample):
            line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
            kernel = torch.outer(line, line)[None, None].expand(maps.shape[1], 1, 4, 4)
            if layer.way == "down":
                maps = conv2d(maps, kernel, stride=2, padding=1, groups=maps.shape[1])
            else:
                maps = nn.functional.conv_transpose2d(
                    maps, 4 * kernel, stride=2, padding=1, groups=maps.shape[1]
                )
        else:
            maps = conv2d(maps, layer.weight)
    return maps


def shaken(network):
    """The network with blocks that are no identities."""
    for module in network.modules():
        if isinstance(module, Block):
            for layer in module.branch():
                nn.init.normal_(layer.weight, 0, layer.weight[0].numel() ** -0.5)
    return network


@pytest.mark.parametrize("ending", ["tanh", "linear"])
@pytest.mark.parametrize("classes", [0, CLASSES])
def test_the_generator_is_its_formula(classes, ending):
    generator = shaken(built(GENERATORS, classes=classes, pixels=ending))
    latents, labels = torch.randn(3, 64), torch.tensor([0, 5, 119]) if classes else None
    entry = torch.cat([latents, generator.label.weight[labels]], 1) if classes else latents
    maps = generator.start * (entry @ generator.modulation.weight.T)[:, :, None, None]
    pixels = conv2d(by_formula(maps, generator.layers), generator.to_pixels.weight)
    pixels = pixels.tanh() if ending == "tanh" else pixels
    assert torch.allclose(generator(latents, labels), pixels, atol=1e-5)


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_the_discriminator_is_its_formula(classes):
    discriminator = shaken(built(DISCRIMINATORS, classes=classes))
    images, labels = torch.randn(3, 3, 32, 32), torch.tensor([0, 5, 119]) if classes else None
    maps = by_formula(conv2d(images, discriminator.from_pixels.weight), discriminator.layers)
    closed = (maps * discriminator.close.weight[:, 0]).sum((2, 3))
    outputs = closed @ discriminator.head.weight.T
    logits = (outputs * discriminator.label.weight[labels]).sum(1) if classes else outputs[:, 0]
    assert torch.allclose(discriminator(images, labels), logits, atol=1e-4)


def test_no_part_of_a_conditional_logit_is_independent_of_the_class():
    discriminator = built(DISCRIMINATORS, classes=CLASSES)
    nn.init.zeros_(discriminator.label.weight)
    images, labels = torch.randn(3, 3, 32, 32), torch.tensor([0, 5, 119])
    assert torch.equal(discriminator(images, labels), torch.zeros(3))


def test_layers_begin_with_the_standard_deviations_of_the_paper():
    generator, discriminator = (built(kind, classes=CLASSES) for kind in (GENERATORS, DISCRIMINATORS))
    fixup = GAIN * 8 ** (-1 / 4)  # 4 stages of 2 blocks
    found = {
        "basis": (generator.start, 1),
        "modulation": (generator.modulation.weight, 128**-0.5),
        "generator's embedding": (generator.label.weight, CLASSES**-0.5),
        "to pixels": (generator.to_pixels.weight, 32**-0.5),
        "from pixels": (discriminator.from_pixels.weight, 3**-0.5),
        "close": (discriminator.close.weight, 16**-0.5),
        "head": (discriminator.head.weight, 128**-0.5),
        "discriminator's embedding": (discriminator.label.weight, (CLASSES * 128) ** -0.5),
    }
    for network in (generator, discriminator):
        for index, block in enumerate(one for one in network.layers if isinstance(one, Block)):
            first, second, third = block.branch()
            found[f"{index} first"] = (first.weight, fixup * first.in_channels**-0.5)
            found[f"{index} second"] = (second.weight, fixup * (16 * 9) ** -0.5)
            assert not third.weight.any()
            assert not first.bias.any()
            assert not second.bias.any()
    for name, (weight, deviation) in found.items():
        tolerance = 4 / math.sqrt(2 * weight.numel())  # four standard errors of a standard deviation
        assert weight.std().item() == pytest.approx(deviation, rel=tolerance), name


def test_the_variance_at_each_stage_is_that_of_bilinear_interpolation():
    generator = built(GENERATORS, blocks=1)
    with torch.no_grad():
        maps = generator.start * generator.modulation(torch.randn(2000, 64))[:, :, None, None]
        assert maps.var().item() == pytest.approx(1, rel=0.1)
        # White maps (4x4): each output is 9/16, 3/16, 3/16 and 1/16 of four, less what is beyond the border.
        inner = (10 / 16) ** 2  # of one axis: (0.75^2 + 0.25^2), squared for two
        up = Resample("up")(torch.randn(500, 8, 8, 8))[..., 1:-1, 1:-1]
        assert up.var().item() == pytest.approx(inner, rel=0.02)
        down = Resample("down")(torch.randn(500, 8, 16, 16))[..., 1:-1, 1:-1]
        assert down.var().item() == pytest.approx((20 / 64) ** 2, rel=0.03)


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_logits_begin_with_the_variance_that_the_layers_keep(classes):
    variances = []
    for seed in range(8):
        discriminator = built(DISCRIMINATORS, size=8, classes=classes, blocks=1, seed=seed)
        images = torch.randn(64, 3, 8, 8)
        labels = torch.randint(0, CLASSES, (64,)) if classes else None
        with torch.no_grad():
            maps = discriminator.layers(discriminator.from_pixels(images))
            variances.append((discriminator(images, labels).square().mean() / maps.square().mean()).item())
    # A one-hot label has a mean square of 1 / classes.
    expected = 1 / CLASSES if classes else 1
    assert sum(variances) / 8 == pytest.approx(expected, rel=0.5)


def test_a_statistic_is_appended_to_a_head_of_classes():
    class Twice(BatchStatistic):
        width = 2

        def forward(self, features):
            return features[:, :2]

    discriminator = built(DISCRIMINATORS, classes=CLASSES)
    images, labels = torch.randn(3, 3, 32, 32), torch.tensor([0, 5, 119])
    before = discriminator(images, labels)
    discriminator.append_statistic(Twice(), torch.Generator().manual_seed(0))
    assert discriminator.head.weight.shape == (128, 130)
    assert discriminator.head.bias is None
    assert discriminator.feature_width == 128
    with torch.no_grad():
        discriminator.head.weight[:, 128:] = 0
    assert torch.allclose(discriminator(images, labels), before, atol=1e-6)
