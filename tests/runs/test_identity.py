"""What stays as it is as long as a run goes on is what a changed recipe may not change."""

import pytest

from kennel.config.recipe import difference, override
from kennel.recipes import built_in
from kennel.runs.identity import TAKEN, identity

TAKEN_UP = (
    "budget.images=1k",
    "budget.epochs=3",
    "alarms.policy=stop",
    "alarms.spectra=off",
    "keep_checkpoints=7",
    "keep_every_ticks=3",
    "speed.layout=contiguous",
    "speed.convolutions=direct",
    "speed.compile=on",
    "validation.metric=recall",
    "validation.also=[kid]",
    "validation.patience=3",
    "validation.every_ticks=9",
)
REFUSED = ("batch=32", "seed=5", "validation.count=100", "validation.extractor=inception", "loss.name=lsgan")


@pytest.mark.parametrize("setting", TAKEN_UP)
def test_what_may_change_leaves_a_run_itself(setting):
    recipe = built_in("digits")
    changed = override(recipe, [setting])
    assert all(line.startswith(TAKEN) for line in difference(recipe, changed))
    assert difference(recipe, changed)
    assert identity(changed, "data") == identity(recipe, "data")


@pytest.mark.parametrize("setting", [*REFUSED, "speed.precision=bfloat16", "techniques.r1=on"])
def test_what_is_refused_would_be_another_run(setting):
    recipe = built_in("digits")
    changed = override(recipe, [setting])
    assert not any(line.startswith(TAKEN) for line in difference(recipe, changed))
    assert identity(changed, "data") != identity(recipe, "data")


def test_other_data_would_be_another_run():
    assert identity(built_in("digits"), "data") != identity(built_in("digits"), "other data")


def test_every_key_that_may_change_is_tried():
    changed = [
        line
        for setting in TAKEN_UP
        for line in difference(built_in("digits"), override(built_in("digits"), [setting]))
    ]
    assert {key for key in TAKEN if any(line.startswith(key) for line in changed)} == set(TAKEN)
