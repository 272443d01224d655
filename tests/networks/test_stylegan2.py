"""StyleGAN2's networks have the published sizes and are the formulas of the papers."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.base import BatchStatistic
from kennel.networks.stylegan2 import ResidualHalving
from kennel.networks.summary import parameters_at

SMALL = {"channel_base": 128, "channel_max": 8}
CLASSES = 3


def built(registry, size=16, classes=0, **options):
    torch.manual_seed(0)
    network = registry["stylegan2"]
    small = {**SMALL, "style": 6, "mapping_layers": 2, **options}
    fitting = {key: value for key, value in small.items() if key in network.Options.model_fields}
    return network(NetworkSpec(size, 3, 5, classes), network.Options(**fitting)).eval()


def channels(base: int, size: int) -> list[int]:
    return [min(base // side, 512) for side in (4 << level for level in range(int(math.log2(size)) - 1))]


def generator_size(base: int, size: int, mapping_layers: int) -> int:
    """By the layers of the paper, of styles of 512."""
    widths = channels(base, size)
    mapping = mapping_layers * (512 * 512 + 512)
    found = mapping + 16 * widths[0]
    for before, width in zip([None, *widths], widths, strict=False):
        inputs = [width] if before is None else [before, width]
        for one in inputs:  # affine map, weights, bias, strength of the noise
            found += (512 + 1) * one + 9 * one * width + width + 1
        found += (512 + 1) * width + 3 * width + 3
    return found


def discriminator_size(base: int, size: int) -> int:
    """By the layers of the paper."""
    widths = channels(base, size)[::-1]
    found = 3 * widths[0] + widths[0]
    for width, wider in pairwise(widths):
        found += 9 * width * width + width + 9 * width * wider + wider + width * wider
    last = widths[-1]
    return found + 9 * (last + 1) * last + last + 16 * last * last + last + last + 1


def test_the_formula_of_the_sizes_gives_those_that_the_released_code_prints_at_1024():
    assert generator_size(32768, 1024, 2) == 28_794_124
    assert discriminator_size(32768, 1024) == 29_012_513


@pytest.mark.parametrize("size", [16, 64, 256])
def test_the_sizes_are_those_of_the_formula(size):
    setting = NetworkSpec(size, 3, 512)
    assert parameters_at(GENERATORS["stylegan2"], setting) == generator_size(16384, size, 8)
    assert parameters_at(DISCRIMINATORS["stylegan2"], setting) == discriminator_size(16384, size)
    assert size != 256 or generator_size(16384, 256, 8) == 24_767_458
    assert size != 256 or discriminator_size(16384, 256) == 24_001_089


def unit(vectors: Tensor) -> Tensor:
    return vectors / (vectors.square().mean(1, keepdim=True) + 1e-8).sqrt()


def mapped_by_formula(mapping, latents: Tensor, labels: Tensor | None) -> Tensor:
    vectors = unit(latents)
    if labels is not None:
        vectors = torch.cat([vectors, unit(mapping.label.weight[labels])], 1)
    for layer in mapping.layers:
        weight = 0.01 * layer.weight / layer.in_features**0.5
        vectors = math.sqrt(2) * leaky_relu(vectors @ weight.T + 0.01 * layer.bias, 0.2)
    return vectors


def affine(layer, style: Tensor) -> Tensor:
    return style @ layer.weight.T / layer.in_features**0.5 + layer.bias


def styled_by_formula(by_definition, layer, maps: Tensor, style: Tensor) -> Tensor:
    """One image after the other, each with weights of its own."""
    convolution, factors, made = layer.convolution, affine(layer.style, style), []
    up = isinstance(convolution, nn.ConvTranspose2d)
    weight = convolution.weight.transpose(0, 1).flip(2, 3) if up else convolution.weight
    for image, own in zip(maps, factors, strict=True):
        scaled = weight * own[:, None, None]
        scaled = scaled / (scaled.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        one = by_definition.doubled(image[None], scaled) if up else conv2d(image[None], scaled, padding=1)
        one = one + layer.strength * layer.noise + layer.bias[:, None, None]
        made.append(math.sqrt(2) * leaky_relu(one, 0.2))
    return torch.cat(made)


def drawn_by_formula(by_definition, generator, styles: Tensor) -> Tensor:
    maps, image, at = generator.start.expand(len(styles), -1, -1, -1), None, 0
    for stage in generator.stages:
        for layer in stage.layers:
            maps = styled_by_formula(by_definition, layer, maps, styles[:, at])
            at += 1
        read = stage.to_pixels
        factors = affine(read.style, styles[:, at])
        weight = read.convolution.weight[:, :, 0, 0] / read.convolution.in_channels**0.5
        pixels = torch.einsum("oi,bi,bihw->bohw", weight, factors, maps) + read.bias[:, None, None]
        image = pixels if image is None else by_definition.upfirdn(image, 2, 1, up=2) + pixels
    assert at == generator.styled - 1  # the last style is the last pixels' alone
    return image.tanh()


def shaken(network):
    """Noise, biases and all are no longer what they begin as; double precision."""
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return network.double()


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_the_generator_is_its_formula(classes, by_definition):
    generator = shaken(built(GENERATORS, classes=classes))
    latents = torch.randn(3, 5, dtype=torch.float64)
    labels = torch.tensor([0, 2, 1]) if classes else None
    style = mapped_by_formula(generator.mapping, latents, labels)
    expected = drawn_by_formula(by_definition, generator, style[:, None].expand(-1, generator.styled, -1))
    assert torch.allclose(generator(latents, labels), expected, rtol=1e-9, atol=1e-9)


def test_each_layer_is_drawn_with_its_own_style(by_definition):
    generator = shaken(built(GENERATORS))
    styles = torch.randn(3, generator.styled, 6, dtype=torch.float64)
    assert torch.allclose(
        generator.synthesize(styles), drawn_by_formula(by_definition, generator, styles), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_the_discriminator_is_its_formula(classes, by_definition):
    discriminator = shaken(built(DISCRIMINATORS, classes=classes))
    images = torch.randn(8, 3, 16, 16, dtype=torch.float64)
    labels = torch.arange(8) % CLASSES if classes else None

    def convolved(maps, layer, by=conv2d):
        weight = layer.weight / layer.weight[0].numel() ** 0.5
        made = (
            conv2d(maps, weight, padding=1)
            if by is conv2d and layer.kernel_size[0] == 3
            else by(maps, weight)
        )
        bias = 0 if layer.bias is None else layer.bias[:, None, None]
        return math.sqrt(2) * leaky_relu(made + bias, 0.2)

    maps = convolved(images, discriminator.from_pixels)
    for block in discriminator.blocks:
        main = convolved(convolved(maps, block.first), block.second, by=by_definition.halved)
        weight = block.shortcut.weight / maps.shape[1] ** 0.5
        maps = (main + conv2d(by_definition.upfirdn(maps, 1, 1, down=2), weight)) / math.sqrt(2)
    groups = maps.unflatten(0, (4, 2))  # images i and i + 2, i + 4, i + 6 are compared
    spread = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3)).repeat(4)
    maps = torch.cat([maps, spread[:, None, None, None].expand(-1, 1, 4, 4)], 1)
    flat = convolved(maps, discriminator.last).flatten(1)
    dense, head = discriminator.dense, discriminator.head
    features = math.sqrt(2) * leaky_relu(affine(dense, flat), 0.2)
    outputs = affine(head, features)
    if classes:
        logits = (outputs * unit(discriminator.label.weight[labels])).sum(1) / outputs.shape[1] ** 0.5
    else:
        logits = outputs[:, 0]
    assert torch.allclose(discriminator(images, labels).double(), logits, rtol=1e-4, atol=1e-5)


def test_a_discriminator_compares_images_unless_it_is_told_not_to():
    images = torch.randn(8, 3, 16, 16)
    for group in (4, 0):
        discriminator = built(DISCRIMINATORS, group=group)
        other = discriminator(torch.cat([images[:4], torch.zeros(4, 3, 16, 16)]))[:4]
        assert discriminator.compares_images == bool(group)
        assert torch.allclose(discriminator(images)[:4], other, atol=1e-6) != bool(group)


def test_signals_begin_neither_vanishing_nor_exploding_in_both_networks():
    torch.manual_seed(1)
    generator = built(GENERATORS, size=64, channel_base=4096, channel_max=64, style=64)
    seen = []
    for module in generator.modules():
        if type(module).__name__ == "StyledLayer":
            module.register_forward_hook(lambda module, given, made: seen.append(made.square().mean().item()))
    with torch.no_grad():
        generator(torch.randn(16, 5))
    assert all(0.1 < one < 3 for one in seen)  # zeros beyond the borders take from it at every side
    assert len(seen) == 9
    block = ResidualHalving(64, 64)
    with torch.no_grad():
        made = block(torch.randn(8, 64, 32, 32))
    assert 0.1 < made.var().item() < 1.5  # the filter takes what is fine of white maps


def test_noise_is_each_images_own_in_training_and_the_same_for_all_otherwise():
    generator = built(GENERATORS)
    for module in generator.modules():
        if hasattr(module, "strength"):
            nn.init.ones_(module.strength)
    latents = torch.randn(1, 5).expand(3, -1)
    still = generator(latents)
    assert torch.allclose(still[0], still[1], atol=1e-4)
    assert torch.equal(generator(latents), still)
    moving = generator.train()(latents)
    assert not torch.allclose(moving[0], moving[1], atol=1e-2)


def test_without_noise_there_is_none():
    generator = built(GENERATORS, noise=False).train()
    assert not any("noise" in name or "strength" in name for name in generator.state_dict())
    latents = torch.randn(2, 5)
    assert torch.equal(generator(latents), generator(latents))


def test_the_mean_style_is_the_running_mean_of_training_and_rests_otherwise():
    generator = built(GENERATORS).train()
    expected = torch.zeros(6)
    for _ in range(3):
        latents = torch.randn(4, 5)
        expected = 0.998 * expected + 0.002 * generator.mapping(latents, None).mean(0)
        generator(latents)
    assert torch.allclose(generator.mean_style, expected, rtol=1e-5)
    generator.eval()(torch.randn(4, 5))
    assert torch.allclose(generator.mean_style, expected, rtol=1e-5)
    assert "mean_style" in generator.state_dict()


def test_truncated_styles_lie_between_the_mean_and_themselves():
    generator = built(GENERATORS)
    generator.mean_style.copy_(torch.arange(6.0))
    styles = generator.map_latents(torch.randn(4, 5))
    assert torch.equal(generator.truncated(styles, 1.0), styles)
    assert torch.allclose(generator.truncated(styles, 0.0), torch.arange(6.0).expand_as(styles))
    halfway = generator.truncated(styles, 0.5)
    assert torch.allclose(halfway, (styles + torch.arange(6.0)) / 2)


def test_a_statistic_is_appended_to_an_equalized_head():
    class Twice(BatchStatistic):
        width = 2

        def forward(self, features):
            return features[:, :2]

    discriminator = built(DISCRIMINATORS)
    images = torch.randn(4, 3, 16, 16)
    before = discriminator(images)
    discriminator.append_statistic(Twice(), torch.Generator().manual_seed(0))
    assert discriminator.feature_width == 8
    with torch.no_grad():
        discriminator.head.weight[:, 8:] = 0
    assert torch.allclose(discriminator(images), before, atol=1e-6)


def test_a_block_tells_the_convolutions_of_its_branch():
    block = ResidualHalving(4, 8)
    assert block.branch() == [block.first, block.second]
