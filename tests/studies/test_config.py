"""Studies as files and by name."""

import pytest

from kennel.config.recipe import override
from kennel.engine.builder import build_loss, build_networks, build_techniques
from kennel.errors import RecipeError, UnknownNameError
from kennel.studies.config import STUDIES, StudyConfig, load_study
from kennel.studies.expand import ExpandConfig

import kennel.studies.builtin  # noqa: F401, isort: skip (registers the studies)

MINIMAL = "recipes:\n  plain: digits\n  large: {recipe: digits, settings: [batch_size=128]}\n"


def _file(tmp_path, text: str):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return str(file)


def test_a_file_needs_no_more_than_recipes(tmp_path):
    study = load_study(_file(tmp_path, MINIMAL))
    assert study.name == "mine"
    assert study.seeds == (0,)
    assert study.recipe_of("plain", 0).name == "plain"
    assert study.recipe_of("large", 7).batch_size == 128
    assert study.recipe_of("large", 7).seed == 7


def test_seeds_are_a_count_or_a_list_and_images_may_be_words(tmp_path):
    study = load_study(_file(tmp_path, MINIMAL + "seeds: 3\nimages: 2k\n"))
    assert study.seeds == (0, 1, 2)
    assert study.recipe_of("plain", 0).budget.images == 2000
    assert load_study(_file(tmp_path, MINIMAL + "seeds: [4, 9]\n")).seeds == (4, 9)


def test_settings_of_all_come_before_those_of_a_row(tmp_path):
    study = load_study(_file(tmp_path, MINIMAL + "settings: [batch_size=16]\n"))
    assert (study.recipe_of("plain", 0).batch_size, study.recipe_of("large", 0).batch_size) == (16, 128)


def test_a_study_survives_yaml(tmp_path):
    study = load_study(_file(tmp_path, MINIMAL + "seeds: 2\njudge: {metrics: [fid]}\n"))
    assert load_study(_file(tmp_path, study.to_yaml())) == study


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "study.recipes is missing"),
        (MINIMAL + "seed: 3\n", "option of study 'seed': did you mean 'seeds'"),
        (MINIMAL + "images: 5\nhours: 1\n", "images and hours are both given"),
        (MINIMAL + "seeds: [1, 1]\n", "seeds must be different"),
        (MINIMAL + "images: many\n", "'many' is not a count"),
        ("[1, 2]\n", "is not a study"),
        ("recipes: {plain: {recipe: digits, setting: [a=1]}}\n", "setting"),
        ("recipes: {../up: digits}\n", "../up"),
    ],
)
def test_what_is_no_study_is_refused_in_a_sentence(tmp_path, text, message):
    with pytest.raises((RecipeError, UnknownNameError)) as refused:
        load_study(_file(tmp_path, text))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="zoo"):
        load_study("zooo")


def test_a_file_that_is_not_there_is_said():
    with pytest.raises(RecipeError, match=r"there is no file nothing\.yaml"):
        load_study("nothing.yaml")


def test_a_kind_of_study_is_named_by_its_file(tmp_path):
    study = load_study(_file(tmp_path, "kind: expand\nkeep: 9\nimages: 3k\nseeds: 2\n"))
    assert isinstance(study, ExpandConfig)
    assert (study.name, study.keep, study.images, study.seeds) == ("mine", 9, 3000, (0, 1))
    assert load_study(_file(tmp_path, study.to_yaml())) == study
    assert load_study(_file(tmp_path, "kind: recipes\n" + MINIMAL)).name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: expanse\n", "there is no kind of study 'expanse': did you mean 'expand'"),
        ("kind: expand\nkep: 3\n", "did you mean 'keep'"),
        ("kind: expand\nkeep: 50\nto: 50\n", "to must be larger"),
        ("kind: expand\nimages: 5\nhours: 1\n", "images and hours are both given"),
        ("kind: expand\nseeds: [1, 1]\n", "seeds must be different"),
        ("kind: expand\ndata: {a: x, b: y}\n", "two named train and test"),
    ],
)
def test_what_is_no_study_of_expanded_sets_is_refused_in_a_sentence(tmp_path, text, message):
    with pytest.raises((RecipeError, UnknownNameError)) as refused:
        load_study(_file(tmp_path, text))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_every_built_in_study_has_a_name_and_a_description():
    for name in STUDIES.registered:
        assert STUDIES[name]().name == name
        assert (STUDIES[name].__doc__ or "").strip()
        assert STUDIES[name]().run_count >= 1


@pytest.mark.parametrize("name", [name for name in STUDIES.registered if name != "expand"])
def test_every_row_of_a_built_in_study_is_a_recipe_whose_parts_fit(name):
    study = STUDIES[name]()
    assert isinstance(study, StudyConfig)
    assert study.name == name
    assert (STUDIES[name].__doc__ or "").strip()
    for row in study.recipes:
        recipe = study.recipe_of(row, study.seeds[0])
        if recipe.num_classes is None:
            recipe = recipe.model_copy(update={"num_classes": 4})
        loss = build_loss(recipe)
        assert build_techniques(recipe, loss) is not None
        if recipe.image.size is not None and recipe.image.size <= 32:
            facts = [f"image.channels={recipe.image.channels or 1}"]
            facts += ["instances.num_instances=8"] if recipe.instances.neighbors else []
            build_networks(override(recipe, facts))
