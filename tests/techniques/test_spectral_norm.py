"""Spectral norm divides by the largest singular value, learns through it, and remembers what it must."""

import copy

import pytest
import torch
from torch import nn

from kennel.config.recipe import ComponentConfig, ImageConfig, Recipe
from kennel.engine.builder import build_step, sampling_generator
from kennel.engine.compute import ComputeContext, frozen
from kennel.engine.optim import ScheduledOptimizer
from kennel.engine.step import GANStep
from kennel.errors import RecipeError
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.attention import NonLocalBlock
from kennel.techniques import TECHNIQUES, Networks, StepContext
from kennel.techniques._weight_matrices import as_matrix, output_axis, weight_matrices
from kennel.techniques.spectral_norm import DividedBySpectralNorm

CPU = torch.device("cpu")
BOTH = (GENERATORS, DISCRIMINATORS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer_of(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return {
        "linear": lambda: nn.Linear(9, 5),
        "convolution": lambda: nn.Conv2d(3, 6, 4),
        "transposed convolution": lambda: nn.ConvTranspose2d(3, 6, 4),
        "embedding": lambda: nn.Embedding(4, 7),
    }[kind]()


KINDS = ["linear", "convolution", "transposed convolution", "embedding"]
every_kind = pytest.mark.parametrize("kind", KINDS)
layouts = pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"]
)


def normalised(kind: str, layout=torch.contiguous_format, iterations: int = 1) -> nn.Module:
    layer = layer_of(kind)
    parametrisation = DividedBySpectralNorm(layer.weight, output_axis(layer), iterations, seeded())
    nn.utils.parametrize.register_parametrization(layer, "weight", parametrisation)
    return layer.to(memory_format=layout)


def top(layer: nn.Module) -> torch.Tensor:
    """The largest singular value of the weight that the layer uses, by the whole decomposition."""
    return torch.linalg.svdvals(as_matrix(layer.weight.detach(), output_axis(layer)))[0]


@layouts
@every_kind
def test_after_enough_passes_the_largest_singular_value_of_every_layer_is_one(kind, layout):
    layer = normalised(kind, layout)
    for _ in range(300):
        assert layer.weight.isfinite().all()
    assert top(layer) == pytest.approx(1.0, rel=1e-5)
    raw = layer.parametrizations.weight.original
    sigma = torch.linalg.svdvals(as_matrix(raw.detach(), output_axis(layer)))[0]
    assert torch.allclose(layer.weight, raw / sigma, rtol=1e-4)


@every_kind
def test_the_first_turn_has_nearly_the_right_norm_already(kind):
    assert top(normalised(kind)) == pytest.approx(1.0, rel=0.02)


@every_kind
def test_it_normalises_by_the_same_norm_as_torchs_own(kind):
    ours, torchs = normalised(kind), layer_of(kind)
    nn.utils.parametrizations.spectral_norm(torchs)
    for _ in range(300):
        expected, found = torchs.weight, ours.weight
    assert torch.allclose(found, expected, atol=1e-5)


@layouts
@every_kind
def test_the_gradient_is_the_papers(kind, layout):
    layer = normalised(kind, layout)
    for _ in range(300):
        weight = layer.weight
    upstream = torch.randn(weight.shape, generator=seeded(1))
    (weight * upstream).sum().backward()
    axis = output_axis(layer)
    raw = layer.parametrizations.weight.original
    u, sigmas, vh = torch.linalg.svd(as_matrix(raw.detach(), axis), full_matrices=False)
    # Miyato et al. 2018, equations 10 to 12: (G - <G, W/sigma> u v^T) / sigma.
    with torch.no_grad():
        pushed = as_matrix(upstream.to(memory_format=layout) if weight.dim() == 4 else upstream, axis)
        share = (pushed * as_matrix(raw, axis) / sigmas[0]).sum()
        expected = (pushed - share * torch.outer(u[:, 0], vh[0])) / sigmas[0]
        found = as_matrix(raw.grad, axis) if raw.grad.stride() == raw.stride() else None
    assert found is not None
    assert torch.allclose(found, expected, atol=1e-4)


@every_kind
def test_in_evaluation_nothing_changes_and_each_pass_gives_the_same(kind):
    layer = normalised(kind).eval()
    with torch.no_grad():  # far from what the vector was found for
        layer.parametrizations.weight.original.copy_(torch.randn(layer.weight.shape, generator=seeded(5)))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    assert torch.equal(layer.weight, layer.weight)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
    layer.train()
    assert not torch.equal(layer.weight, layer.weight)


def test_each_pass_in_training_makes_as_many_iterations_as_it_is_told():
    one, three = normalised("convolution"), normalised("convolution", iterations=3)
    three.load_state_dict(one.state_dict())
    for _ in range(3):
        expected = one.weight
    assert torch.allclose(three.weight, expected, atol=1e-7)


def test_low_precision_layers_leave_the_norm_at_full_precision():
    layer, full = normalised("linear"), normalised("linear")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight = layer.weight
        assert layer(torch.randn(2, 9)).dtype == torch.bfloat16
    assert weight.dtype == torch.float32
    assert torch.equal(weight, full.weight)


def test_two_passes_before_one_backward_do_not_disturb_one_another():
    layer = normalised("convolution")
    images = torch.randn(2, 3, 8, 8, generator=seeded())
    first, second = layer(images), layer.eval()(images)
    layer.train()
    third = layer(images)
    (first.sum() + second.sum() + third.sum()).backward()
    assert layer.parametrizations.weight.original.grad.isfinite().all()


def pair(name: str = "dcgan", classes: int = 2) -> Networks:
    torch.manual_seed(0)
    setting = NetworkSpec(8, 1, 4, classes)
    options = {"base_channels": 4} if name == "dcgan" else {"hidden": (8, 8)}
    return Networks(
        GENERATORS[name](setting, GENERATORS[name].Options(**options)),
        DISCRIMINATORS[name](setting, DISCRIMINATORS[name].Options(**options)),
    )


def parametrised(network: nn.Module) -> set[str]:
    return {name for name, module in network.named_modules() if nn.utils.parametrize.is_parametrized(module)}


@pytest.mark.parametrize("name", ["dcgan", "mlp"])
def test_all_layers_of_the_players_asked_for_are_normalised_but_a_generators_embeddings(name):
    def layers(network, kinds):
        return {name for name, module in network.named_modules() if isinstance(module, kinds)}

    weighted = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    for whose in ("discriminator", "generator", "both"):
        networks = pair(name)
        TECHNIQUES["spectral_norm"](networks=whose).modify_networks(networks, seeded())
        expected = layers(networks.discriminator, (*weighted, nn.Embedding))
        assert parametrised(networks.discriminator) == (expected if whose != "generator" else set())
        expected = layers(networks.generator, weighted)
        assert parametrised(networks.generator) == (expected if whose != "discriminator" else set())


def test_the_parameters_stay_the_same_tensors_and_as_many():
    networks = pair()
    before = {id(parameter) for parameter in networks.discriminator.parameters()}
    TECHNIQUES["spectral_norm"]().modify_networks(networks, seeded())
    assert {id(parameter) for parameter in networks.discriminator.parameters()} == before


def test_the_second_derivative_goes_through_as_a_gradient_penalty_needs_it():
    networks = pair("mlp", classes=0)
    TECHNIQUES["spectral_norm"]().modify_networks(networks, seeded())
    discriminator = networks.discriminator.double().eval()
    images = torch.randn(3, 1, 8, 8, generator=seeded(), dtype=torch.float64)
    raw = discriminator.first.parametrizations.weight.original

    def penalty() -> torch.Tensor:
        given = images.clone().requires_grad_()
        # The logits are float32 by contract; what is differentiated twice here stays float64.
        hidden = discriminator.head(discriminator.features(given)).square().sum()
        (gradient,) = torch.autograd.grad(hidden, given, create_graph=True)
        return gradient.square().sum()

    (found,) = torch.autograd.grad(penalty(), raw)
    step = 1e-6
    for place in ((0, 0), (3, 17)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                raw[place] += sign * step
            values.append(penalty().item())
            with torch.no_grad():
                raw[place] -= sign * step
        numeric = (values[0] - values[1]) / (2 * step)
        # In evaluation sigma is |W^T u|, whose derivative is u v^T exactly.
        assert found[place].item() == pytest.approx(numeric, rel=1e-5, abs=1e-9)


def test_a_frozen_network_passes_gradients_to_the_images_and_takes_none():
    networks = pair(classes=0)
    TECHNIQUES["spectral_norm"]().modify_networks(networks, seeded())
    images = torch.randn(2, 1, 8, 8, generator=seeded()).requires_grad_()
    with frozen(networks.discriminator):
        networks.discriminator(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in networks.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in networks.discriminator.parameters())


def test_a_copy_and_a_network_that_was_read_back_go_on_alike():
    networks, again = pair(), pair()
    for seed, each in enumerate((networks, again)):
        TECHNIQUES["spectral_norm"](networks="both").modify_networks(each, seeded(seed))
    images, labels = torch.randn(4, 1, 8, 8, generator=seeded()), torch.tensor([0, 1, 1, 0])
    networks.discriminator(images, labels).sum().backward()
    copied = copy.deepcopy(networks.discriminator)
    again.discriminator.load_state_dict(networks.discriminator.state_dict())
    expected = networks.discriminator(images, labels)
    assert torch.equal(copied(images, labels), expected)
    assert torch.equal(again.discriminator(images, labels), expected)
    with torch.no_grad():
        copied.head.parametrizations.weight.original.mul_(3)
    assert torch.equal(copied.head.weight.sign(), networks.discriminator.head.weight.sign())
    assert (
        copied.head.parametrizations.weight[0].u
        is not networks.discriminator.head.parametrizations.weight[0].u
    )


def test_weights_of_zeros_are_refused_with_the_layers_name():
    networks = pair()
    nn.init.zeros_(networks.discriminator.head.weight)
    with pytest.raises(RecipeError, match=r"discriminator\.head, as its weights are all 0"):
        TECHNIQUES["spectral_norm"]().modify_networks(networks, seeded())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("apart", [False, True], ids=["together", "separate batches"])
def test_turns_move_both_players_and_keep_the_norm_near_one(apart, precision):
    networks = pair()
    spectral = TECHNIQUES["spectral_norm"](networks="both")
    spectral.modify_networks(networks, seeded())
    techniques = {"spectral_norm": spectral} | (
        {"separate_batches": TECHNIQUES["separate_batches"]()} if apart else {}
    )
    optimisers = [
        ScheduledOptimizer(torch.optim.Adam(network.parameters(), 2e-3), lambda progress: 2e-3)
        for network in (networks.discriminator, networks.generator)
    ]
    step = GANStep(networks, LOSSES["hinge"](), techniques, *optimisers, compute=ComputeContext(precision))
    labels = torch.tensor([0, 1, 1, 0])
    for number in range(20):
        real, latents = torch.rand(4, 1, 8, 8, generator=seeded(number)), torch.randn(4, 4)
        context = StepContext(4 * number + 4, 100, "discriminator", number, 0, CPU)
        step.discriminator_step(real, latents, labels, context)
        step.generator_step(None, latents, labels, context)
    for network in networks.both():
        for name in parametrised(network):
            assert top(network.get_submodule(name)) == pytest.approx(1.0, rel=0.05), name


def recipe(*techniques: str) -> Recipe:
    return Recipe(
        name="test",
        image=ImageConfig(size=8, channels=1),
        num_classes=2,
        latent_dim=4,
        generator=ComponentConfig(name="dcgan", base_channels=4),
        discriminator=ComponentConfig(name="dcgan", base_channels=4),
        techniques=tuple(ComponentConfig(name=name) for name in techniques),
        batch_size=4,
        budget={"images": 16},
    )


@pytest.mark.parametrize(
    "order", [("spectral_norm", "orthogonal_init"), ("orthogonal_init", "spectral_norm")]
)
def test_the_weights_behind_it_are_orthogonal_whatever_the_order_of_the_list(order):
    discriminator = build_step(recipe(*order), CPU).networks.discriminator
    for one in weight_matrices(discriminator, embeddings=True).values():
        matrix = one.matrix().detach()
        product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        assert torch.allclose(product, torch.eye(len(product)), atol=1e-5)
    # All singular values are 1: dividing by the largest leaves the weights as they are.
    for name in parametrised(discriminator):
        layer = discriminator.get_submodule(name)
        assert torch.allclose(layer.weight, layer.parametrizations.weight.original, atol=1e-5)


def test_an_average_is_of_the_normalised_generator_whatever_the_order_of_the_list():
    content = recipe("ema", "spectral_norm")
    both = ComponentConfig(name="spectral_norm", networks="both")
    step = build_step(content.model_copy(update={"techniques": (content.techniques[0], both)}), CPU)
    average = sampling_generator(step)
    assert average is not step.networks.generator
    assert parametrised(average) == parametrised(step.networks.generator) != set()


def test_an_average_of_several_vectors_is_made_a_unit_vector_before_it_is_used():
    layer = normalised("linear").eval()
    expected = layer.weight
    layer.parametrizations.weight[0].u.mul_(0.3)
    assert torch.allclose(layer.weight, expected, atol=1e-6)


def layers_of(network: nn.Module) -> set[str]:
    weighted = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)
    return {name for name, module in network.named_modules() if isinstance(module, weighted)}


@pytest.mark.parametrize(
    ("exempt", "kept"),
    [
        ("first", {"first"}),
        ("last", {"head"}),
        (["first", "last"], {"first", "head"}),
        ("first, head", {"first", "head"}),
        ("embeddings", {"label"}),
        ("layers", {"layers.1"}),
        ("layers.*", {"layers.1"}),
        ("discriminator.h*", {"head"}),
        ("attention", set()),
    ],
)
def test_exempt_layers_keep_their_weights_and_all_others_are_normalised(exempt, kept):
    networks = pair("mlp") if "layers" in exempt else pair()
    kept = {"layers.2"} if "layers" in exempt else kept
    before = layers_of(networks.discriminator)
    TECHNIQUES["spectral_norm"](exempt=exempt).modify_networks(networks, seeded())
    assert before - parametrised(networks.discriminator) == kept


def test_of_both_players_the_first_and_the_last_layers_can_be_exempt():
    networks = pair()
    generator, discriminator = (
        layers_of(network) for network in (networks.generator, networks.discriminator)
    )
    TECHNIQUES["spectral_norm"](networks="both", exempt=["first", "last"]).modify_networks(networks, seeded())
    last = max((name for name in generator if name.startswith("layers")), key=lambda one: int(one[7:]))
    assert generator - parametrised(networks.generator) == {"stem", last, "label"}  # its embeddings never are
    assert discriminator - parametrised(networks.discriminator) == {"first", "head"}


def test_the_attention_of_both_players_can_be_exempt_as_in_iyengar_et_al():
    torch.manual_seed(0)
    setting = NetworkSpec(64, 3, 20, 2)
    networks = Networks(
        *(registry["biggan"](setting, registry["biggan"].Options(base_channels=1)) for registry in BOTH)
    )
    TECHNIQUES["spectral_norm"](networks="both", exempt="attention").modify_networks(networks, seeded())
    for network in networks.both():
        named = layers_of(network) - parametrised(network)
        blocks = {name for name, one in network.named_modules() if isinstance(one, NonLocalBlock)}
        assert len(blocks) == 1
        within = {f"{block}.{inner}" for block in blocks for inner in ("theta", "phi", "g", "output")}
        assert named - {"embedding"} == within


def test_a_pattern_that_matches_no_layer_is_refused_with_the_names_that_there_are():
    with pytest.raises(
        RecipeError, match=r"'haed' matches no layer: give first, last, .*discriminator\.head"
    ):
        TECHNIQUES["spectral_norm"](exempt="haed").modify_networks(pair(), seeded())
    with pytest.raises(RecipeError, match="leaves no layer to normalize"):
        TECHNIQUES["spectral_norm"](exempt="*").modify_networks(pair(), seeded())
