"""Registries refuse duplicates and help a misspelling."""

import pytest

from kennel.errors import UnknownNameError
from kennel.registry import Registry, did_you_mean, likeness, nearest


def filled() -> Registry[int]:
    registry: Registry[int] = Registry("loss")
    registry.register("hinge")(1)
    registry.register("bce")(2)
    return registry


def test_a_registered_name_gives_its_entry_and_names_come_sorted():
    registry = filled()
    assert registry["hinge"] == 1
    assert list(registry) == ["bce", "hinge"]
    assert "bce" in registry
    assert len(registry) == 2


def test_a_misspelt_name_is_answered_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="there is no loss 'hing': did you mean 'hinge'"):
        filled()["hing"]


def test_a_part_of_a_name_is_answered_with_the_whole():
    registry = filled()
    registry.register("dcgan")(3)
    registry.register("dcgan.dogs")(4)
    with pytest.raises(UnknownNameError, match=r"did you mean 'dcgan\.dogs'"):
        registry["dogs"]
    with pytest.raises(UnknownNameError, match="did you mean 'dcgan'"):
        registry["dcgn"]


def test_a_name_like_no_other_is_answered_with_all_of_them():
    with pytest.raises(UnknownNameError, match="known: bce, hinge"):
        filled()["zzzzzzz"]


def test_a_second_registration_under_a_name_is_refused():
    with pytest.raises(ValueError, match="registered twice"):
        filled().register("hinge")(3)


@pytest.mark.parametrize(
    ("given", "nearest_ones"),
    [
        ("lr", ["learning_rate"]),
        ("wd", ["weight_decay"]),
        ("rate", ["learning_rate"]),
        ("eps", ["epsilon"]),
        ("momentmu", ["momentum"]),
        ("mometum", ["momentum"]),
        ("weight-decay", ["weight_decay"]),
        ("alarm", []),
        ("x", []),
    ],
)
def test_initials_words_beginnings_and_slips_of_the_fingers_are_likenesses(given, nearest_ones):
    assert nearest(given, ["betas", "epsilon", "learning_rate", "momentum", "weight_decay"]) == nearest_ones


def test_names_that_are_equally_near_are_all_given():
    keys = ["generator_optimizer", "discriminator_optimizer", "optional"]
    assert did_you_mean("optimizer", keys) == (
        "did you mean 'discriminator_optimizer' or 'generator_optimizer'?"
    )
    assert did_you_mean("lr", ["alarms", "ticks", "ralsgan"]) == ""


def test_two_letters_that_were_exchanged_count_once():
    assert likeness("trian", "train") == pytest.approx(1 - 1 / 5)
    assert likeness("devcie", "device") == pytest.approx(1 - 1 / 6)
    assert likeness("ab", "ba") == pytest.approx(0.5)
