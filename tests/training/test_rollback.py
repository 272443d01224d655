"""What of a run's folder is missing, misplaced or another's when it goes on: nothing is lost in silence."""

import json
import signal
from functools import partial

import pytest

from kennel.engine.observer import TrainObserver
from kennel.errors import CheckpointError, RunError
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.techniques import TECHNIQUES, ForwardOutput, LossTerm
from kennel.training.run import train
from observers import StopAt

VALIDATED = ("validation.every_ticks=1", "validation.num_samples=20")


Terminated = partial(StopAt, by=signal.SIGTERM)


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def test_a_checkpoint_of_another_run_is_set_aside_and_never_trained_on(
    small_recipe, packed_set, tmp_path, outcome
):
    data = packed_set()
    assert train(small_recipe("seed=5"), data, tmp_path / "other")
    assert train(small_recipe(), data, tmp_path / "whole")
    assert not train(small_recipe(), data, tmp_path / "run", observer=Terminated(64))
    foreign = checkpoint.in_folder(RunDir(tmp_path / "other").checkpoints)[0]
    place = RunDir(tmp_path / "run").checkpoints / foreign.name
    place.write_bytes(foreign.read_bytes())
    with pytest.raises(CheckpointError, match="of another run, with another recipe or other data"):
        checkpoint.load(place, checkpoint.newest(RunDir(tmp_path / "whole").checkpoints).metadata["run"])
    assert load_run(tmp_path / "run").images_seen == 64
    watch = Terminated()
    assert train(small_recipe(), data, tmp_path / "run", observer=watch)
    assert any("of another run" in sentence and "it is renamed" in sentence for sentence in watch.said)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_a_checkpoint_under_a_wrong_name_is_set_aside(small_recipe, packed_set, tmp_path, outcome):
    data = packed_set()
    assert train(small_recipe(), data, tmp_path / "run")
    before = outcome(tmp_path / "run")
    newest = checkpoint.in_folder(RunDir(tmp_path / "run").checkpoints)[0]
    newest.rename(newest.with_name(checkpoint.name_for(9999)))
    watch = Terminated()
    assert train(small_recipe(), data, tmp_path / "run", observer=watch)
    assert any("which its name does not match: it is renamed" in sentence for sentence in watch.said)
    assert outcome(tmp_path / "run") == before


def test_where_no_numbered_checkpoint_is_left_the_best_is_gone_on_from(
    small_recipe, packed_set, tmp_path, outcome, monkeypatch
):
    data = packed_set()
    fallen = iter([3.0, 5.0, 4.0, 4.0, 4.0, 4.0])
    monkeypatch.setattr(
        "kennel.training.validation.Validator.values", lambda *arguments: {"recall": next(fallen)}
    )
    recipe = small_recipe(*VALIDATED, "validation.metric=recall")
    assert train(recipe, data, tmp_path / "run")
    folder, before = RunDir(tmp_path / "run"), outcome(tmp_path / "run")
    best = checkpoint.load(folder.best_checkpoint).images_seen
    assert best == 64
    for path in checkpoint.in_folder(folder.checkpoints):
        path.unlink()
    watch = Terminated()
    assert train(recipe, data, tmp_path / "run", observer=watch)
    assert f"No numbered checkpoint is left: the best, at {best:,} images, is used." in watch.said
    assert [line["images"] for line in folder.log()] == [32, 64, 96, 128]
    assert outcome(tmp_path / "run") == before


def test_where_no_checkpoint_is_left_the_log_is_not_cut(small_recipe, packed_set, tmp_path):
    data = packed_set()
    assert train(small_recipe(), data, tmp_path / "run")
    folder = RunDir(tmp_path / "run")
    for path in checkpoint.in_folder(folder.checkpoints):
        path.unlink()
    log = folder.log_file.read_bytes()
    with pytest.raises(CheckpointError, match="has a log but no checkpoint: restore one from a copy"):
        train(small_recipe(), data, tmp_path / "run")
    assert folder.log_file.read_bytes() == log


def test_a_damaged_best_is_not_made_again_from_one_that_is_not_the_best(small_recipe, packed_set, tmp_path):
    recipe, data = small_recipe(*VALIDATED, "keep_checkpoints=100", "alarms.policy=rollback"), packed_set()
    assert train(recipe, data, tmp_path / "run")
    best = RunDir(tmp_path / "run").best_checkpoint
    flip(best)
    damaged = best.read_bytes()
    watch = Terminated()
    # By another metric the best is sought anew: "at 0 images" is where nothing was measured yet.
    changed = small_recipe(
        *VALIDATED, "keep_checkpoints=100", "alarms.policy=rollback", "validation.metric=recall"
    )
    assert train(changed, data, tmp_path / "run", observer=watch)
    assert any("the next best replaces it" in sentence for sentence in watch.said)
    assert best.read_bytes() == damaged


class Spoiler(LossTerm):
    """From 80 images on, and with the first key only, a term that is not finite or weights that explode."""

    what: str = "loss"

    def due(self, output: ForwardOutput) -> bool:
        return output.context.images_seen > 80 and output.context.seed == 0

    def generator_term(self, output):
        return output.fake.mean() * float("inf") if self.what == "loss" and self.due(output) else None

    def after_generator(self, output) -> None:
        if self.what == "weights" and self.due(output):
            output.networks.generator.get_submodule("layers.2").weight.data.mul_(3.0)


@pytest.fixture
def _spoiler():
    TECHNIQUES.register("spoiler")(Spoiler)
    yield
    del TECHNIQUES._entries["spoiler"]


