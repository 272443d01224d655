"""The space of a recipe: what is searched by default, what the user changes, and the recipes it gives."""

import pytest

from kennel.config.recipe import Recipe, override
from kennel.data.dataset import ImageDataset
from kennel.engine.builder import resolve
from kennel.errors import RecipeError, UnknownNameError
from kennel.recipes import RECIPES, get_recipe
from kennel.tuning.default_space import default_dimensions
from kennel.tuning.dimension import Dimension
from kennel.tuning.space import make_space, own_value, settings_of


@pytest.fixture
def dataset(packed_set) -> ImageDataset:
    return ImageDataset(packed_set())


def keys(space) -> set[str]:
    return {one.key for one in space.dimensions}


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_default_space_of_every_recipe_contains_the_recipe(name, packed_set):
    """And each bound alone is a valid recipe."""
    recipe = get_recipe(name)
    size, channels = recipe.image.size or 32, recipe.image.channels or 3
    dataset = ImageDataset(packed_set(channels=channels, size=size, classes=2))
    resolved = resolve(recipe, dataset)
    dimensions = default_dimensions(resolved, 10_000)
    assert len(dimensions) >= 6
    for one in dimensions:
        assert one.contains(own_value(resolved, one.key)), one
        for value in one.ends:
            resolve(override(resolved, settings_of(resolved, {one.key: value})), dataset)


def test_only_numbers_of_parts_that_are_switched_on_are_searched(small_recipe, dataset):
    space = make_space(small_recipe(), dataset)
    assert keys(space) == {
        *(
            f"{one}_optimizer.{key}"
            for one in ("generator", "discriminator")
            for key in ("learning_rate", "betas.0", "betas.1")
        ),
        "techniques.one_sided_smoothing.real",
        "techniques.instance_noise.variance",
        "steps.discriminator",
        "generator.base_channels",
        "discriminator.base_channels",
        "batch_size",
    }
    assert space.contains_own
    more = make_space(small_recipe("techniques.r1.weight=5", "techniques.instance_noise=off"), dataset)
    assert keys(more) - keys(space) == {"techniques.r1.weight"}
    assert keys(space) - keys(more) == {"techniques.instance_noise.variance"}


def test_what_is_set_is_not_searched_and_only_leaves_some(small_recipe, dataset):
    fixed = ("batch_size=8", "generator_optimizer.betas=[0, 0.9]", "techniques.instance_noise=on")
    space = make_space(small_recipe(*fixed), dataset, fixed=fixed)
    assert not keys(space) & {
        "batch_size",
        "generator_optimizer.betas.0",
        "generator_optimizer.betas.1",
        "techniques.instance_noise.variance",
    }
    assert keys(make_space(small_recipe(), dataset, only="learning_rate, batch_size")) == {
        "generator_optimizer.learning_rate",
        "discriminator_optimizer.learning_rate",
        "batch_size",
    }
    few = make_space(small_recipe(), dataset, ["techniques.ema.half_life_images=1k:9k:log"], only="*.betas.0")
    assert few.dimensions[-1] == Dimension("techniques.ema.half_life_images", 1000, 9000, log=True)
    assert len(few.dimensions) == 3
    with pytest.raises(UnknownNameError, match=r"no searched key 'learnin_rate'"):
        make_space(small_recipe(), dataset, only="learnin_rate")


def test_a_given_range_replaces_the_default_and_may_exclude_the_recipe(small_recipe, dataset):
    space = make_space(
        small_recipe(), dataset, ["batch_size=16,32", "generator_optimizer.betas=[0, 0.9],[0.5, 0.999]"]
    )
    found = {one.key: one for one in space.dimensions}
    assert found["batch_size"].choices == (16, 32)
    assert not space.contains_own
    assert "generator_optimizer.betas.0" not in found
    assert space.own["generator_optimizer.betas"] == "[0.5, 0.999]"


@pytest.mark.parametrize(
    ("given", "fixed", "message"),
    [
        (
            "batchsize=8,16",
            (),
            "--space batchsize, value 8: there is no key of recipe 'batchsize'.*batch_size",
        ),
        ("batch_size=1:8", (), "--space batch_size, value 1: recipe.batch_size = 1 does not fit"),
        ("techniques.ema.halflife=1:2", (), "there is no option of .*halflife"),
        ("loss=bce,hing", (), "hing"),
        ("budget.images=1k:2k", (), "budget.images cannot be searched: all trials are measured alike"),
        ("batch_size=8,16", ("batch_size=8",), "--space batch_size and --set batch_size contradict"),
        ("generator_optimizer.betas.2=0:0.9", (), "betas has 2 values, counted from 0"),
        ("batch_size.0=1:9", (), "batch_size is not a list in this recipe"),
    ],
)
def test_a_range_that_does_not_fit_the_recipe_is_refused(small_recipe, dataset, given, fixed, message):
    with pytest.raises(RecipeError, match=message):
        make_space(small_recipe(*fixed), dataset, [given], fixed)


def test_values_become_settings_and_places_of_a_list_become_one(small_recipe, dataset):
    resolved = resolve(small_recipe(), dataset)
    values = {
        "generator_optimizer.betas.0": 0.25,
        "batch_size": 16,
        "generator_optimizer.betas.1": 0.99,
        "techniques.ema": False,
        "loss": "bce",
    }
    settings = settings_of(resolved, values)
    assert settings == [
        "batch_size=16",
        "techniques.ema=false",
        "loss=bce",
        "generator_optimizer.betas=[0.25, 0.99]",
    ]
    changed = override(resolved, settings)
    assert isinstance(changed, Recipe)
    assert changed.generator_optimizer.betas == (0.25, 0.99)
    assert {key: own_value(changed, key) for key in values} == values


def test_nothing_to_search_is_refused(dataset, small_recipe):
    groups = ("generator_optimizer", "discriminator_optimizer", "generator", "discriminator")
    fixed = [f"{key}=1" for key in (*groups, "techniques", "steps", "batch_size")]
    with pytest.raises(RecipeError, match="nothing is left to search"):
        make_space(small_recipe(), dataset, fixed=fixed)
