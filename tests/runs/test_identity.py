"""What stays as it is as long as a run goes on is what a changed recipe may not change."""

import pytest

from kennel.config.recipe import difference, override
from kennel.recipes import get_recipe
from kennel.runs.identity import RESUMABLE_KEYS, identity

TAKEN_UP = (
    "budget.images=1k",
    "budget.epochs=3",
    "alarms.policy=stop",
    "alarms.spectra=off",
    "keep_checkpoints=7",
    "keep_every_ticks=3",
    "compute.layout=contiguous",
    "compute.convolutions=direct",
    "compute.compile=on",
    "validation.metric=recall",
    "validation.extra_metrics=[kid]",
    "validation.patience=3",
    "validation.every_ticks=9",
)
REFUSED = (
    "batch_size=32",
    "seed=5",
    "validation.num_samples=100",
    "validation.extractor=inception",
    "loss.name=lsgan",
)


@pytest.mark.parametrize("setting", TAKEN_UP)
def test_what_may_change_leaves_a_run_itself(setting):
    recipe = get_recipe("digits")
    changed = override(recipe, [setting])
    assert all(line.startswith(RESUMABLE_KEYS) for line in difference(recipe, changed))
    assert difference(recipe, changed)
    assert identity(changed, "data") == identity(recipe, "data")


@pytest.mark.parametrize("setting", [*REFUSED, "compute.precision=bfloat16", "techniques.r1=on"])
def test_what_is_refused_would_be_another_run(setting):
    recipe = get_recipe("digits")
    changed = override(recipe, [setting])
    assert not any(line.startswith(RESUMABLE_KEYS) for line in difference(recipe, changed))
    assert identity(changed, "data") != identity(recipe, "data")


def test_other_data_would_be_another_run():
    assert identity(get_recipe("digits"), "data") != identity(get_recipe("digits"), "other data")


def test_every_key_that_may_change_is_tried():
    changed = [
        line
        for setting in TAKEN_UP
        for line in difference(get_recipe("digits"), override(get_recipe("digits"), [setting]))
    ]
    assert {key for key in RESUMABLE_KEYS if any(line.startswith(key) for line in changed)} == set(
        RESUMABLE_KEYS
    )
