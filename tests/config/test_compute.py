"""One word for how a run is computed; each part of it can be set."""

import pytest

from kennel.config.compute import PRESETS, ComputeConfig, preset
from kennel.config.recipe import override
from kennel.errors import KennelError, RecipeError
from kennel.recipes import get_recipe


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_setting_of_a_recipe(name):
    speed = override(get_recipe("digits"), preset(name)).compute
    assert speed.model_dump(mode="json") == ComputeConfig().model_dump(mode="json") | PRESETS[name]


def test_an_unknown_speed_is_answered_with_the_nearest():
    with pytest.raises(KennelError, match="did you mean 'bfloat16'"):
        preset("bfloat")


def test_what_is_given_stands_and_auto_is_filled_in():
    found = ComputeConfig(precision="bfloat16").filled_in(
        ComputeConfig(precision="float32", layout="contiguous", convolutions="winograd")
    )
    assert found == ComputeConfig(precision="bfloat16", layout="contiguous", convolutions="winograd")


def test_layout_and_convolutions_leave_the_fingerprint_alone_and_precision_does_not():
    recipe = override(get_recipe("digits"), preset("float32"))
    assert override(recipe, ["compute.layout=contiguous"]).fingerprint() == recipe.fingerprint()
    assert override(recipe, ["compute.convolutions=direct"]).fingerprint() == recipe.fingerprint()
    assert override(recipe, ["compute.compile=on"]).fingerprint() == recipe.fingerprint()
    assert override(recipe, ["compute.precision=bfloat16"]).fingerprint() != recipe.fingerprint()


def test_compile_is_switched_by_on_and_off():
    assert override(get_recipe("digits"), ["compute.compile=on"]).compute.compile is True
    assert override(get_recipe("digits"), ["compute.compile=off"]).compute.compile is False
    with pytest.raises(RecipeError, match="compile"):
        override(get_recipe("digits"), ["compute.compile=fast"])
