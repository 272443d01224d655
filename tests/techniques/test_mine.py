"""MINE finds the information that there is, and makes the generator tell more of its latents."""

import math

import pytest
import torch

from kennel.config.recipe import OptimizerConfig
from kennel.engine.optim import ScheduledOptimizer, build_optimizer
from kennel.engine.step import GANStep
from kennel.errors import RecipeError
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, ForwardOutput, Networks, StepContext
from kennel.techniques.mine import StatisticsNetwork, derangement, donsker_varadhan, log_mean_exp

CPU = torch.device("cpu")
FAST = OptimizerConfig(learning_rate=3e-3, betas=(0.9, 0.999))


def networks(size: int = 1, channels: int = 1, latent: int = 1, discriminator: str = "mlp") -> Networks:
    torch.manual_seed(0)
    setting = NetworkSpec(size, channels, latent)
    return Networks(
        GENERATORS["mlp"](setting, GENERATORS["mlp"].Options(hidden=(16, 16))),
        DISCRIMINATORS["mlp"](setting, DISCRIMINATORS["mlp"].Options(hidden=(8,), dropout=0)),
    )


def built(pair: Networks, **options):
    technique = TECHNIQUES["mine"](**options)
    technique.modify_networks(pair, torch.Generator().manual_seed(0))
    return technique


def generators_play(
    pair: Networks, number: int, images: torch.Tensor, latents: torch.Tensor
) -> ForwardOutput:
    """What MINE is handed when `images` were drawn from `latents`."""
    count = len(images)
    context = StepContext(number * count, 10**6, "generator", number, 0, CPU, float(count))
    logits, features = torch.zeros(count), torch.zeros(count, 1)
    return ForwardOutput(
        pair,
        context,
        latents,
        None,
        images,
        images,
        images,
        features,
        logits,
        discriminate=pair.discriminator,
        generate=pair.generator,
    )


