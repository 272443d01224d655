"""Whoever asks a run to stop gets a checkpoint soon, also in mid-validation, and nothing is lost."""

import importlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kennel import cancellation
from kennel.engine.observer import TrainObserver
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.training.run import train
from kennel.training.signals import PARENT, stop_on_signals

VALIDATED = (
    "budget.images=64",
    "num_ticks=2",
    "validation.every_ticks=1",
    "validation.extra_metrics=recall,kid,prd_f8",
    "validation.patience=100",
)
SEAMS = ("features.extract", "evaluation.judge", "evaluation.metrics.kid", "evaluation.metrics.prd")
"""Modules that a validation by these metrics goes through, in which it may be given up."""


@pytest.fixture
def at_seam(monkeypatch):
    """`at_seam(number, signal)`: at the so-manieth seam of a validation the process gets the signal."""
    seams = [f"kennel.{name}" for name in SEAMS]
    passed = []

    def send(number: int, which: int) -> list[str]:
        passed.clear()

        def counted(place: str):
            def seam() -> None:
                passed.append(place)
                if len(passed) == number:
                    signal.raise_signal(which)
                cancellation.raise_if_cancelled()

            return seam

        for place in seams:
            monkeypatch.setattr(importlib.import_module(place), "raise_if_cancelled", counted(place))
        return passed

    return send


def test_a_validation_is_given_up_at_any_seam_and_done_again_as_if_nothing_had_been(
    small_recipe, packed_set, tmp_path, outcome, at_seam
):
    recipe, data = small_recipe(*VALIDATED), packed_set()
    passed = at_seam(0, signal.SIGTERM)
    assert train(recipe, data, tmp_path / "whole")
    seams = len(passed)
    assert set(passed) == {f"kennel.{one}" for one in SEAMS}
    in_kid, in_prd = (
        passed.index("kennel.evaluation.metrics.kid") + 50,
        passed.index("kennel.evaluation.metrics.prd") + 5,
    )
    # The reference's pass, a pass over samples, within KID and PRD, and at the last tick.
    for run, number in enumerate((1, 2, in_kid, in_prd, seams - 3)):
        at_seam(number, signal.SIGTERM if run % 2 else signal.SIGINT)
        out = tmp_path / f"stopped {number}"
        assert not train(recipe, data, out)
        newest = checkpoint.newest(RunDir(out).checkpoints)
        assert newest is not None
        assert newest.metadata["tick_due"]
        assert newest.images_seen % 32 == 0
        assert [line["images"] for line in RunDir(out).log()] == list(range(32, newest.images_seen, 32))
        at_seam(0, signal.SIGTERM)
        assert train(recipe, data, out)
        assert outcome(out) == outcome(tmp_path / "whole")


def test_a_tick_that_is_due_again_and_again_is_the_same_tick(
    small_recipe, packed_set, tmp_path, outcome, at_seam
):
    recipe, data = small_recipe(*VALIDATED), packed_set()
    assert train(recipe, data, tmp_path / "whole")
    for number in (1, 2, 3, 4):
        at_seam(number, signal.SIGTERM)
        assert not train(recipe, data, tmp_path / "stopped")
    at_seam(0, signal.SIGTERM)
    assert train(recipe, data, tmp_path / "stopped")
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


def test_a_seam_costs_nothing_where_nobody_asked():
    cancellation.raise_if_cancelled()
    with pytest.raises(cancellation.CancelledError), cancellation.cancel_when(lambda: True):
        cancellation.raise_if_cancelled()
    cancellation.raise_if_cancelled()


class Heard(TrainObserver):
    def __init__(self) -> None:
        self.by: list[int] = []

    def on_stop_requested(self, by: int) -> None:
        self.by.append(by)


