"""A search as a whole: trained, pruned, failed, interrupted and continued."""

import csv
import signal

import optuna
import pytest
from optuna.trial import TrialState

from kennel.config.recipe import from_yaml
from kennel.engine.observer import Entry
from kennel.errors import RunError, TuningError
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.tuning import search as search_module
from kennel.tuning.results import find_results, write_results
from kennel.tuning.rows import TrialRow
from kennel.tuning.search import Search, TuneObserver
from kennel.tuning.trials import ALIVE, KILLS, WORKER, Trials


def run(plan, count: int, **options) -> list[TrialRow]:
    """The rows of a search that was run to its end."""
    found = Search(plan, count, **options)
    found.open()
    assert found.run()
    return found.rows()


def scores_of(folder: RunDir) -> list[float]:
    return [line["fid"] for line in folder.log()]


class StopAt(TuneObserver):
    """Sends a signal to this process at the first tick of a trial."""

    def __init__(self, number: int) -> None:
        self.number, self.trial = number, -1

    def on_trial_begin(self, row, changes) -> None:
        self.trial = row.number

    def on_tick(self, entry: Entry) -> None:
        if self.trial == self.number:
            self.number = -1
            signal.raise_signal(signal.SIGINT)


def test_the_first_trial_is_the_recipe_and_each_score_is_the_best_of_its_run(make):
    plan = make()
    rows = run(plan, 3)
    assert [row.state for row in rows] == ["finished"] * 3
    assert [row.own for row in rows] == [True, False, False]
    assert rows[0].values == {"generator_optimizer.learning_rate": 5e-4}
    rates = {row.values["generator_optimizer.learning_rate"] for row in rows}
    assert len(rates) == 3
    for row in rows:
        folder = plan.run_dir(row.number)
        scores = scores_of(folder)
        assert len(scores) == 4
        assert row.score == min(scores)
        assert row.best_images == folder.log()[scores.index(min(scores))]["images"]
        assert row.images == 64
        recipe = folder.recipe()
        assert recipe.generator_optimizer.learning_rate == row.values["generator_optimizer.learning_rate"]
        assert recipe.budget.images == 64


def test_the_same_search_again_trains_nothing_and_a_larger_one_goes_on(make):
    plan = make()
    first = run(plan, 2)
    assert run(plan, 2) == first
    more = run(plan, 3)
    assert more[:2] == first
    assert len(more) == 3


def test_a_search_has_the_same_trials_whether_it_was_split_or_not(make, tmp_path):
    split = make(out=tmp_path / "split")
    run(split, 2)
    at_once, in_parts = run(make(out=tmp_path / "whole"), 3), run(split, 3)
    assert [(row.values, row.score) for row in at_once] == [(row.values, row.score) for row in in_parts]
    other = run(make(out=tmp_path / "other", seed=1), 2)
    assert other[1].values != at_once[1].values


