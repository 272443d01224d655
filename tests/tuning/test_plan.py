"""The plan of a search: a trial's recipe beside the recipe itself, folders, and budgets."""

from pathlib import Path

import pytest

from kennel.errors import TuningError, UnknownNameError
from kennel.tuning.plan import default_out, parse_keep


def test_a_trial_has_a_tenth_of_the_budget_and_several_validations(make):
    plan = make(images=None)
    assert plan.trial.budget.images == 64  # of 640
    assert plan.recipe.budget.images == 640
    assert plan.trial.num_ticks == 4  # as set
    assert plan.trial.keep_checkpoints == 1
    assert plan.recipe.keep_checkpoints == 2
    assert (plan.metric, plan.direction, plan.budget_words) == ("fid", "minimize", "64 images")
    assert make("validation.metric=recall").direction == "maximize"
    assert make("validation.every_ticks=2").trial.validation.every_ticks == 2
    with pytest.raises(TuningError, match=r"validation\.every_ticks=0 turns it off"):
        make("validation.every_ticks=0")


def test_the_recipes_of_a_trial_and_of_the_end_differ_in_their_budget_only(make):
    plan = make()
    values = {"generator_optimizer.learning_rate": 1e-4}
    trial, best = plan.trial_recipe(values), plan.best_recipe(values)
    assert trial.generator_optimizer.learning_rate == best.generator_optimizer.learning_rate == 1e-4
    assert (trial.budget.images, best.budget.images) == (64, 640)
    assert trial.generator_optimizer == best.generator_optimizer
    assert best.name == "digits.tuned"


def test_an_extractor_is_chosen_once_for_all_trials(make):
    assert make("validation.extractor=auto").trial.validation.extractor == "pixels"


def test_a_trial_shorter_than_a_batch_is_refused(make):
    with pytest.raises(
        TuningError, match="a trial of 4 images is less than a batch of 8: give more --images"
    ):
        make(images=4)


def test_the_default_folder_is_named_after_recipe_and_set():
    assert default_out("mine/best.yaml", Path("sets/dogs")) == Path("tuning/best-dogs")
    assert parse_keep("all") == "all"
    with pytest.raises(UnknownNameError, match="there is no way to keep checkpoints 'al'"):
        parse_keep("al")
