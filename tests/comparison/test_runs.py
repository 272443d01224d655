"""Runs as a comparison sees them: labels, groups of seeds, settings that differ."""

from pathlib import Path

import pytest

from kennel.comparison.runs import groups_of, labels_of, read_runs, recipe_differences
from kennel.errors import RunError


def test_labels_are_the_shortest_endings_that_differ():
    assert labels_of([Path("/a/x"), Path("/a/y")]) == ["x", "y"]
    assert labels_of([Path("/a/one/x"), Path("/a/two/x"), Path("/a/two/y")]) == ["one/x", "two/x", "two/y"]


def test_runs_that_differ_in_their_seed_alone_are_one_group(make_run):
    settings = (["seed=0"], ["seed=1"], ["seed=1", "batch_size=16"])
    runs = read_runs([make_run(f"run{number}", one) for number, one in enumerate(settings)])
    assert [[run.label for run in group] for group in groups_of(runs)] == [["run0", "run1"], ["run2"]]


def test_seeds_whose_precision_was_measured_differently_are_one_group(make_run):
    settings = (["seed=0", "compute.precision=float32"], ["seed=1", "compute.precision=bfloat16"])
    runs = read_runs([make_run(f"run{number}", one) for number, one in enumerate(settings)])
    assert [[run.label for run in group] for group in groups_of(runs)] == [["run0", "run1"]]


def test_one_seed_in_two_precisions_is_two_groups(make_run):
    settings = (["compute.precision=float32"], ["compute.precision=bfloat16"])
    runs = read_runs([make_run(f"run{number}", one) for number, one in enumerate(settings)])
    assert len(groups_of(runs)) == 2


def test_runs_of_other_sets_are_no_group(make_run):
    runs = read_runs([make_run("a"), make_run("b", fingerprint="other")])
    assert len(groups_of(runs)) == 2


def test_equal_recipes_have_no_differences_and_seeds_count_as_equal(make_run):
    assert recipe_differences(read_runs([make_run("a"), make_run("b", ["seed=5"])])) == []


def test_differences_name_the_key_and_every_value(make_run):
    runs = read_runs(
        [make_run("a"), make_run("b", ["batch_size=16", "generator_optimizer.learning_rate=0.01"])]
    )
    assert dict(recipe_differences(runs)) == {
        "batch_size": [runs[0].recipe.batch_size, 16],
        "generator_optimizer.learning_rate": [runs[0].recipe.generator_optimizer.learning_rate, 0.01],
    }


def test_a_technique_that_one_run_lacks_is_one_difference_without_its_options(make_run):
    runs = read_runs([make_run("a", ["techniques.ema=on"]), make_run("b", ["techniques.ema=off"])])
    assert recipe_differences(runs) == [("techniques.ema", ["on", None])]


def test_options_of_a_technique_that_both_have_are_compared(make_run):
    settings = (["techniques.ema.half_life_images=500"], ["techniques.ema.half_life_images=900"])
    runs = read_runs([make_run(f"run{number}", one) for number, one in enumerate(settings)])
    assert recipe_differences(runs) == [("techniques.ema.half_life_images", [500, 900])]


def test_other_networks_are_one_difference_without_their_options(make_run):
    runs = read_runs([make_run("a", ["generator.name=dcgan"]), make_run("b", ["generator.name=mlp"])])
    keys = [key for key, _ in recipe_differences(runs)]
    assert "generator.name" in keys
    assert not [key for key in keys if key.startswith("generator.") and key != "generator.name"]


def test_costs_and_status_are_those_of_the_last_line_of_the_log(make_run):
    log = [{"images": 800, "seconds": 4.0}, {"images": 1000, "seconds": 5.0}]
    done, begun = read_runs(
        [make_run("a", ["budget.images=1000"], log), make_run("b", ["budget.images=2000"])]
    )
    assert (done.images, done.seconds, done.images_per_second, done.status) == (1000, 5.0, 200.0, "finished")
    assert (begun.images, begun.seconds, begun.images_per_second) == (0, None, None)
    assert begun.status == "0% of its budget"


def test_too_few_runs_and_a_run_given_twice_are_refused(make_run, tmp_path):
    one = make_run("a")
    with pytest.raises(RunError, match="compare takes 2 to 200 runs, and got 1"):
        read_runs([one])
    with pytest.raises(RunError, match="is given twice"):
        read_runs([one, one])
    with pytest.raises(RunError, match="is not a run"):
        read_runs([one, tmp_path / "nothing"])
