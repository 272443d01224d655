"""kill -9 at random moments, most of them within a tick's writing: nothing is lost but the last tick.

The run is tiny and its ticks are a round each, so that most of its time goes into writing. Its processes are
forked from a server that has imported everything, so that a life is a tenth of a second and not three.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from kennel.reporting import write_report
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.training.run import train

START, TICKS = 0.4, 0.06
"""Seconds within which a process is killed after its start, or after its first new tick."""


@pytest.fixture(scope="module")
def processes():
    """A context whose processes are forked from a server that has torch and kennel at hand."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(
        [
            "kennel.training.run",
            "kennel.evaluation.metrics.builtin",
            "torch._dynamo",  # the first optimiser's step imports it
            "torch.utils.tensorboard",
            "PIL.PngImagePlugin",
        ]
    )
    return found


def lives(processes, recipe, data: Path, out: Path, kills: int, seed: int) -> list[str]:
    """Kills the run so often at random moments, starts it again each time, and lets it end at last.

    Gives the temporary files that the killed processes left behind: each was killed within its writing.
    """
    chance, left = random.Random(seed), []
    while kills:
        child = processes.Process(target=train, args=(recipe, data, out))
        child.start()
        if chance.random() < 0.75:
            wait_for_tick(child, out)
            child.join(chance.uniform(0, TICKS))
        else:  # within the start and the way back
            child.join(chance.uniform(0, START))
        assert child.exitcode in (None, 0), "the run failed"
        assert child.exitcode is None, f"the run was over with {kills} kills to go: give it a larger budget"
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills -= 1
        left += [path.name for path in out.rglob("*.part")]
        check_log(out)
    child = processes.Process(target=train, args=(recipe, data, out))
    child.start()
    child.join()
    assert child.exitcode == 0
    return left


def wait_for_tick(child, run: Path) -> None:
    """Until the log has a tick that it had not."""
    log = RunDir(run).log_file
    before, deadline = None, time.monotonic() + 60
    while child.exitcode is None and time.monotonic() < deadline:
        size = log.stat().st_size if log.exists() else 0
        if before is not None and size > before:
            return
        before = size  # a resume makes it shorter
        time.sleep(0.001)


def check_log(run: Path) -> None:
    """Whatever moment it was: whole lines, each tick once and in order, and at most the last one is cut."""
    file = RunDir(run).log_file
    lines = file.read_text().split("\n") if file.exists() else [""]
    seen = [json.loads(line)["images"] for line in lines[:-1]]
    assert seen == sorted(set(seen))


def check_kills(processes, recipe, data: Path, tmp_path: Path, outcome, kills: int) -> list[str]:
    whole = processes.Process(target=train, args=(recipe, data, tmp_path / "whole"))
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    left = lives(processes, recipe, data, tmp_path / "killed", kills, seed=0)
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    for name in ("killed", "whole"):
        assert agree_with_events(tmp_path / name)
    best = [checkpoint.load(RunDir(tmp_path / name).best_checkpoint) for name in ("killed", "whole")]
    assert best[0].metadata["checksum"] == best[1].metadata["checksum"]
    assert best[0].images_seen == best[1].images_seen
    names = {path.name for path in tmp_path.glob("killed/**/*") if "tfevents" not in path.name}
    assert names - {".lock", ".lock.json"} == {
        path.name for path in tmp_path.glob("whole/**/*") if "tfevents" not in path.name
    }
    write_report(RunDir(tmp_path / "killed"))
    return left


def agree_with_events(run: Path) -> bool:
    """Per tag the steps and values of TensorBoard are the log's, where TensorBoard is installed."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    log = RunDir(run).log()
    tags = {name for line in log for name in line} - {"images"}
    told = {tag for tag in events.Tags()["scalars"] if not tag.startswith("spectra_")}
    assert told == tags
    for tag in tags:
        written = [(event.step, event.value) for event in events.Scalars(tag)]
        logged = [(line["images"], line[tag]) for line in log if line.get(tag) is not None]
        assert [step for step, _ in written] == [step for step, _ in logged], tag
        assert [value for _, value in written] == pytest.approx([value for _, value in logged], rel=1e-6)
    return True


def test_a_run_that_is_killed_3_times_is_the_run_that_never_was(
    small_recipe, packed_set, tmp_path, outcome, processes
):
    recipe = small_recipe("budget.images=320", "num_ticks=40", "validation.every_ticks=8")
    check_kills(processes, recipe, packed_set(), tmp_path, outcome, kills=3)


@pytest.mark.slow
def test_a_run_that_is_killed_30_times_is_the_run_that_never_was(
    small_recipe, packed_set, tmp_path, outcome, processes
):
    recipe = small_recipe("budget.images=1600", "num_ticks=200", "validation.every_ticks=8")
    left = check_kills(processes, recipe, packed_set(), tmp_path, outcome, kills=30)
    assert left, "none was killed within its writing: this proves little"
