"""Which of the arguments `[RECIPE] DATA` is the recipe and which the data."""

from pathlib import Path

import pytest

from kennel.cli.recipe_and_data import recipe_and_data
from kennel.errors import KennelError


def both(*words, recipe=None, data=None):
    first, second = (*words, None, None)[:2]
    return recipe_and_data("kennel train", (first, second), recipe, data)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "options", "name", "source"),
    [
        (("photos/",), {}, "auto", "photos"),
        (("photos.zip",), {}, "auto", "photos.zip"),
        (("./dcgan",), {}, "auto", "dcgan"),
        (("mnist",), {}, "auto", "mnist"),
        (("dcgan", "photos"), {}, "dcgan", "photos"),
        (("digits", "digits"), {}, "digits", "digits"),
        (("mine.yaml", "photos"), {}, "mine.yaml", "photos"),
        (("dcgn", "photos"), {}, "dcgn", "photos"),
        (("photos/",), {"recipe": "dcgan"}, "dcgan", "photos"),
        (("dcgan",), {"recipe": "gan"}, "gan", "dcgan"),
        (("dcgan",), {"data": Path("photos")}, "dcgan", "photos"),
        ((), {"data": Path("photos")}, "auto", "photos"),
        ((), {"recipe": "gan", "data": Path("photos")}, "gan", "photos"),
    ],
)
def test_one_word_is_the_data_and_the_first_of_two_the_recipe(words, options, name, source, tmp_path):
    (tmp_path / "photos").mkdir()
    assert both(*words, **options) == (name, Path(source))


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        ((), {}, "DATA is missing: .*such as `kennel train photos/`"),
        (("sngan",), {}, "sngan is a recipe, and DATA is missing: `kennel train sngan DATA`"),
        (("mine.yaml",), {}, "mine.yaml is a recipe, and DATA is missing"),
        (("dcgn",), {}, "did you mean 'dcgan'"),
        (("mnits",), {}, "did you mean 'mnist'"),
        (("qqqqqqq",), {}, "there is no qqqqqqq: give a folder, zip or tar of images, a known set"),
        (("photos", "dcgan"), {}, "the recipe comes first: `kennel train dcgan photos`"),
        (("dcgan", "photos"), {"data": Path("x")}, "photos is one argument too many with --data"),
        (("dcgan", "photos"), {"recipe": "gan"}, "photos is one argument too many with --recipe"),
    ],
)
def test_what_is_missing_or_too_much_is_told_in_one_sentence(words, options, message):
    with pytest.raises(KennelError, match=message):
        both(*words, **options)


def test_a_word_that_is_a_recipe_and_also_data_is_answered_with_both_commands(tmp_path):
    (tmp_path / "dcgan").mkdir()
    with pytest.raises(
        KennelError, match=r"recipe and also a folder or file here: `kennel train auto \./dcgan`"
    ):
        both("dcgan")
    with pytest.raises(
        KennelError, match="'digits' is a recipe and also a known set: `kennel train auto digits`"
    ):
        both("digits")