def correlated(count: int, rho: float, dimension: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of one pixel whose channels are correlated with their codes, number by number."""
    random = torch.Generator().manual_seed(seed)
    codes = torch.randn(count, dimension, generator=random)
    images = rho * codes + (1 - rho**2) ** 0.5 * torch.randn(count, dimension, generator=random)
    return images[..., None, None], codes


@pytest.mark.parametrize(("rho", "dimension"), [(0.0, 1), (0.5, 1), (0.9, 1), (0.9, 2)])
def test_it_finds_the_information_of_correlated_gaussians(rho, dimension):
    pair = networks(channels=dimension, latent=dimension)
    mine = built(pair, hidden=(64, 64), noise=0, optimizer=FAST)
    optimiser = build_optimizer(mine.optimizer, mine.network.parameters(), CPU).optimizer
    for number in range(600):
        loss = mine.auxiliary_loss(
            generators_play(pair, number, *correlated(256, rho, dimension, seed=number))
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    truth = -dimension / 2 * math.log(1 - rho**2)
    images, codes = correlated(50_000, rho, dimension, seed=10**6)
    with torch.no_grad():
        mine.auxiliary_loss(generators_play(pair, 600, images, codes))
    found = mine.statistics()["information"].item()
    # Never more than there is, but for the noise of the sample; and most of it is found.
    assert truth - 0.05 - 0.05 * truth < found < truth + 0.02


def test_the_bound_of_known_statistics():
    joint, marginal = torch.tensor([1.0, 3.0]), torch.tensor([0.0, math.log(3)])
    assert donsker_varadhan(joint, marginal).item() == pytest.approx(2 - math.log(2))
    assert log_mean_exp(torch.full((5,), 1000.0)).item() == pytest.approx(1000)


def test_each_image_gets_the_code_of_another_one():
    for seed in range(20):
        for count in (2, 3, 10):
            others = derangement(count, torch.Generator().manual_seed(seed))
            assert sorted(others.tolist()) == list(range(count))
            assert not (others == torch.arange(count)).any()
    many = torch.stack([derangement(3, torch.Generator().manual_seed(seed)) for seed in range(50)])
    assert len(many.unique(dim=0)) == 2  # both permutations of three that leave nothing in its place


def test_the_average_weighs_every_batch_by_its_age():
    network = StatisticsNetwork(NetworkSpec(1, 1, 1), 1, (4,), torch.Generator())
    values, keep = [2.0, 8.0, 5.0], 0.25
    for index, value in enumerate(values):
        found = network.update_average(torch.tensor(value).log(), math.log(keep))
        weights = [keep ** (index - age) for age in range(index + 1)]
        pairs = zip(weights, values[: index + 1], strict=True)
        expected = sum(w * v for w, v in pairs) / sum(weights)
        assert found.exp().item() == pytest.approx(expected, rel=1e-5)


def test_the_average_cannot_overflow():
    network = StatisticsNetwork(NetworkSpec(1, 1, 1), 1, (4,), torch.Generator())
    for value in (5000.0, 5000.0, -5000.0):
        found = network.update_average(torch.tensor(value), math.log(0.5))
    assert found.item() == pytest.approx(5000 + math.log((0.25 + 0.5) / 1.75), abs=1e-2)


@pytest.mark.parametrize("half_life_images", [0.01, 1e30])
def test_a_memory_of_no_time_or_of_all_time_stays_finite(half_life_images):
    pair = networks()
    mine = built(pair, half_life_images=half_life_images)
    for number in range(2):
        output = generators_play(pair, number, *correlated(8, 0.5, 1, seed=number))
        assert math.isfinite(mine.auxiliary_loss(output).item())


def test_the_statistics_networks_gradient_is_that_of_equation_12():
    pair = networks()
    mine = built(pair, hidden=(8,), noise=0)
    parameters = list(mine.network.parameters())
    averages = []
    for number in range(3):
        output = generators_play(pair, number, *correlated(64, 0.8, 1, seed=number))
        joint, marginal = mine._evaluate(output.fake, output.latents, output.context, "companion")
        averages.append(marginal.exp().mean().item())
        keep = 0.5 ** (64 / 5_000)
        weights = [keep ** (number - age) for age in range(number + 1)]
        average = sum(w * a for w, a in zip(weights, averages, strict=True)) / sum(weights)
        wanted = torch.autograd.grad(joint.mean() - marginal.exp().mean() / average, parameters)
        loss = mine.auxiliary_loss(output)
        assert loss.item() == pytest.approx(-donsker_varadhan(joint, marginal).item(), rel=1e-5)
        for one, other in zip(torch.autograd.grad(loss, parameters), wanted, strict=True):
            assert torch.allclose(one, -other, atol=1e-6)
        with torch.no_grad():  # the next batch finds another network
            for parameter in parameters:
                parameter.mul_(1.5)


def test_a_resumed_average_goes_on_where_it_stopped():
    pair = networks()
    mine, other = built(pair), built(pair)
    output = generators_play(pair, 0, *correlated(8, 0.5, 1, seed=0))
    mine.auxiliary_loss(output)
    other.load_state_dict({name: value.clone() for name, value in mine.state_dict().items()})
    assert {name.split(".")[1] for name in mine.state_dict()} == {"layers", "log_sum", "log_weight"}
    again = generators_play(pair, 1, *correlated(8, 0.5, 1, seed=1))
    gradients = [
        torch.autograd.grad(one.auxiliary_loss(again), list(one.network.parameters()))
        for one in (mine, other)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("size", "channels", "width"), [(1, 2, 2), (28, 1, 784), (32, 3, 3072), (50, 1, 625), (64, 3, 3072)]
)
def test_images_of_any_size_fit(size, channels, width):
    pair = networks(size, channels, latent=5)
    mine = built(pair, code=3, hidden=(7,))
    assert mine.network.layers[0].in_features == width + 3
    images, latents = torch.randn(4, channels, size, size), torch.randn(4, 5)
    term = mine.generator_term(generators_play(pair, 0, images.requires_grad_(), latents))
    (gradient,) = torch.autograd.grad(term, images)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_large_images_are_averaged_over_windows():
    setting = NetworkSpec(64, 1, 2)
    network = StatisticsNetwork(setting, 2, (4,), torch.Generator().manual_seed(0))
    images, codes = torch.randn(2, 1, 64, 64), torch.randn(2, 2)
    averaged = images.view(2, 1, 32, 2, 32, 2).mean((3, 5)).flatten(1)
    expected = network.layers(torch.cat([averaged, codes], 1))[:, 0]
    assert torch.allclose(network(images, codes), expected, atol=1e-6)


def test_only_the_code_counts():
    pair = networks(latent=5)
    mine = built(pair, code=2)
    images, latents = torch.randn(4, 1, 1, 1), torch.randn(4, 5)
    other = torch.cat([latents[:, :2], torch.randn(4, 3)], 1)
    terms = [mine.generator_term(generators_play(pair, 0, images, one)) for one in (latents, other)]
    assert torch.equal(*terms)
    with pytest.raises(RecipeError, match=r"mine\.code = 6 is longer than the latent: give at most 5"):
        built(pair, code=6)


def step(**options) -> GANStep:
    pair = networks(size=4, latent=3)
    mine = {"mine": built(pair, **options)} if options else {}
    return GANStep(
        pair,
        LOSSES["bce"](),
        mine,
        ScheduledOptimizer(torch.optim.SGD(pair.discriminator.parameters(), 1.0), lambda progress: 1.0),
        ScheduledOptimizer(torch.optim.SGD(pair.generator.parameters(), 1.0), lambda progress: 1.0),
        {name: build_optimizer(FAST, one.network.parameters(), CPU) for name, one in mine.items()},
    )


def context(number: int = 0) -> StepContext:
    return StepContext(0, 100, "generator", number, 0, CPU, 16.0)


LATENTS = torch.randn(16, 3, generator=torch.Generator().manual_seed(2))


def moved(playing: GANStep) -> torch.Tensor:
    """What one turn of the generator changes in its parameters."""
    parameters = list(playing.networks.generator.parameters())
    before = [value.detach().clone() for value in parameters]
    playing.generator_step(None, LATENTS, None, context())
    return torch.cat([(p.detach() - b).flatten() for p, b in zip(parameters, before, strict=True)])


def test_in_a_step_its_pull_is_never_longer_than_the_adversarial_one():
    adversarial = moved(step())
    pulls = [moved(step(weight=weight)) - adversarial for weight in (1e-3, 1e4, 1e6)]
    assert 0 < pulls[0].norm() < 0.1 * adversarial.norm()
    for pull in pulls[1:]:
        assert pull.norm().item() == pytest.approx(adversarial.norm().item(), rel=1e-3)
        assert torch.cosine_similarity(pull, pulls[0], dim=0) > 0.99


def test_a_turn_moves_the_statistics_network_and_leaves_the_discriminator_alone():
    playing = step(weight=1.0)
    network = playing.auxiliary_networks["mine"].network
    before = [value.detach().clone() for value in network.parameters()]
    others = [value.detach().clone() for value in playing.networks.discriminator.parameters()]
    statistics = playing.generator_step(None, LATENTS, None, context())
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert all(
        torch.equal(a, b) for a, b in zip(others, playing.networks.discriminator.parameters(), strict=True)
    )
    assert statistics["mine_loss"] == pytest.approx(-statistics["mine_information"].item(), abs=1e-6)


def test_the_generator_comes_to_tell_more_of_its_latents():
    playing = step(weight=1.0, noise=0.5, hidden=(32,))
    information = [
        playing.generator_step(None, LATENTS, None, context(number))["mine_information"].item()
        for number in range(150)
    ]
    assert sum(information[-10:]) / 10 > sum(information[:10]) / 10 + 0.5
