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
    assert page.count('<figure class="card both') == 1  # one chart, over images and over time
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
    assert f"tiny: 4 runs, 1 at a time, into {tmp_path / 'out'}" in outcome.out
    assert "of training, without validation and judging" in outcome.out
    assert "Nothing was trained." in outcome.out
    assert not (tmp_path / "out").exists()


def test_a_plan_of_a_row_that_cannot_be_trained_names_it(kennel, study):
    file, options = study
    file.write_text(STUDY.replace("settings: [batch_size=16]", "settings: [loss.name=hinge]"))
    outcome = kennel(
        "study", file, *options, "--rows", "wide", "--set", "techniques.one_sided_smoothing=on", "--dry-run"
    )
    assert outcome.code == 1
    assert "Will fail: noise/wide: the technique one_sided_smoothing needs a loss with labels" in outcome.out


@pytest.mark.slow
def test_a_folder_with_the_runs_of_another_study_is_refused(kennel, study, tmp_path):
    file, options = study
    assert kennel("study", file, *options, "--seeds", 1, "--rows", "small").code == 0
    before = (tmp_path / "out" / "study.yaml").read_text()
    other = kennel("study", file, *options, "--set", "latent_dim=7")
    assert other.code == 2
    assert "small/seed-0 was trained with another recipe (latent_dim: " in other.err
    assert "give another --out" in other.err
    assert (tmp_path / "out" / "study.yaml").read_text() == before


@pytest.mark.slow
def test_what_is_imported_reaches_the_runs(kennel, study, tmp_path):
    file, options = study
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from kennel.losses import LOSSES, Hinge\n"
        "@LOSSES.register('study_test_loss')\n"
        "class StudyTestLoss(Hinge):\n"
        "    pass\n"
    )
    changed = ("--set", "loss.name=study_test_loss", "--set", "techniques.one_sided_smoothing=off")
    outcome = kennel("study", file, *options, "--seeds", 1, "--rows", "small", *changed, "--import", mine)
    assert outcome.code == 0, outcome.out + outcome.err
    assert "noise/small/seed-0: finished" in outcome.out


def test_without_a_name_the_studies_are_listed(kennel):
    outcome = kennel("study")
    assert outcome.code == 0
    assert "zoo" in outcome.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--rows", "smal"), "smal"),
        (("--images", "5", "--hours", "1"), "--images and --hours are ways to say how long"),
        (("--set", "batchsize=5"), "the row small of the study tiny: "),
        (("--set", "batchsize=5"), "batch_size"),
        (("--rows", ","), "--rows names no row: give some of small, wide"),
        (("--data", "noise=digits"), "--data has two sets called noise"),
        (("--address", "auto"), "--address is of a Ray cluster: give --on ray with it"),
        (("--on", "rey"), "there is no place for --on 'rey': did you mean 'ray'?"),
        (("--on", "ray", "--address", "ray://h:1"), "the address ray://h:1 is one of Ray Client"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(kennel, study, tmp_path, more, message):
    file, options = study
    outcome = kennel("study", file, *options, *more)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "out" / "runs").exists()