@pytest.fixture(autouse=True)
def signals_as_a_terminal_leaves_them():
    """`nohup` starts the tests with SIGHUP ignored, and a shell's background with SIGINT."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_is_a_flag_and_the_handlers_of_before_come_back(name):
    number, watch = getattr(signal, name), Heard()
    before = signal.getsignal(number)
    with stop_on_signals(watch) as asked:
        assert not asked()
        signal.raise_signal(number)
        assert asked()
    assert watch.by == [number]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_second_signal_leaves_at_once_but_not_one_that_was_passed_on_twice(name, monkeypatch):
    number, watch = getattr(signal, name), Heard()
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def asked_three_times() -> None:
        with stop_on_signals(watch):
            signal.raise_signal(number)
            signal.raise_signal(number)
            clock[0] += 1.5
            signal.raise_signal(number)
            raise AssertionError("it went on")

    with pytest.raises(SystemExit) as leaving:
        asked_three_times()
    assert leaving.value.code == 128 + number
    assert watch.by == [number]


def test_a_second_ctrl_c_is_immediate():
    def asked_twice() -> None:
        with stop_on_signals(TrainObserver()):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        asked_twice()


def test_a_hang_up_that_nohup_switched_off_stays_off():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals(TrainObserver()) as asked:
            signal.raise_signal(signal.SIGHUP)
            assert not asked()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_watch_that_cannot_speak_any_more_stops_nothing():
    class Gone(TrainObserver):
        def on_stop_requested(self, by: int) -> None:
            raise OSError(5, "Input/output error")

    with stop_on_signals(Gone()) as asked:
        signal.raise_signal(signal.SIGTERM)
        assert asked()


@pytest.mark.parametrize(
    ("name", "code"),
    [("SIGTERM", 143), pytest.param("SIGINT", 130, marks=pytest.mark.slow)],
)
def test_the_command_ends_within_seconds_with_the_signals_code(
    name, code, small_recipe, packed_set, tmp_path
):
    with started(
        small_recipe, packed_set, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        wait_for_tick(tmp_path / "run", child)
        child.send_signal(getattr(signal, name))
        asked = time.monotonic()
        out, _ = child.communicate(timeout=60)
        assert time.monotonic() - asked < 20  # the report's figures and a busy machine included
    assert child.returncode == code, out
    assert "Stopped with a checkpoint" in out


def test_a_terminal_that_closes_leaves_a_checkpoint(small_recipe, packed_set, tmp_path):
    pty = pytest.importorskip("pty")
    controller, terminal = pty.openpty()
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    with started(small_recipe, packed_set, tmp_path, "leads", **streams) as child:
        os.close(terminal)
        wait_for_tick(tmp_path / "run", child, controller)
        os.close(controller)  # the kernel sends SIGHUP, and writing to the terminal fails from now on
        assert child.wait(timeout=60) == 128 + signal.SIGHUP
    folder = RunDir(tmp_path / "run")
    last = folder.log()[-1]["images"]
    newest = checkpoint.newest(folder.checkpoints)
    assert newest is not None
    assert newest.images_seen >= last
    assert folder.report.is_file()


CHILD = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if sys.argv.pop(1) == "leads":
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from kennel.cli import main
main()
"""
"""The command with its signals switched on; where it "leads", its input becomes its terminal."""


@contextmanager
def started(
    small_recipe, packed_set, tmp_path, place: str = "follows", **streams
) -> Iterator[subprocess.Popen]:
    """`kennel train` on a long run in a process of its own."""
    file = tmp_path / "recipe.yaml"
    file.write_text(small_recipe("budget.images=10M", "num_ticks=100000").to_yaml())
    command = ("train", file, "--data", packed_set(), "--out", tmp_path / "run", "--device", "cpu")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, place, *map(str, command)],
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        **streams,
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def wait_for_tick(run, child, controller: int | None = None) -> None:
    deadline = time.monotonic() + 60
    while len(RunDir(run).log()) < 2:
        assert child.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline, "no tick in a minute"
        time.sleep(0.05)
        while controller is not None and select.select([controller], [], [], 0)[0]:
            os.read(controller, 100_000)


def test_a_run_whose_parent_is_gone_is_asked_to_stop(monkeypatch):
    monkeypatch.setenv(PARENT, str(os.getppid()))
    with stop_on_signals(TrainObserver()) as requested:
        assert not requested()
        monkeypatch.setattr(os, "getppid", lambda: 1_000_000)
        assert requested()
    monkeypatch.delenv(PARENT)
    with stop_on_signals(TrainObserver()) as requested:
        assert not requested()
