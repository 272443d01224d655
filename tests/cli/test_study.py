"""`kennel study` as a user meets it: trained, interrupted, failing, and shown."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from kennel.runs.run_dir import RunDir

STUDY = """
recipes:
  small: digits
  wide: {recipe: digits, settings: [batch_size=16]}
seeds: 2
images: 64
settings:
  - image.size=8
  - generator.base_channels=4
  - discriminator.base_channels=4
  - batch_size=8
  - num_ticks=2
  - validation.extractor=pixels
  - validation.num_samples=16
  - compute.precision=float32
judge: {extractor: pixels, metrics: [fid, recall], count: 30}
"""


@pytest.fixture
def study(packed_set, tmp_path):
    """(file, options of the command): a study of two recipes and two seeds on 40 tiny images."""
    file = tmp_path / "tiny.yaml"
    file.write_text(STUDY)
    return file, ("--data", f"noise={packed_set()}", "--out", tmp_path / "out", "--device", "cpu")


def _tables(out) -> dict:
    """The figures of a study, without times and paths."""
    content = json.loads((out / "results.json").read_text())["data"]["noise"]["comparison"]
    (scores,) = content["scores"]
    values = {
        label: {score["metric"]: score["value"] for score in found}
        for label, found in scores["scores"].items()
    }
    return {
        "values": values,
        "floor": (scores["floor"], scores["floor_count"]),
        "settings": content["settings"],
    }


def test_a_study_is_trained_judged_and_written_and_does_nothing_twice(kennel, study, tmp_path):
    file, options = study
    outcome = kennel("study", file, *options)
    assert outcome.code == 0, outcome.err
    out = tmp_path / "out"
    assert "noise/small/seed-0: training" in outcome.out
    assert "noise/wide/seed-1: finished" in outcome.out
    names = {path.name for path in out.iterdir()}
    assert {"results.html", "results.md", "results.tex", "results.json", "noise.csv", "noise.png"} <= names
    found = _tables(out)
    assert set(found["values"]) == {f"{row}/seed-{seed}" for row in ("small", "wide") for seed in (0, 1)}
    assert found["floor"][1] == 20
    assert found["settings"] == [{"key": "batch_size", "values": [8, 16, 8, 16]}]
    markdown = (out / "results.md").read_text()
    assert "mean ± standard deviation over seeds" in markdown
    assert "Difference from small, over seeds" in markdown
    page = (out / "results.html").read_text()
    assert page.count("<svg ") == 1
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}
    again = kennel("study", file, *options)
    assert again.code == 0, again.err
    assert "training" not in again.out
    assert _tables(out) == found
    after = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*") if path.is_file()}
    assert {path.name for path in before if after.get(path) != before[path]} <= {".lock"}


@pytest.mark.slow
def test_a_study_that_is_stopped_twice_ends_with_the_same_table(kennel, study, tmp_path):
    file, options = study
    fewer = ("--seeds", 1, "--jobs", 2)
    whole = kennel("study", file, *options[:2], "--out", tmp_path / "undisturbed", *options[4:], *fewer)
    assert whole.code == 0, whole.err
    lines = whole.out.splitlines()  # both at the same time
    assert lines.index("noise/wide/seed-0: training") < lines.index("noise/small/seed-0: finished")
    command = [sys.executable, "-m", "kennel", "study", str(file), *map(str, (*options, *fewer))]
    environment = {**os.environ, "KENNEL_CACHE": str(tmp_path / "cache")}
    for number, kind in enumerate((signal.SIGINT, signal.SIGKILL)):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        waited_for = tmp_path / "out" / "runs" / "noise" / ("small", "wide")[number] / "seed-0" / "run.json"
        deadline = time.monotonic() + 120
        while not waited_for.is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(kind)
        process.communicate(timeout=120)
        assert process.returncode in (130, 0, -signal.SIGKILL)
    outcome = kennel("study", file, *options, *fewer)
    assert outcome.code == 0, outcome.err + outcome.out
    assert _tables(tmp_path / "out") == _tables(tmp_path / "undisturbed")


def test_a_run_that_fails_is_named_and_the_others_go_on(kennel, study, tmp_path):
    file, options = study
    file.write_text(STUDY.replace("settings: [batch_size=16]", "settings: [loss.name=hinge]"))
    outcome = kennel("study", file, *options, "--seeds", 1, "--set", "techniques.one_sided_smoothing=on")
    assert outcome.code == 1
    failed = "Failed: noise/wide/seed-0: the technique one_sided_smoothing needs a loss with labels"
    assert failed in outcome.out
    assert RunDir(tmp_path / "out" / "runs" / "noise" / "small" / "seed-0").exists()
    assert "noise/wide/seed-0 failed: the technique" in (tmp_path / "out" / "results.md").read_text()


def test_a_plan_shows_runs_time_and_disk_and_trains_nothing(kennel, study, tmp_path):
    file, options = study
    outcome = kennel("study", file, *options, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert "tiny: 4 runs, 1 at a time" in outcome.out
    assert "of training, without validation and judging" in outcome.out
    assert not (tmp_path / "out").exists()


def test_without_a_name_the_studies_are_listed(kennel):
    outcome = kennel("study")
    assert outcome.code == 0
    assert "zoo" in outcome.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--rows", "smal"), "smal"),
        (("--images", "5", "--hours", "1"), "--images and --hours are ways to say how long"),
        (("--set", "batchsize=5"), "batch_size"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(kennel, study, tmp_path, more, message):
    file, options = study
    outcome = kennel("study", file, *options, *more)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "out" / "runs").exists()
