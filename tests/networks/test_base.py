"""What every registered network must do; a new one is tested the day it is registered."""

import copy

import pytest
import torch

from kennel.errors import RecipeError
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.activations import _MAKERS, activation
from kennel.networks.layers.attention import NonLocalBlock
from kennel.networks.layers.normalization import CrossReplicaBatchNorm, CrossReplicaBatchNorm1d

LATENT = 420  # biggan splits it in 4, 5, 6 or 7
CLASSES = 3
SMALL = {
    "mlp": {"hidden": (16, 16)},
    "dcgan": {"base_channels": 2, "max_multiplier": 4},
    "improved": {"base_channels": 4},
    "modern": {"base_channels": 8, "min_channels": 4, "group": 4, "blocks": 1},
    "stylegan2": {"channel_base": 256, "channel_max": 4, "style": 8, "mapping_layers": 2},
    "sngan": {"base_channels": 1},
    "sagan": {"base_channels": 1},
    "biggan": {"base_channels": 1, "shared_embedding": 3},
    "biggan_deep": {"base_channels": 1, "shared_embedding": 3},
    "projected": {"features": "untrained", "base_channels": 2, "max_channels": 8},
    "fastgan": {"base_channels": 4},
}
VARIANTS = {
    "dcgan, attending and split": (
        "dcgan",
        {
            "base_channels": 2,
            "max_multiplier": 4,
            "hierarchical": True,
            "skip_excitation": True,
            "shared_embedding": 3,
        },
    ),
    "dcgan, with a shared embedding": (
        "dcgan",
        {"base_channels": 2, "max_multiplier": 4, "shared_embedding": 3, "checkerboard_filter": True},
    ),
    "projected, with a head for pixels": (
        "projected",
        {"features": "untrained", "base_channels": 2, "max_channels": 8, "pixels": 2},
    ),
}
"""Options that add layers, tested as networks of their own; `attention`, if any, is at half the side."""

registries = pytest.mark.parametrize(
    "registry", [GENERATORS, DISCRIMINATORS], ids=["generators", "discriminators"]
)


def names(registry) -> list[str]:
    """The registered networks and the variants of them."""
    return [*registry, *(name for name, (of, _) in VARIANTS.items() if of in registry)]


def kind(registry, name):
    return registry[VARIANTS[name][0] if name in VARIANTS else name]


def sizes(network) -> tuple[int, ...]:
    return network.sizes or (8, 28, 50)


def class_counts(network) -> tuple[int, ...]:
    return (0,) if network.conditional == "never" else (0, CLASSES)


def cases(registry):
    """Every size, in grey without classes and in colour with; the smallest in every combination."""
    found = []
    for name in names(registry):
        smallest, most = sizes(kind(registry, name))[0], class_counts(kind(registry, name))[-1]
        every = [(size, *case) for size in sizes(kind(registry, name)) for case in ((1, 0), (3, most))]
        every += [(smallest, 1, most), (smallest, 3, 0)]
        for size, channels, classes in dict.fromkeys(every):
            found.append(
                pytest.param(name, size, channels, classes, id=f"{name}-{size}-{channels}-{classes}")
            )
    return found


def smallest_cases(registry):
    """The smallest size in colour, without and with classes."""
    return [
        (name, sizes(kind(registry, name))[0], classes)
        for name in names(registry)
        for classes in class_counts(kind(registry, name))
    ]


