"""One word for how a run is computed; each part of it can be set."""

import pytest

from kennel.config.compute import PRESETS, Speed, preset
from kennel.config.recipe import override
from kennel.errors import KennelError, RecipeError
from kennel.recipes import built_in


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_setting_of_a_recipe(name):
    speed = override(built_in("digits"), preset(name)).speed
    assert speed.model_dump(mode="json") == Speed().model_dump(mode="json") | PRESETS[name]


def test_an_unknown_speed_is_answered_with_the_nearest():
    with pytest.raises(KennelError, match="did you mean 'bfloat16'"):
        preset("bfloat")


def test_what_is_given_stands_and_auto_is_filled_in():
    found = Speed(precision="bfloat16").filled_in(
        Speed(precision="float32", layout="contiguous", convolutions="minimal")
    )
    assert found == Speed(precision="bfloat16", layout="contiguous", convolutions="minimal")


def test_layout_and_convolutions_leave_the_fingerprint_alone_and_precision_does_not():
    recipe = override(built_in("digits"), preset("float32"))
    assert override(recipe, ["speed.layout=contiguous"]).fingerprint() == recipe.fingerprint()
    assert override(recipe, ["speed.convolutions=direct"]).fingerprint() == recipe.fingerprint()
    assert override(recipe, ["speed.compile=on"]).fingerprint() == recipe.fingerprint()
    assert override(recipe, ["speed.precision=bfloat16"]).fingerprint() != recipe.fingerprint()


def test_compile_is_switched_by_on_and_off():
    assert override(built_in("digits"), ["speed.compile=on"]).speed.compile is True
    assert override(built_in("digits"), ["speed.compile=off"]).speed.compile is False
    with pytest.raises(RecipeError, match="compile"):
        override(built_in("digits"), ["speed.compile=fast"])
