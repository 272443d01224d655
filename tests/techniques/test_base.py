"""What every registered technique must do, with every loss that fits and beside every other technique."""

import itertools
import math

import pytest
import torch

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, LatentConfig, Recipe, StepsConfig
from kennel.engine.builder import build_step
from kennel.engine.iteration import iterate
from kennel.engine.latents import draw_latents
from kennel.engine.state import TrainPlan, TrainState
from kennel.errors import RecipeError
from kennel.losses import LOSSES
from kennel.techniques import TECHNIQUES, Technique

CPU = torch.device("cpu")
LATENT = LatentConfig(dim=4)
STYLED = {"path_length", "style_mixing"}
"""Techniques of generators with a mapping network."""
NORMALISED = {"virtual_batch_norm"}
"""Techniques of generators with batch norm, which the others have not."""


def recipe(loss: str, *techniques: str) -> Recipe:
    teachers = any(name in TECHNIQUES and TECHNIQUES[name].supplies_class_signal for name in techniques)
    return Recipe(
        name="test",
        image=ImageConfig(size=8, channels=1),
        num_classes=2,
        latent_dim=4,
        generator=generator(*techniques),
        discriminator=ComponentConfig(
            name="dcgan", base_channels=4, conditioning="none" if teachers else "label"
        ),
        loss=ComponentConfig(name=loss),
        techniques=tuple(
            ComponentConfig(name=name, **(beside(name, techniques) if name in TECHNIQUES else {}))
            for name in techniques
        ),
        batch_size=4,
        budget=Budget(images=16),
    )


def generator(*techniques: str) -> ComponentConfig:
    """A small DCGAN's, or StyleGAN2's where a technique needs styles."""
    if STYLED & set(techniques):
        return ComponentConfig(name="stylegan2", channel_base=32, channel_max=4, style=4, mapping_layers=2)
    return ComponentConfig(name="dcgan", base_channels=4)


def beside(name: str, others: tuple[str, ...]) -> dict[str, bool]:
    """The options that `name` needs beside the others: what chooses among fakes wants an adversarial loss."""
    chooses = any(
        one in TECHNIQUES and TECHNIQUES[one].select_fakes is not Technique.select_fakes for one in others
    )
    return {"adversarial": True} if chooses and "adversarial" in TECHNIQUES[name].model_fields else {}


def test_choosing_among_the_fakes_of_a_loss_that_is_replaced_is_refused():
    techniques = (ComponentConfig(name="top_k"), ComponentConfig(name="feature_matching"))
    with pytest.raises(RecipeError, match="top_k selects fakes for the adversarial loss, which feat"):
        build_step(recipe("bce").model_copy(update={"techniques": techniques}), CPU)


class Batches:
    """Stands in for the stream of a set of random images of two classes."""

    def at(self, images_seen):
        random = torch.Generator().manual_seed(images_seen)
        pixels = torch.randint(0, 256, (4, 1, 8, 8), generator=random, dtype=torch.uint8)
        return pixels, torch.tensor([0, 1, 1, 0])


def output(step, rounds=2):
    """Plays rounds with the trainer itself; returns the means of all statistics."""
    plan = TrainPlan(4, StepsConfig(), 16, 16, 0, CPU)
    state = TrainState(step, plan, Batches(), lambda count, random: draw_latents(LATENT, count, random))
    for _ in range(rounds):
        iterate(state)
    return state.running_means.means()


def fits(technique: str, loss: str) -> bool:
    return TECHNIQUES[technique].needs <= LOSSES[loss].provides | {"classes", "normal_latents"}


def weights(step):
    return [value.clone() for network in step.networks.both() for value in network.state_dict().values()]


@pytest.mark.parametrize(
    ("technique", "loss"),
    [pair for pair in itertools.product(TECHNIQUES, LOSSES) if fits(*pair)],
    ids=lambda name: name,
)
def test_two_rounds_with_every_loss_that_fits_stay_finite(technique, loss):
    step = build_step(recipe(loss, technique), CPU)
    assert all(math.isfinite(value) for value in output(step).values())
    assert all(torch.isfinite(value).all() for value in weights(step))


@pytest.mark.parametrize("technique", [name for name in TECHNIQUES if "labels" in TECHNIQUES[name].needs])
def test_a_technique_is_refused_beside_a_loss_without_what_it_needs(technique, monkeypatch):
    class Plain(LOSSES["bce"]):
        provides = frozenset()

    monkeypatch.setitem(LOSSES._entries, "plain", Plain)
    with pytest.raises(RecipeError, match=f"{technique} needs a loss with labels, but plain has none"):
        build_step(recipe("plain", technique), CPU)


@pytest.mark.parametrize("technique", sorted(STYLED))
def test_a_technique_of_styles_is_refused_beside_a_generator_without_a_mapping_network(technique):
    content = recipe("bce", technique).model_copy(update={"generator": generator()})
    with pytest.raises(RecipeError, match=f"{technique} needs a generator with a mapping network.*stylegan2"):
        build_step(content, CPU)


@pytest.mark.parametrize("technique", [name for name in TECHNIQUES if "classes" in TECHNIQUES[name].needs])
def test_a_technique_that_needs_classes_is_refused_without(technique):
    with pytest.raises(RecipeError, match=f"{technique} needs classes, but the recipe uses none"):
        build_step(recipe("bce", technique).model_copy(update={"num_classes": 0}), CPU)


def test_a_technique_of_normal_latents_is_refused_beside_uniform_ones():
    content = recipe("bce", "truncated_prior").model_copy(update={"latent_distribution": "uniform"})
    with pytest.raises(
        RecipeError, match="truncated_prior needs normal latents, but the recipe's are uniform"
    ):
        build_step(content, CPU)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pair
        for pair in itertools.permutations(TECHNIQUES, 2)
        if not (STYLED & set(pair) and NORMALISED & set(pair))
    ],
)
def test_every_pair_of_techniques_plays_in_both_orders(one, other):
    statistics = output(build_step(recipe("bce", one, other), CPU), rounds=1)
    assert all(math.isfinite(value) for value in statistics.values())


@pytest.mark.parametrize("name", list(TECHNIQUES))
def test_the_same_turns_give_the_same_weights_bit_for_bit(name):
    first, again = build_step(recipe("bce", name), CPU), build_step(recipe("bce", name), CPU)
    output(first)
    output(again)
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))


@pytest.mark.parametrize("name", list(TECHNIQUES))
def test_a_techniques_options_refuse_a_misspelling(name):
    content = recipe("bce").model_copy(update={"techniques": (ComponentConfig(name=name, weihgt=1),)})
    with pytest.raises(RecipeError, match=f"there is no option of technique {name} 'weihgt'"):
        build_step(content, CPU)


def test_an_unknown_technique_is_answered_with_the_nearest():
    with pytest.raises(Exception, match="there is no technique 'emma': did you mean 'ema'"):
        build_step(recipe("bce", "emma"), CPU)