def build(registry, name, size, channels=3, classes=0, **further):
    network = kind(registry, name)
    torch.manual_seed(0)
    given = {**VARIANTS[name][1], "attention": size // 2} if name in VARIANTS else SMALL.get(name, {})
    options = {key: value for key, value in given.items() if key in network.Options.model_fields}
    return network(NetworkSpec(size, channels, LATENT, classes), network.Options(**options, **further))


def entry(registry, size, classes, channels=3):
    """What a network is called with: a batch of 4, and labels where there are classes."""
    batch = torch.randn(4, LATENT) if registry is GENERATORS else torch.randn(4, channels, size, size)
    return (batch, torch.tensor([0, 1, 2, 1])) if classes else (batch,)


@pytest.mark.parametrize(("name", "size", "channels", "classes"), cases(GENERATORS))
def test_a_generator_draws_images_of_its_size_between_minus_one_and_one(name, size, channels, classes):
    images = build(GENERATORS, name, size, channels, classes)(*entry(GENERATORS, size, classes))
    assert images.shape == (4, channels, size, size)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1


@pytest.mark.parametrize(("name", "size", "channels", "classes"), cases(DISCRIMINATORS))
def test_a_discriminator_gives_one_raw_logit_an_image_or_a_row_of_them(name, size, channels, classes):
    discriminator = build(DISCRIMINATORS, name, size, channels, classes)
    given = entry(DISCRIMINATORS, size, classes, channels)
    logits = discriminator(*given)
    assert logits.shape[0] == 4
    assert logits.ndim == 1 or name.startswith("projected")  # a row: some for each head
    assert logits.dtype == torch.float32
    assert discriminator.features(*given).shape == (4, discriminator.feature_width)
    assert not isinstance(getattr(discriminator, "head", None), torch.nn.Sigmoid)


@registries
def test_gradients_reach_every_parameter(registry):
    for name, size, classes in smallest_cases(registry):
        network = build(registry, name, size, classes=classes)
        network(*entry(registry, size, classes)).square().sum().backward()
        missing = [key for key, value in network.named_parameters() if value.grad is None]
        assert missing == []


def test_a_discriminators_gradient_can_be_differentiated_again():
    for name, size, classes in smallest_cases(DISCRIMINATORS):
        discriminator = build(DISCRIMINATORS, name, size, classes=classes)
        images, *labels = entry(DISCRIMINATORS, size, classes)
        logits = discriminator(images.requires_grad_(), *labels)
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        gradient.square().sum().backward()
        assert torch.isfinite(images.grad).all()
        of_weights = [value.grad for value in discriminator.parameters() if value.ndim > 1]
        assert any(one is not None and one.abs().max() > 0 for one in of_weights)


@registries
def test_a_state_dict_brings_a_network_back_bit_for_bit(registry):
    for name, size, classes in smallest_cases(registry):
        network = build(registry, name, size, classes=classes).eval()
        other = copy.deepcopy(network)
        for value in other.parameters():
            value.data.zero_()
        other.load_state_dict(network.state_dict())
        given = entry(registry, size, classes)
        assert torch.equal(network(*given), other(*given))


@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("name", [name for name in names(GENERATORS) if name in names(DISCRIMINATORS)])
def test_the_layout_of_memory_and_lower_precision_change_no_shape(name, classes):
    size = sizes(kind(GENERATORS, name))[0]
    generator = build(GENERATORS, name, size, classes=classes).to(memory_format=torch.channels_last)
    discriminator = build(DISCRIMINATORS, name, size, classes=classes).to(memory_format=torch.channels_last)
    latents, *labels = entry(GENERATORS, size, classes)
    with torch.autocast("cpu", torch.bfloat16):
        images = generator(latents, *labels)
        logits = discriminator(images, *labels)
    assert images.dtype == logits.dtype == torch.float32
    logits.sum().backward()
    assert torch.isfinite(logits).all()


@registries
def test_the_layout_of_memory_changes_no_value(registry):
    for name, size, classes in smallest_cases(registry):
        network = build(registry, name, size, classes=classes)
        given = entry(registry, size, classes)
        torch.manual_seed(1)  # for what is dropped
        plain = network(*given)
        torch.manual_seed(1)
        other = network.to(memory_format=torch.channels_last)(*given)
        torch.testing.assert_close(other, plain, rtol=1e-4, atol=1e-5)


@registries
def test_a_conditional_network_looks_at_the_label_and_wants_one(registry):
    for name, size, classes in smallest_cases(registry):
        network = build(registry, name, size, classes=classes).eval()
        for module in network.modules():
            if isinstance(module, torch.nn.Embedding):  # tables of gains may begin the same for every class
                torch.nn.init.normal_(module.weight)
        given, *labels = entry(registry, size, classes)
        if classes:
            assert not torch.allclose(network(given, *labels), network(given, (labels[0] + 1) % classes))
            with pytest.raises(ValueError, match="give it labels"):
                network(given)
        else:
            assert torch.equal(network(given), network(given, torch.zeros(4, dtype=torch.int64)))


def test_a_discriminator_that_is_kept_from_the_labels_wants_none():
    for name, size, classes in smallest_cases(DISCRIMINATORS):
        network = kind(DISCRIMINATORS, name)
        if not classes or "conditioning" not in network.Options.model_fields:
            continue
        discriminator = build(DISCRIMINATORS, name, size, classes=classes, conditioning="none")
        assert not discriminator.reads_labels
        assert not any(isinstance(module, torch.nn.Embedding) for module in discriminator.modules())
        assert len(discriminator(torch.randn(4, 3, size, size))) == 4


@registries
def test_an_unsupported_size_is_refused_with_those_that_are(registry):
    for name in names(registry):
        if supported := ", ".join(map(str, kind(registry, name).sizes)):
            with pytest.raises(RecipeError, match=f"supports {supported};"):
                build(registry, name, 50)


def test_a_dcgan_pair_is_symmetric():
    generator, discriminator = build(GENERATORS, "dcgan", 64), build(DISCRIMINATORS, "dcgan", 64)
    up = [tuple(m.weight.shape) for m in generator.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
    down = [tuple(m.weight.shape) for m in discriminator.modules() if isinstance(m, torch.nn.Conv2d)]
    assert up == down[::-1]


def test_a_full_width_dcgan_has_the_tutorials_parameters():
    # The DCGAN tutorial's networks at 64x64 with 3 channels, latent 100, width 64: 3,576,704 and 2,765,568
    # parameters. Ours have biases besides: one a colour channel in the generator's last layer, and in the
    # discriminator's first (64) and last (1).
    setting = NetworkSpec(64, 3, 100)
    generator = GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options())
    discriminator = DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options())
    assert sum(p.numel() for p in generator.parameters()) == 3_576_704 + 3
    assert sum(p.numel() for p in discriminator.parameters()) == 2_765_568 + 64 + 1


