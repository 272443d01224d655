"""Which run is started when, and what becomes of it: with a launcher that trains nothing."""

import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kennel.runs import checkpoint
from kennel.storage.lock import locked
from kennel.studies import runner
from kennel.studies.config import StudyConfig
from kennel.studies.launch import Attempt, Launcher, Outcome, last_words, train_command
from kennel.studies.matrix import matrix
from kennel.studies.runner import StudyRunner

BUDGET = 80


@dataclass
class FakeAttempt:
    """Ends with the outcome that the script of its run has next; `images` are in the log then."""

    run: object
    outcome: Outcome
    images: int
    begun: bool = False
    device: str = "cpu"
    machine: str = "m1"
    stopped_by: list = field(default_factory=list)
    polls: int = 0

    def poll(self):
        self.polls += 1
        self.begun = True
        if self.polls < 2:
            return None
        if self.images:
            _trained(self.run, self.images)
        return self.outcome

    def stop(self, number):
        self.stopped_by.append(number)
        self.outcome, self.images = Outcome("exit code 130"), 0


@dataclass
class FakeLauncher:
    """`script`: for the label of a run, its attempts as (outcome, images seen at its end)."""

    script: dict
    places: int = 1
    started: list = field(default_factory=list)
    most: int = 0

    def has_room(self):
        return self._busy() < self.places

    def start(self, run):
        number = sum(one.run is run for one in self.started)
        outcomes = self.script.get(run.label, [(Outcome(), BUDGET)])
        self.started.append(FakeAttempt(run, *outcomes[min(number, len(outcomes) - 1)]))
        self.most = max(self.most, self._busy())
        return self.started[-1]

    def _busy(self):
        return sum(one.polls < 2 for one in self.started)


def _trained(run, images):
    """Makes the folder of a run that has seen `images`."""
    run.path.mkdir(parents=True, exist_ok=True)
    run.folder.recipe_file.write_text(run.recipe.to_yaml())
    data = {"path": str(run.set_path), "fingerprint": "0", "count": 40}
    run.folder.about_file.write_text(json.dumps({"data": data}))
    run.folder.log_file.write_text(json.dumps({"images": images}) + "\n")
    run.folder.checkpoints.mkdir(exist_ok=True)
    (run.folder.checkpoints / checkpoint.name_for(images)).touch()


@pytest.fixture
def runs(packed_set, tmp_path, monkeypatch):
    """Two rows with two seeds."""
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.0)
    study = StudyConfig(
        name="s",
        recipes={"a": {"recipe": "digits"}, "b": {"recipe": "digits"}},
        seeds=2,
        images=BUDGET,
        settings=("batch_size=8",),
        data={"x": str(packed_set(size=16))},
    )
    return matrix(study, tmp_path / "out")


def _train(runs, launcher, **more):
    seen, said = {}, []

    def note(states):
        for state in states:
            words = seen.setdefault(state.run.label, [])
            if words[-1:] != [state.words]:
                words.append(state.words)

    one = StudyRunner(runs, launcher, note, said.append)
    return one.train(), one.states, seen, said


def test_runs_are_started_in_their_order_and_no_more_than_there_is_room_for(runs):
    launcher = FakeLauncher({}, places=3)
    assert isinstance(launcher, Launcher)
    whole, states, seen, _ = _train(runs, launcher)
    assert whole
    assert [one.run.label for one in launcher.started] == [run.label for run in runs]
    assert isinstance(launcher.started[0], Attempt)
    assert launcher.most == 3
    assert {state.words for state in states} == {"finished"}
    assert seen["x/a/seed-0"] == ["waiting", "queued", "training", "finished"]
    assert states[0].machine == "m1"


def test_a_finished_run_is_not_started(runs):
    _trained(runs[1], BUDGET)
    _trained(runs[2], BUDGET - 8)
    launcher = FakeLauncher({})
    _train(runs, launcher)
    assert [one.run for one in launcher.started] == [runs[0], runs[2], runs[3]]


