"""The average forgets at the rate it promises."""

import re
from pathlib import Path

import pytest
import torch

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, Recipe, StepsConfig
from kennel.engine.builder import build_step
from kennel.engine.compute import ComputeContext
from kennel.engine.forward import DiscriminatorForward
from kennel.engine.iteration import iterate
from kennel.engine.latents import draw_latents
from kennel.engine.state import TrainPlan, TrainState
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.recipes import RECIPES, get_recipe
from kennel.techniques import TECHNIQUES, Networks, StepContext


def networks() -> Networks:
    setting = NetworkSpec(8, 1, 4)
    return Networks(
        GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options(base_channels=2)),
        DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options(base_channels=2)),
    )


def after(ema, networks, images_seen: int, share: float) -> None:
    """One generator's turn has ended."""
    context = StepContext(images_seen, 10**6, "generator", 0, 0, torch.device("cpu"), float(share))
    fake = torch.zeros(2, 1, 8, 8)
    output = DiscriminatorForward(networks, (), ComputeContext()).forward(
        context, torch.zeros(2, 4), None, None, fake
    )
    ema.after_generator(output)


def stem(generator) -> torch.Tensor:
    return generator.state_dict()["stem.weight"]


@pytest.mark.parametrize("turns", [1, 10])
def test_after_a_half_life_an_old_weight_counts_half(turns):
    pair = networks()
    ema = TECHNIQUES["ema"](half_life_images=1000)
    ema.modify_networks(pair, torch.Generator())
    before = stem(pair.generator).clone()
    with torch.no_grad():
        pair.generator.stem.weight.fill_(3.0)
    for index in range(turns):
        after(ema, pair, 900_000 + index * 1000 // turns, 1000 / turns)
    expected = (before + 3.0) / 2
    assert torch.allclose(stem(ema.sampling_generator()), expected, atol=1e-6)


def test_a_young_average_follows_closely():
    pair = networks()
    ema = TECHNIQUES["ema"](half_life_images=1000, ramp_up=0.05)
    ema.modify_networks(pair, torch.Generator())
    with torch.no_grad():
        pair.generator.stem.weight.fill_(3.0)
    after(ema, pair, 64, 64)
    assert torch.allclose(stem(ema.sampling_generator()), torch.tensor(3.0), atol=1e-4)


def test_a_ramped_half_life_grows_from_0_and_stays_at_its_end():
    ema = TECHNIQUES["ema"](half_life_images=1000, ramp="cosine", until=0.5, ramp_up=1.0)
    turns = [
        StepContext(seen, 10**6, "generator", 0, 0, torch.device("cpu"))
        for seen in (0, 250_000, 500_000, 10**6)
    ]
    assert [ema.half_life(context) for context in turns] == pytest.approx([0, 500, 1000, 1000])


def test_an_average_with_a_half_life_of_0_is_the_generator():
    pair = networks()
    ema = TECHNIQUES["ema"](half_life_images=1000, ramp="linear")
    ema.modify_networks(pair, torch.Generator())
    with torch.no_grad():
        pair.generator.stem.weight.fill_(3.0)
    after(ema, pair, 0, 64)
    assert torch.equal(stem(ema.sampling_generator()), stem(pair.generator))


def test_the_average_is_another_network_that_never_trains():
    pair = networks()
    ema = TECHNIQUES["ema"]()
    ema.modify_networks(pair, torch.Generator())
    average = ema.sampling_generator()
    assert average is not pair.generator
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_counters_of_batch_norm_are_taken_over():
    pair = networks()
    ema = TECHNIQUES["ema"]()
    ema.modify_networks(pair, torch.Generator())
    pair.generator(torch.randn(4, 4))
    after(ema, pair, 100, 4)
    assert ema.sampling_generator().state_dict()["layers.0.num_batches_tracked"] == 1


PAGE = Path(__file__).parents[2] / "docs" / "techniques" / "ema.md"
OF_A_PAPER = {
    "biggan.original": 0.9999,
    "r3gan.dogs": 0.5 ** (256 / 500_000),
    "r3gan.64": 0.5 ** (256 / 500_000),
    "r3gan.cifar10": 0.5 ** (512 / 5_000_000),
}
"""Decays per step of the generator (R3GAN: FFHQ at 64x64 and CIFAR-10, at the end of their schedules)."""


def averaged():
    """Each recipe with an average, and its technique."""
    for name in RECIPES:
        recipe = get_recipe(name)
        for part in recipe.techniques:
            if part.name == "ema":
                yield name, recipe, TECHNIQUES["ema"](**part.options)


def images_a_step(recipe):
    return recipe.batch_size * recipe.steps.discriminator / recipe.steps.generator


def test_the_page_tells_the_average_of_every_recipe_in_steps_of_its_generator():
    rows = re.findall(r"^\| `([\w.]+)` \| ([\d, .|]+) \| [^|]+ \|$", PAGE.read_text(encoding="utf-8"), re.M)
    told = {name: [float(cell.replace(",", "")) for cell in cells.split("|")] for name, cells in rows}
    expected = {}
    for name, recipe, ema in averaged():
        step, half_life = images_a_step(recipe), ema.half_life_images
        expected[name] = [
            step,
            half_life,
            round(half_life / step),
            round(0.5 ** (step / half_life), 5),
            half_life / ema.ramp_up if ema.ramp == "constant" else ema.until * recipe.budget.images,
        ]
    assert told == expected


@pytest.mark.parametrize("name", list(OF_A_PAPER))
def test_a_recipe_keeps_the_share_of_its_paper_at_each_step_of_the_generator(name):
    found = {recipe_name: (recipe, ema) for recipe_name, recipe, ema in averaged()}
    recipe, ema = found[name]
    keep = 0.5 ** (images_a_step(recipe) / ema.half_life_images)
    assert 1 - keep == pytest.approx(1 - OF_A_PAPER[name], rel=1e-3)


def test_the_half_life_of_a_paper_holds_for_most_of_the_run():
    recipe, ema = next((recipe, ema) for name, recipe, ema in averaged() if name == "biggan.original")
    assert ema.half_life_images / ema.ramp_up < 0.05 * recipe.budget.images


def test_recipes_of_several_turns_average_over_no_fewer_steps_than_those_of_one():
    steps = {name: ema.half_life_images / images_a_step(recipe) for name, recipe, ema in averaged()}
    for name in ("sngan", "wgan_gp", "wgan.dogs"):
        assert steps[name] == steps["gan"] == 156.25


@pytest.mark.parametrize(("discriminator", "generator"), [(1, 1), (5, 1), (2, 3)])
def test_a_step_of_training_moves_the_average_by_the_images_that_its_round_shows(discriminator, generator):
    content = Recipe(
        name="test",
        image=ImageConfig(size=8, channels=1),
        latent_dim=4,
        generator=ComponentConfig(name="dcgan", base_channels=2),
        discriminator=ComponentConfig(name="dcgan", base_channels=2),
        loss=ComponentConfig(name="bce"),
        techniques=(ComponentConfig(name="ema", half_life_images=100, ramp_up=1e9),),
        batch_size=4,
        steps=StepsConfig(discriminator=discriminator, generator=generator),
        budget=Budget(images=400),
    )
    step = build_step(content, torch.device("cpu"))
    (ema,) = step.techniques
    kept = []
    after_turn = type(ema).after_generator

    class Batches:
        def at(self, images_seen):
            return torch.zeros(4, 1, 8, 8, dtype=torch.uint8), None

    def watched(self, output):
        with torch.no_grad():
            self.sampling_generator().stem.weight.fill_(1.0)
            output.networks.generator.stem.weight.fill_(0.0)
        after_turn(self, output)
        kept.append(self.sampling_generator().stem.weight[0, 0].item())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(ema), "after_generator", watched)
        plan = TrainPlan(4, content.steps, 400, 400, 0, torch.device("cpu"))
        iterate(
            TrainState(
                step, plan, Batches(), lambda count, random: draw_latents(content.latent, count, random)
            )
        )
    assert kept == pytest.approx([0.5 ** (4 * discriminator / generator / 100)] * generator)
