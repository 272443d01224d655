"""Feature matching is the distance of two means, and stands in for the adversarial loss."""

import pytest
import torch

from kennel.config.base import validated
from kennel.engine.optim import ScheduledOptimizer
from kennel.engine.step import GANStep
from kennel.errors import RecipeError
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks

SETTING = NetworkSpec(8, 1, 4)
REAL = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
LATENTS = torch.randn(8, 4, generator=torch.Generator().manual_seed(2))


def networks() -> Networks:
    torch.manual_seed(0)
    return Networks(
        GENERATORS["mlp"](SETTING, GENERATORS["mlp"].Options(hidden=(6,))),
        DISCRIMINATORS["mlp"](SETTING, DISCRIMINATORS["mlp"].Options(hidden=(6, 5), dropout=0)),
    )


def step(**options) -> GANStep:
    pair = networks()
    return GANStep(
        pair,
        LOSSES["bce"](),
        {"feature_matching": TECHNIQUES["feature_matching"](**options)} if options else {},
        ScheduledOptimizer(torch.optim.SGD(pair.discriminator.parameters(), 0.1), lambda progress: 0.1),
        ScheduledOptimizer(torch.optim.SGD(pair.generator.parameters(), 0.1), lambda progress: 0.1),
    )


@pytest.mark.parametrize(("over_features", "factor"), [("sum", 1.0), ("mean", 1 / 5)])
def test_the_term_is_the_squared_distance_of_the_mean_features(over_features, factor, make_play):
    pair = networks()
    fake = pair.generator(LATENTS)
    output = make_play(pair, fake=fake, real=REAL)
    term = TECHNIQUES["feature_matching"](over_features=over_features).generator_term(output)
    apart = pair.discriminator.features(REAL).mean(0) - pair.discriminator.features(fake).mean(0)
    assert term.item() == pytest.approx(factor * (apart @ apart).item(), rel=1e-5)


def test_equal_means_leave_nothing_to_match_however_the_images_differ(make_play):
    output = make_play(networks(), fake=REAL.flip(0).clone().requires_grad_(), real=REAL)
    term = TECHNIQUES["feature_matching"]().generator_term(output)
    assert term.item() == pytest.approx(0, abs=1e-12)


def test_it_replaces_the_generators_adversarial_loss(make_turn):
    statistics = step(weight=3.0).generator_step(REAL, LATENTS, None, make_turn("generator"))
    term = statistics["feature_matching_generator_term"]
    assert statistics["generator_loss"].item() == pytest.approx(3 * term.item(), rel=1e-6)


def test_it_may_be_added_to_the_adversarial_loss(make_turn):
    adversarial = step().generator_step(None, LATENTS, None, make_turn("generator"))["generator_loss"]
    statistics = step(adversarial=True, weight=3.0).generator_step(
        REAL, LATENTS, None, make_turn("generator")
    )
    expected = adversarial + 3 * statistics["feature_matching_generator_term"]
    assert statistics["generator_loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_generator_that_matches_features_comes_nearer(make_turn):
    matching = step(weight=100.0)
    terms = [
        matching.generator_step(REAL, LATENTS, None, make_turn("generator", number))[
            "feature_matching_generator_term"
        ].item()
        for number in range(30)
    ]
    assert terms[-1] < 0.5 * terms[0]


def test_turns_without_any_loss_are_refused():
    with pytest.raises(RecipeError, match="interval=2 leaves the generator without a loss"):
        validated(TECHNIQUES["feature_matching"], {"interval": 2}, "technique feature_matching")
    assert TECHNIQUES["feature_matching"](interval=2, adversarial=True).interval == 2
