"""Virtual batch norm goes by its reference batch, and no image by its company."""

import copy

import pytest
import torch
from torch import nn

from kennel.errors import RecipeError
from kennel.networks import DISCRIMINATORS, GENERATORS, Generator, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks
from kennel.techniques.virtual_batch_norm import ReferenceBatch, ReferenceNorm


def build(name: str = "dcgan", classes: int = 0, size: int = 8, **options) -> tuple[Generator, Generator]:
    """A generator with virtual batch norm, and the one that it was made from."""
    torch.manual_seed(0)
    setting = NetworkSpec(size, 1, 6, classes)
    small = {"dcgan": {"base_channels": 4}, "mlp": {"hidden": (16, 16)}}[name]
    plain = GENERATORS[name](setting, GENERATORS[name].Options(**small))
    with torch.no_grad():  # gains and biases that can be told from their defaults
        for layer in plain.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 3)
                layer.bias.uniform_(-1, 1)
    pair = Networks(copy.deepcopy(plain), DISCRIMINATORS["mlp"](setting, DISCRIMINATORS["mlp"].Options()))
    TECHNIQUES["virtual_batch_norm"](**options).modify_networks(pair, torch.Generator().manual_seed(1))
    return pair.generator, plain


def latents(count: int) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(2))


def labels(count: int) -> torch.Tensor:
    return torch.arange(count) % 3


def test_the_formula_on_a_case_worked_by_hand():
    layer = ReferenceNorm(nn.BatchNorm2d(1, eps=0.5), reference=2)
    with torch.no_grad():
        layer.weight.fill_(2)
        layer.bias.fill_(1)
    maps = torch.tensor([[0.0, 2.0], [4.0, 6.0], [3.0, 9.0]]).view(3, 1, 1, 2)
    # The reference has mean 3 and E[x^2] 14; the image 6 and 45. With the weights 2/3 and 1/3 that is 4 and
    # 73/3, a variance of 25/3.
    of_reference = (torch.tensor([[0.0, 2.0], [4.0, 6.0]]) - 3) / (14 - 9 + 0.5) ** 0.5
    of_image = (torch.tensor([[3.0, 9.0]]) - 4) / (25 / 3 + 0.5) ** 0.5
    expected = 2 * torch.cat([of_reference, of_image]) + 1
    assert torch.allclose(layer(maps).view(3, 2), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (5, 3, 4)], ids=["numbers", "maps"])