@pytest.mark.parametrize("name", list(_MAKERS))
def test_every_activation_can_be_asked_for_by_name(name):
    assert torch.isfinite(activation(name)(torch.linspace(-3, 3, 7))).all()


@registries
def test_every_batch_norm_goes_over_all_ranks(registry):
    for name, size, classes in smallest_cases(registry):
        layers = build(registry, name, size, classes=classes).modules()
        norms = [layer for layer in layers if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
        assert all(isinstance(one, CrossReplicaBatchNorm | CrossReplicaBatchNorm1d) for one in norms)


@registries
def test_layers_are_registered_in_the_order_of_the_pass_from_the_first_to_the_last(registry):
    # Techniques that exempt the first or the last layer go by that order.
    for name, size, classes in smallest_cases(registry):
        network, called = build(registry, name, size, classes=classes), []
        attending = {
            id(one)
            for block in network.modules()
            if isinstance(block, NonLocalBlock)
            for one in block.modules()
        }
        layers = [
            one
            for one in network.modules()
            if isinstance(one, torch.nn.Linear | torch.nn.Conv2d | torch.nn.ConvTranspose2d)
            and id(one) not in attending
        ]
        for layer in layers:
            layer.register_forward_pre_hook(lambda module, _, into=called: into.append(module))
        network(*entry(registry, size, classes))
        assert (called[0] is layers[0], called[-1] is layers[-1]) == (True, True), name