def test_the_best_recipe_has_the_best_values_and_the_recipes_own_budget(make):
    plan = make("validation.metric=kid")  # of 20 samples
    found = Search(plan, 3)
    found.open()
    found.run()
    results = find_results(plan, found.trials.study, found.rows())
    files = {path.name for path in write_results(results)}
    assert files == {"best.yaml", "trials.csv", "results.md", "history.png"}
    best = min(found.rows(), key=lambda row: row.score)
    text = (plan.out / "best.yaml").read_text()
    recipe = from_yaml(text, "best.yaml")
    assert recipe.generator_optimizer.learning_rate == best.values["generator_optimizer.learning_rate"]
    assert recipe.budget.images == 640
    assert recipe.num_ticks == 4
    assert recipe.validation.metric == "kid"
    assert "# The budget here is the recipe's: 640 images." in text
    with (plan.out / "trials.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["score"]) for line in lines] == [row.score for row in found.rows()]
    assert float(lines[1]["generator_optimizer.learning_rate"]) == found.rows()[1].values.get(
        "generator_optimizer.learning_rate"
    )


def test_values_that_do_not_fit_together_are_a_failed_trial_with_a_sentence(make):
    """Each value alone does fit; the recipe itself is outside of the space."""
    schedule = "generator_optimizer.schedule"
    space = [f"{schedule}.decay_start=0.7,0.8", f"{schedule}.decay_end=0.5,0.6"]
    plan = make(space=space, only=f"{schedule}.*")
    rows = run(plan, 3)
    assert [row.state for row in rows] == ["finished", "failed", "failed"]
    start, end = rows[1].values.values()
    assert f"decay_start is {start} and decay_end is {end}: set a later decay_end" in rows[1].reason
    assert not plan.run_dir(1).path.exists()


def test_a_trial_that_diverges_is_failed_with_the_reason(make):
    plan = make(space=["generator_optimizer.learning_rate=1e30:1e32:log"])
    rows = run(plan, 2)
    assert rows[0].own
    assert rows[0].state == "finished"
    assert rows[1].state == "failed"
    assert "not finite" in rows[1].reason
    results = find_results(plan, _study(plan), rows)
    write_results(results)
    assert "not finite" in (plan.out / "results.md").read_text()
    assert results.best == rows[0]


def _study(plan) -> optuna.Study:
    found = Search(plan, 1)
    found.open(create=False)
    return found.trials.study


def test_a_pruned_trial_stops_with_its_state_and_never_the_recipe_itself(make, monkeypatch):
    monkeypatch.setattr(
        optuna.Trial,
        "should_prune",
        lambda trial: len(trial.storage.get_trial(trial._trial_id).intermediate_values) == 2,
    )
    plan = make()
    rows = run(plan, 3, keep="all")
    assert [row.state for row in rows] == ["finished", "pruned", "pruned"]
    folder = plan.run_dir(1)
    assert len(scores_of(folder)) == 2
    assert rows[1].score == min(scores_of(folder))
    assert rows[1].images == folder.log()[-1]["images"] == 32
    assert len(checkpoint.in_folder(folder.checkpoints)) == 1
    assert [row.state for row in run(make(out=plan.out.with_name("none")), 2, prune=False)] == [
        "finished"
    ] * 2


def test_only_the_checkpoints_of_the_best_and_of_the_recipe_are_kept(make):
    plan = make()
    rows = run(plan, 4)
    best = min(rows, key=lambda row: row.score)
    kept = {row.number for row in rows if plan.run_dir(row.number).checkpoints.is_dir()}
    assert kept == {0, best.number}
    assert all(plan.run_dir(row.number).log_file.is_file() for row in rows)


def test_a_stopped_trial_is_continued_from_its_checkpoint_to_the_same_score(make, tmp_path):
    undisturbed = run(make(out=tmp_path / "undisturbed"), 3)
    plan = make()
    found = Search(plan, 3, observer=StopAt(1))
    found.open()
    assert not found.run()
    assert found.observer.stopped_by == signal.SIGINT
    states = [row.state for row in found.rows()]
    assert states == ["finished", "interrupted", "waiting"]
    rows = run(plan, 3)
    assert [row.state for row in rows] == ["finished", "interrupted", "finished", "finished"]
    assert rows[2].continues == 1
    assert rows[2].values == rows[1].values == undisturbed[1].values
    assert rows[2].score == undisturbed[1].score
    assert rows[2].images == 64
    assert not plan.run_dir(1).path.exists()  # it is the run of trial 2 now
    assert (rows[3].values, rows[3].score) == (undisturbed[2].values, undisturbed[2].score)
    assert scores_of(plan.run_dir(2)) == scores_of(RunDir(tmp_path / "undisturbed/runs/trial-001"))


def test_a_trial_of_a_killed_process_is_failed_and_continued_at_most_twice(make):
    plan = make()
    found = Search(plan, 2)
    found.open()
    study = found.trials.study
    for kills in range(3):
        killed = Trials(study, plan, 2, is_local=True, worker=f"killed{kills}").ask()
        assert killed is not None
        assert killed.user_attrs.get(KILLS, 0) == kills
        assert killed.user_attrs["own"]
    rows = run(plan, 2)
    assert [row.state for row in rows] == ["interrupted", "interrupted", "failed", "finished"]
    assert rows[2].reason == "the process was killed 3 times"
    assert [row.continues for row in rows] == [None, 0, 1, None]


def test_a_trial_of_a_living_worker_is_left_alone(make):
    plan = make()
    first, second = Search(plan, 2), Search(plan, 2)
    first.open()
    second.open()
    with first.trials.working(lambda sentence: None):
        running = first.trials.ask()
        assert running is not None
        assert second.run()
        assert [row.state for row in second.rows()] == ["running", "finished"]
        first.trials.study.tell(running, 1.0)
    assert not (plan.out / "workers").exists()


def test_a_trial_of_another_machine_is_given_up_after_a_day_without_a_sign(make, tmp_path):
    plan = make()
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    there, here = Search(plan, 2, storage), Search(make(out=tmp_path / "here" / "search"), 2, storage)
    there.open()
    running = there.trials.ask()
    here.open()
    assert here.run()
    assert [row.state for row in here.rows()] == ["running", "finished"]
    running.set_user_attr(ALIVE, 0.0)
    assert here.run()
    assert [row.state for row in here.rows()] == ["interrupted", "finished", "finished"]
    assert here.rows()[0].continues is None
    assert here.rows()[2].own
    assert running.user_attrs[WORKER] == there.trials.worker


def test_an_error_of_the_disk_ends_the_search_and_the_trial_is_continued(make, monkeypatch):
    plan = make()
    real = search_module.train

    def full(*given, **named):
        raise RunError("a checkpoint could not be written") from OSError(28, "No space left on device")

    monkeypatch.setattr(search_module, "train", full)
    found = Search(plan, 1)
    found.open()
    with pytest.raises(RunError, match="could not be written"):
        found.run()
    monkeypatch.setattr(search_module, "train", real)
    assert [row.state for row in run(plan, 1)] == ["interrupted", "finished"]


def test_another_search_in_the_same_folder_is_refused_with_the_difference(make):
    plan = make()
    run(plan, 1)
    for other, message in (
        (make("batch_size=16"), "batch_size: 8 -> 16"),
        (make(images=128), "budget.images: 64 -> 128"),
        (make(only="batch_size"), "space of generator_optimizer.learning_rate; space of batch_size"),
    ):
        with pytest.raises(TuningError, match=message):
            Search(other, 1).open()


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("nonsense", "--storage is not a database URL"),
        ("sqlite:////nowhere/at/all/x.db", "sqlite database of the search cannot be used .*unable to open"),
        ("nodb://user:secret@host/x", "--storage is not a database URL"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_without_its_password(make, storage, message):
    with pytest.raises(TuningError, match=message) as caught:
        Search(make(), 1, storage).open()
    assert "secret" not in str(caught.value)


def test_a_recipe_outside_of_its_space_is_still_the_first_trial(make):
    plan = make(space=["generator_optimizer.learning_rate=1e-3:1e-2:log"])
    rows = run(plan, 3)
    assert rows[0].own
    assert rows[0].values == {"generator_optimizer.learning_rate": 5e-4}
    assert plan.run_dir(0).recipe().generator_optimizer.learning_rate == 5e-4
    assert all(row.values["generator_optimizer.learning_rate"] >= 1e-3 for row in rows[1:])


def test_hours_become_images_by_each_trials_own_speed(make, monkeypatch):
    speeds = iter((100.0, 200.0))
    monkeypatch.setattr(search_module, "measured_speed", lambda *given: next(speeds))
    plan = make(images=None, hours=1.2 / 3600)
    rows = run(plan, 2)
    assert [row.images for row in rows] == [104, 200]
    assert [plan.run_dir(number).recipe().budget.images for number in (0, 1)] == [100, 200]
    assert _study(plan).trials[0].state == TrialState.COMPLETE
