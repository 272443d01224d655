"""Registries refuse duplicates and help a misspelling."""

import pytest

from kennel.errors import UnknownNameError
from kennel.registry import Registry


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