def test_a_run_that_lost_its_worker_is_the_next_to_get_another(runs):
    launcher = FakeLauncher(
        {"x/a/seed-0": [(Outcome("m1: WorkerCrashedError", True), 40), (Outcome(), BUDGET)]}
    )
    whole, states, seen, said = _train(runs, launcher)
    assert whole
    assert [one.run.label for one in launcher.started][:3] == ["x/a/seed-0", "x/a/seed-0", "x/b/seed-0"]
    assert "lost its worker, resumed" in seen["x/a/seed-0"]
    assert seen["x/a/seed-0"][-1] == "finished"
    assert (states[0].losses, states[0].failed) == (1, False)
    assert said == ["x/a/seed-0 lost its worker (m1: WorkerCrashedError); it is given to another."]


def test_a_run_that_fails_by_itself_is_not_tried_again(runs):
    launcher = FakeLauncher({"x/a/seed-0": [(Outcome("no such loss"), 0)]})
    whole, states, _, _ = _train(runs, launcher)
    assert whole
    assert len(launcher.started) == len(runs)
    assert (states[0].words, states[0].error) == ("failed", "no such loss")
    assert [state.words for state in states[1:]] == ["finished"] * 3


def test_losses_without_progress_end_and_those_with_progress_do_not(runs):
    lost = Outcome("m1: OutOfMemoryError", True)
    steady = [(lost, images) for images in (8, 16, 24, 32, 40)]
    launcher = FakeLauncher({"x/a/seed-0": [(lost, 40)], "x/b/seed-0": [*steady, (Outcome(), BUDGET)]})
    _, states, _, _ = _train(runs, launcher)
    tries = [one.run.label for one in launcher.started]
    assert tries.count("x/a/seed-0") == runner.MAX_LOSSES
    assert states[0].error == "it lost 3 workers without progress: m1: OutOfMemoryError"
    assert (states[1].words, states[1].losses) == ("finished", 5)


def test_a_run_that_another_process_holds_waits_and_the_others_go_first(runs):
    lock = locked(runs[0].path, "trained", lambda sentence: None)
    lock.__enter__()
    held = True
    launcher = FakeLauncher({})
    seen = []

    def let_go(states):
        nonlocal held
        seen.append(states[0].words)
        if held and all(state.words == "finished" for state in states[1:]):
            lock.__exit__(None, None, None)
            held = False

    assert StudyRunner(runs, launcher, let_go).train()
    assert launcher.started[-1].run is runs[0]
    assert "locked by another process" in seen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_trains_and_nothing_more_is_started(runs, number):
    launcher = FakeLauncher({})
    before = signal.getsignal(number)

    def send(states):
        if states[0].words == "queued":
            os.kill(os.getpid(), number)

    one = StudyRunner(runs, launcher, send)
    assert not one.train()
    assert [attempt.stopped_by for attempt in launcher.started] == [[number]]
    assert [state.words for state in one.states] == ["stopped", "waiting", "waiting", "waiting"]
    assert not any(state.failed for state in one.states)
    assert signal.getsignal(number) == before


def test_a_larger_budget_is_more_to_train(runs, packed_set, tmp_path):
    _trained(runs[0], BUDGET)
    assert runs[0].progress().finished
    recipe = runs[0].recipe.model_copy(update={"budget": type(runs[0].recipe.budget)(images=2 * BUDGET)})
    larger = type(runs[0])(**{**vars(runs[0]), "recipe": recipe})
    assert not larger.progress().finished
    assert larger.progress().total == 2 * BUDGET


def test_the_command_names_every_path_in_full_and_what_is_imported(runs, monkeypatch):
    monkeypatch.chdir(runs[0].set_path.parent)
    relative = type(runs[0])(**{**vars(runs[0]), "set_path": runs[0].set_path.relative_to(Path.cwd())})
    command = train_command(relative, "cpu", ("/x/mine.py",))
    assert command[2] == str(runs[0].set_path)
    assert command[-2:] == ["--import", "/x/mine.py"]
    assert "--hours" not in command
    timed = type(runs[0])(**{**vars(runs[0]), "hours": 0.5})
    assert train_command(timed, "cpu")[-2:] == ["--hours", "0.5"]


def test_the_last_words_are_the_error_line_else_the_last_line_else_the_code():
    assert last_words("Resuming.\nError: no disk\nbye\n", 2) == "no disk"
    assert last_words("Resuming.\nbye\n\n", 2) == "bye"
    assert last_words("", 3) == "exit code 3"
    assert last_words("Error: x", -9) == "it was ended by signal 9"