@pytest.mark.usefixtures("_spoiler")
def test_a_rollback_leaves_the_best_as_it_is(small_recipe, packed_set, tmp_path, monkeypatch):
    # The metric rises to the tick that is spoilt, which is therefore its best.
    values = {32: 3.0, 64: 5.0, 96: 7.0, 128: 9.0}
    monkeypatch.setattr(
        "kennel.training.validation.Validator.values", lambda self, generator, seen: {"recall": values[seen]}
    )
    settings = ("validation.metric=recall", "alarms.policy=rollback", "techniques.spoiler.what=weights")
    recipe, folder, seen = small_recipe(*VALIDATED, *settings), RunDir(tmp_path / "run"), []

    class Looking(TrainObserver):
        def log(self, sentence: str) -> None:
            if sentence.startswith("Rollback"):
                best = checkpoint.load(folder.best_checkpoint)
                newest = checkpoint.newest(folder.checkpoints)
                seen.extend([(best.images_seen, best.metadata["best"]), newest.metadata["best"]])
                values[128] = 8.0

    assert train(recipe, packed_set(), tmp_path / "run", observer=Looking())
    (rollback,) = [line for line in folder.alarms() if "rollback" in line]
    assert (rollback["images"], rollback["back_to"]) == (128, 32)
    assert seen == [(96, 7.0), 7.0]
    # 9 was of weights that nobody has any more: the 8 of the other branch is the best.
    best = checkpoint.load(folder.best_checkpoint)
    assert (best.images_seen, best.metadata["best"], best.metadata["rollbacks"]) == (128, 8.0, 1)


def test_a_log_that_is_lost_costs_a_run_that_rolls_back_no_checkpoint(small_recipe, packed_set, tmp_path):
    recipe, data = small_recipe("alarms.policy=rollback"), packed_set()
    assert not train(recipe, data, tmp_path / "run", observer=Terminated(72))
    folder = RunDir(tmp_path / "run")
    folder.log_file.unlink()
    assert train(recipe, data, tmp_path / "run")
    # All but that of the stop between two ticks.
    kept = [path.name for path in reversed(checkpoint.in_folder(folder.checkpoints))]
    assert kept == [checkpoint.name_for(images) for images in (0, 32, 64, 96, 128)]


@pytest.mark.usefixtures("_spoiler")
def test_a_longer_round_that_ends_a_tick_hides_nothing_from_the_alarms(
    small_recipe, packed_set, tmp_path, monkeypatch
):
    # As on a device where nothing is noticed before the tick's end.
    monkeypatch.setattr("kennel.engine.nonfinite.NonFiniteGuard.triggered_async", lambda self: False)
    boost = "steps.extra_d_steps={steps: 5, first: 2, interval: 4}"
    settings = (
        boost,
        "alarms.policy=rollback",
        "techniques.spoiler.what=loss",
        "budget.images=256",
        "num_ticks=8",
    )
    assert train(small_recipe(*settings), packed_set(), tmp_path / "run")
    alarm, rollback = RunDir(tmp_path / "run").alarms()
    assert alarm["alarm"] == "non_finite"
    assert rollback["rollback"] == 1


def test_a_fork_is_gone_on_with_when_its_parent_has_a_larger_budget(small_recipe, packed_set, tmp_path):
    data = packed_set()
    assert train(small_recipe(), data, tmp_path / "old")
    fork = small_recipe("batch_size=16")
    assert train(fork, data, tmp_path / "new", parent=tmp_path / "old")
    assert train(small_recipe("budget.images=160"), data, tmp_path / "old")
    assert train(fork, data, tmp_path / "new", parent=tmp_path / "old")
    assert train(small_recipe("seed=3"), data, tmp_path / "stranger")
    with pytest.raises(RunError, match="did not start from"):
        train(fork, data, tmp_path / "new", parent=tmp_path / "stranger")


def test_a_fork_into_a_folder_with_a_hidden_file_names_it(small_recipe, packed_set, tmp_path):
    data = packed_set()
    assert train(small_recipe(), data, tmp_path / "old")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".DS_Store").touch()
    with pytest.raises(RunError, match=r"has files but is not a run \(.DS_Store\): give a folder"):
        train(small_recipe("batch_size=16"), data, tmp_path / "new", parent=tmp_path / "old")


def test_a_recipe_that_is_no_text_and_facts_that_are_gone_are_one_sentence(
    small_recipe, packed_set, tmp_path
):
    data = packed_set(classes=2)
    assert train(small_recipe("num_classes=0"), data, tmp_path / "run")
    folder = RunDir(tmp_path / "run")
    recipe, about = folder.recipe_file.read_bytes(), folder.about()
    folder.recipe_file.write_bytes(recipe.replace(b"batch", b"b\xe1tch"))
    with pytest.raises(RunError, match=r"recipe.yaml is damaged \(it is not text\)"):
        folder.recipe()
    folder.recipe_file.write_bytes(b"null: 3\n" + recipe)
    with pytest.raises(Exception, match="there is no key of recipe 'None'"):
        folder.recipe()
    folder.recipe_file.write_bytes(recipe)
    del about["data"]["classes"]
    folder.about_file.write_text(json.dumps(about))
    assert folder.about()["data"]["classes"] == []
    del about["data"]["path"]
    folder.about_file.write_text(json.dumps(about))
    with pytest.raises(RunError, match=r"run.json is damaged \(.*: restore it"):
        folder.about()
    folder.about_file.unlink()
    with pytest.raises(RunError, match=r"is an incomplete run \(run.json is missing\)"):
        folder.recipe()
