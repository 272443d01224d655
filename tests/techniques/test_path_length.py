"""Styles are mixed as they should be, and the path length of a linear generator is that of its matrix."""

import pytest
import torch

from kennel.errors import RecipeError
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec, StyleGenerator
from kennel.techniques import TECHNIQUES, Networks

LAYERS, STYLE, SIDE = 3, 4, 8


class Linear(StyleGenerator):
    """Styles are the latents times the layer's number from 1 on; an image is the sum of A_l s_l."""

    def __init__(self, setting: NetworkSpec, scale: float = 1.0) -> None:
        super().__init__(setting, None)
        torch.manual_seed(0)
        self.matrices = torch.nn.Parameter(scale * torch.randn(LAYERS, STYLE, SIDE * SIDE))

    def map_latents(self, latents, labels=None):
        numbers = torch.arange(1.0, LAYERS + 1)[:, None]
        return latents[:, None] * numbers * self.matrices.new_ones(()).requires_grad_()

    def synthesize(self, styles):
        return torch.einsum("bls,lsp->bp", styles, self.matrices).view(-1, 1, SIDE, SIDE)


def networks(scale: float = 1.0, distribution: str = "normal") -> Networks:
    setting = NetworkSpec(SIDE, 1, STYLE, latent_distribution=distribution)
    discriminator = DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options(base_channels=2))
    return Networks(Linear(setting, scale), discriminator)


def built(name: str, pair: Networks, **options):
    technique = TECHNIQUES[name](**options)
    technique.modify_networks(pair, torch.Generator().manual_seed(0))
    return technique


def played(make_play, make_turn, pair: Networks, count: int = 6, number: int = 0):
    context = make_turn("generator", number=number)
    return make_play(
        pair, fake=torch.zeros(count, 1, SIDE, SIDE), latents=torch.randn(count, STYLE), context=context
    )


def lengths_of(pair: Networks, output, count: int) -> torch.Tensor:
    """By the matrices: J^T y of layer l is A_l y."""
    noise = output.context.random("path_length").normal(count, 1, SIDE, SIDE).flatten(1) / SIDE
    gradients = torch.einsum("lsp,bp->bls", pair.generator.matrices, noise)
    return gradients.square().sum(2).mean(1).sqrt()


def test_the_path_length_of_a_linear_generator_is_that_of_its_matrices(make_play, make_turn):
    pair = networks()
    technique = built("path_length", pair)
    output = played(make_play, make_turn, pair)
    expected = lengths_of(pair, output, 3)  # every second image
    term = technique.generator_term(output)
    mean = 0.01 * expected.mean()
    assert torch.allclose(technique.statistics()["mean"], mean, rtol=1e-5)
    assert torch.allclose(term, (expected - mean).square().mean(), rtol=1e-5)


def test_the_expected_square_of_a_length_is_that_of_the_matrices(make_play, make_turn):
    pair = networks()
    technique = built("path_length", pair, shrink=1)
    output = played(make_play, make_turn, pair, count=4000)
    found = technique.lengths(pair.generator.map_latents(output.latents), output).square().mean()
    assert found.item() == pytest.approx(
        pair.generator.matrices.square().sum().item() / SIDE**2 / LAYERS, rel=0.05
    )


def test_its_gradient_moves_the_lengths_towards_their_mean(make_play, make_turn):
    pair = networks(scale=3.0)
    technique = built("path_length", pair, decay=1e-6)
    technique.load_state_dict({"mean": torch.tensor(1.0)})
    optimiser = torch.optim.SGD(pair.generator.parameters(), lr=5.0)
    distances = []
    for number in range(60):
        term = technique.generator_term(played(make_play, make_turn, pair, 64, number))
        optimiser.zero_grad()
        term.backward()
        optimiser.step()
        distances.append(term.item())
    assert sum(distances[-10:]) < 0.05 * sum(distances[:10])


def test_the_mean_length_goes_on_from_where_it_was(make_play, make_turn):
    pair = networks()
    whole, first, second = (built("path_length", pair) for _ in range(3))
    plays = [played(make_play, make_turn, pair, number=number) for number in range(4)]
    for output in plays:
        expected = whole.generator_term(output)
    for output in plays[:2]:
        first.generator_term(output)
    second.load_state_dict(first.state_dict())
    for output in plays[2:]:
        found = second.generator_term(output)
    assert torch.equal(found, expected)
    assert torch.equal(second.state_dict()["mean"], whole.state_dict()["mean"])


def test_a_generator_that_ignores_its_styles_has_length_0_and_a_finite_gradient(make_play, make_turn):
    pair = networks(scale=0.0)
    term = built("path_length", pair).generator_term(played(make_play, make_turn, pair))
    term.backward()
    assert term.item() == 0
    assert torch.isfinite(pair.generator.matrices.grad).all()


def test_by_default_it_is_lazy():
    technique = TECHNIQUES["path_length"]()
    assert (technique.weight, technique.interval, technique.decay, technique.shrink) == (2.0, 4, 0.01, 2)


def mixed(pair: Networks, context, count: int = 4000, **options):
    """Styles of ones, and of other latents of hundreds and more; which of the result are other."""
    technique = built("style_mixing", pair, **options)
    own = torch.ones(count, LAYERS, STYLE)
    given = []

    def mapped(latents):
        given.append(latents)
        return torch.full((count, LAYERS, STYLE), 100.0)

    made = technique.transform_styles(own, mapped, context)
    assert ((made == 1) | (made == 100)).all()
    assert (made == made[:, :, :1]).all()
    return made[:, :, 0] == 100, given[0]


def test_of_a_mixed_image_the_layers_from_a_random_one_on_have_the_other_style(make_turn):
    other, _ = mixed(networks(), make_turn())
    assert not other[:, 0].any()
    assert (other[:, 1:] >= other[:, :-1]).all()
    assert other[:, -1].float().mean().item() == pytest.approx(0.9, abs=0.02)
    first = LAYERS - other.sum(1)[other[:, -1]]
    for number in range(1, LAYERS):  # each as often as the others
        assert (first == number).float().mean().item() == pytest.approx(1 / (LAYERS - 1), abs=0.03)


def test_no_and_every_image_may_be_mixed(make_turn):
    assert not mixed(networks(), make_turn(), probability=0.0)[0].any()
    assert mixed(networks(), make_turn(), probability=1.0)[0][:, -1].all()


@pytest.mark.parametrize(("distribution", "deviation"), [("normal", 1.0), ("uniform", 3**-0.5)])
def test_the_other_latents_are_drawn_as_the_generators_own(make_turn, distribution, deviation):
    _, latents = mixed(networks(distribution=distribution), make_turn())
    assert latents.std().item() == pytest.approx(deviation, rel=0.03)
    assert latents.mean().item() == pytest.approx(0, abs=0.03)


def test_a_turn_always_mixes_the_same(make_turn):
    first, again = (mixed(networks(), make_turn(number=3)) for _ in range(2))
    other = mixed(networks(), make_turn(number=4))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("name", ["path_length", "style_mixing"])
def test_a_generator_without_a_mapping_network_is_refused(name):
    setting = NetworkSpec(SIDE, 1, STYLE)
    generator = GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options(base_channels=2))
    with pytest.raises(RecipeError, match=f"{name} needs a generator with a mapping network"):
        built(name, Networks(generator, networks().discriminator))