def test_the_mixture_is_that_of_means_and_of_squares(shape):
    maps = torch.randn(7, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 3
    spatial = tuple(range(2, maps.ndim))
    over = (0, *spatial)
    reference = maps[:4]
    found = ReferenceNorm(nn.BatchNorm2d(5, affine=False), reference=4)(maps)[4:]
    for image, normalised in zip(maps[4:], found, strict=True):
        own_axes = tuple(axis - 1 for axis in spatial)
        mean, square = (
            (image**power).mean(own_axes) / 5 if own_axes else image**power / 5 for power in (1, 2)
        )
        mean = mean + 0.8 * reference.mean(over)
        variance = square + 0.8 * reference.square().mean(over) - mean**2
        fill = (..., *([None] * len(spatial)))
        expected = (image - mean[fill]) / (variance[fill] + 1e-5).sqrt()
        assert torch.allclose(normalised, expected, atol=1e-10)


@pytest.mark.parametrize(("name", "classes"), [("dcgan", 0), ("dcgan", 3), ("mlp", 0), ("mlp", 3)])
def test_the_reference_batch_itself_gets_plain_batch_norm(name, classes):
    generator, plain = build(name, classes, reference=10)
    seen = []
    generator.layers.register_forward_hook(lambda layer, entry, output: seen.append(output[:10]))
    generator(latents(3), labels(3) if classes else None)
    reference = generator.reference_batch
    expected = plain.train()(reference.latents, reference.labels if classes else None)
    assert torch.allclose(seen[0].view(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "classes"), [("dcgan", 3), ("mlp", 0)])
def test_an_image_does_not_depend_on_its_company_nor_on_the_mode(name, classes, training):
    generator = build(name, classes)[0].train(training)
    given = (latents(9), labels(9)) if classes else (latents(9),)
    together = generator(*given)
    assert together.shape == (9, 1, 8, 8)
    assert together.std(0).max() > 0.01
    for index in (0, 4, 8):
        alone = generator(*(entry[index : index + 1] for entry in given))
        assert torch.allclose(alone[0], together[index], atol=1e-5)
    assert torch.equal(generator.train(not training)(*given), together)


def test_plain_batch_norm_would_depend_on_the_company():
    plain = build()[1].train()
    assert not torch.allclose(plain(latents(9))[:4], plain(latents(9)[:4]), atol=1e-3)


def test_labels_may_be_given_by_name():
    generator, _ = build(classes=3)
    by_name = generator(latents=latents(4), labels=labels(4))
    assert torch.equal(by_name, generator(latents(4), labels(4)))
    assert torch.equal(generator(latents(4), labels=labels(4)), by_name)


def test_a_copy_has_its_own_reference_batch_and_norms():
    generator, _ = build(classes=3)
    before = generator(latents(4), labels(4))
    twin = copy.deepcopy(generator)
    assert torch.equal(twin(latents(4), labels(4)), before)
    with torch.no_grad():
        for value in (*generator.parameters(), *generator.buffers()):
            value.zero_()
    assert torch.equal(twin(latents(4), labels(4)), before)
    assert not torch.equal(generator(latents(4), labels(4)), before)


def test_a_state_dict_brings_the_reference_batch_back():
    generator, _ = build()
    other, _ = build(reference=64)
    with torch.no_grad():
        for value in (*other.parameters(), *other.buffers()):
            value.zero_()
    other.load_state_dict(generator.state_dict())
    assert torch.equal(other(latents(4)), generator(latents(4)))


def test_gain_and_bias_are_those_of_the_replaced_layer_and_learn_with_everything_else():
    generator, plain = build()
    assert {key for key, _ in generator.named_parameters()} == {key for key, _ in plain.named_parameters()}
    for one, other in zip(generator.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
    generator(latents(4)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in generator.parameters())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in generator.modules())


def test_the_gradient_passes_through_the_statistics_of_the_reference():
    layer = ReferenceNorm(nn.BatchNorm2d(2, affine=False), reference=3)
    maps = torch.randn(5, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (maps,))


def test_a_norm_without_gain_inside_a_conditional_one_is_replaced_too():
    class Conditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normalise = nn.BatchNorm2d(4, affine=False)
            self.gain = nn.Embedding(3, 4)

        def forward(self, maps, labels):
            return self.normalise(maps) * (1 + self.gain(labels)[:, :, None, None])

    class Small(Generator):
        def __init__(self) -> None:
            super().__init__(NetworkSpec(8, 4, 6, 3), None)
            self.stem = nn.Linear(6, 4 * 64)
            self.norm = Conditional()

        def forward(self, latents, labels=None):
            return self.norm(self.stem(latents).view(-1, 4, 8, 8), labels).tanh()

    pair = Networks(Small(), DISCRIMINATORS["mlp"](NetworkSpec(8, 4, 6), DISCRIMINATORS["mlp"].Options()))
    TECHNIQUES["virtual_batch_norm"](reference=5).modify_networks(pair, torch.Generator().manual_seed(0))
    assert isinstance(pair.generator.norm.normalise, ReferenceNorm)
    images = pair.generator(latents(6), labels(6))
    assert images.shape == (6, 4, 8, 8)
    assert torch.allclose(pair.generator(latents(6)[:1], labels(1)), images[:1], atol=1e-6)


def test_layout_and_precision_change_no_image_by_much():
    generator, _ = build()
    expected = generator(latents(4))
    assert torch.allclose(generator.to(memory_format=torch.channels_last)(latents(4)), expected, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        lower = generator(latents(4))
    assert lower.dtype == torch.float32
    assert (lower - expected).abs().max() < 0.1


@pytest.mark.parametrize(("distribution", "largest"), [("normal", 6.0), ("uniform", 1.0)])
def test_the_reference_is_drawn_from_the_prior_and_from_every_class(distribution, largest):
    random = torch.Generator().manual_seed(0)
    batch = ReferenceBatch(NetworkSpec(8, 1, 50, 3, distribution), 400, random)
    expected = 1.0 if distribution == "normal" else 3**-0.5
    assert batch.latents.std() == pytest.approx(expected, rel=0.02)
    assert batch.latents.mean() == pytest.approx(0, abs=0.03)
    assert batch.latents.abs().max() <= largest
    assert torch.bincount(batch.labels).min() > 100


def test_a_generator_without_batch_norm_is_refused():
    setting = NetworkSpec(8, 1, 6)
    pair = Networks(
        GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options(base_channels=4, batch_norm=False)),
        DISCRIMINATORS["mlp"](setting, DISCRIMINATORS["mlp"].Options()),
    )
    with pytest.raises(RecipeError, match="this generator has none: choose one with batch norm"):
        TECHNIQUES["virtual_batch_norm"]().modify_networks(pair, torch.Generator())


def test_the_reference_is_drawn_from_every_instance():
    setting = NetworkSpec(8, 1, 4, num_instances=5, instance_dim=3)
    drawn = ReferenceBatch(setting, 100, torch.Generator().manual_seed(0)).labels
    assert sorted(set(drawn.tolist())) == [0, 1, 2, 3, 4]
