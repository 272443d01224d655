"""`kennel tune` as a user meets it: searched, interrupted, continued, shared, and refused."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

from kennel.config.recipe import from_yaml
from kennel.runs.run_dir import RunDir

SETTINGS = (
    "image.size=8",
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "num_ticks=2",
    "validation.extractor=pixels",
    "validation.num_samples=16",
    "compute.precision=float32",
    "budget.images=640",
)
TINY = (
    *(word for setting in SETTINGS for word in ("--set", setting)),
    *("--images", "32", "--device", "cpu"),
    *("--only", "generator_optimizer.learning_rate"),
)


@pytest.fixture
def search(packed_set, tmp_path):
    """The words of a search of the generator's learning rate on 40 tiny images."""
    return ("digits", packed_set(), "--out", tmp_path / "out", *TINY)


def test_a_search_ends_with_a_recipe_that_can_be_trained(kennel, search, tmp_path):
    outcome = kennel("tune", *search, "--trials", 2)
    assert outcome.code == 0, outcome.err
    out = tmp_path / "out"
    assert f"Search: {out}, 2 trials of 32 images" in outcome.err
    assert "trial-000  FID" in outcome.err
    assert "(the recipe's own values)" in outcome.err
    assert "generator_optimizer.learning_rate 0.0005" in " ".join(outcome.out.split())
    assert "2 trials: 2 finished." in outcome.out
    assert f"Train it with the recipe's budget: kennel train {out / 'best.yaml'}" in outcome.out
    assert from_yaml((out / "best.yaml").read_text(), "best.yaml").budget.images == 640
    again = kennel("tune", *search, "--trials", 2)
    assert again.code == 0, again.err
    assert "Continuing after 2 trials; best FID" in again.err
    assert "trial-001  FID" not in again.err
    trained = kennel(
        "train", out / "best.yaml", search[1], "--out", tmp_path / "run", "--images", 64, "--device", "cpu"
    )
    assert trained.code == 0, trained.err
    assert RunDir(tmp_path / "run").recipe().name in ("digits", "digits.tuned")


def test_the_space_is_shown_and_nothing_is_trained(kennel, search, tmp_path):
    outcome = kennel("tune", *search, "--dry-run", "--space", "techniques.ema.half_life_images=1k:5k:log")
    assert outcome.code == 0, outcome.err
    words = " ".join(outcome.out.split())
    assert "generator_optimizer.learning_rate 0.0005 5e-05 to 0.005, log" in words
    assert "techniques.ema.half_life_images 5000 1000 to 5000, log" in words
    assert "30 trials of 32 images, the first with the recipe's own values; score: the best FID of 2" in (
        outcome.out
    )
    assert not (tmp_path / "out").exists()


def test_where_every_trial_fails_the_reasons_are_shown_and_the_exit_code_is_1(kennel, search, tmp_path):
    diverging = ("--set", "discriminator_optimizer.learning_rate=1e30")
    outcome = kennel("tune", *search, "--trials", 2, *diverging)
    assert outcome.code == 1
    assert outcome.err.count("failed: ") == 2
    assert "not finite" in outcome.err
    assert "No trial is finished (2 failed)." in outcome.out
    assert "not finite" in (tmp_path / "out" / "trials.csv").read_text()
    assert not (tmp_path / "out" / "best.yaml").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--space", "batchsize=8,16"), "did you mean 'batch_size'"),
        (("--space", "batch_size=16:8"), "16 is not below 8"),
        (("--space", "batch_size=8,16"), "--space batch_size and --set batch_size contradict"),
        (("--images", "4"), "a trial of 4 images is less than a batch of 8: give more --images"),
        (("--keep", "none"), "there is no way to keep checkpoints 'none'"),
        (("--hours", "1"), "--images and --hours each set the length"),
        (("--set", "validation.every_ticks=0"), "trials are compared by their validation"),
        (("--only", "rate_of_learning"), "there is no searched key"),
        (("--storage", "nonsense"), "--storage is not a database URL"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(kennel, search, tmp_path, more, message):
    outcome = kennel("tune", *search, *more)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "out" / "runs").exists()


def test_without_optuna_the_command_says_what_to_install(kennel, search, monkeypatch):
    monkeypatch.setattr("kennel.tuning.find_spec", lambda name: None)
    outcome = kennel("tune", *search)
    assert outcome.code == 2
    assert "a search needs the optuna library: pip install 'kennel[tune]'" in outcome.err


def test_another_search_in_the_folder_is_refused_with_the_difference(kennel, search):
    assert kennel("tune", *search, "--trials", 1).code == 0
    outcome = kennel("tune", *search, "--trials", 1, "--set", "techniques.ema=off")
    assert outcome.code == 2
    assert "techniques.ema: {'half_life_images': 5000} -> (absent)" in outcome.err


def _start(search, *more) -> subprocess.Popen:
    command = [sys.executable, "-m", "kennel", "tune", *map(str, (*search, *more))]
    environment = {**os.environ, "KENNEL_CACHE": str(search[3].parent / "cache"), "COLUMNS": "200"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _wait_for(file, process) -> None:
    deadline = time.monotonic() + 240
    while not file.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.slow
def test_a_search_that_is_stopped_and_killed_has_the_trials_of_an_undisturbed_one(kennel, search, tmp_path):
    long = ("--trials", 3, "--set", "num_ticks=20", "--images", 1600)
    out = tmp_path / "out"
    stopped = _start(search, *long)
    _wait_for(out / "runs" / "trial-000" / "log.jsonl", stopped)
    stopped.send_signal(signal.SIGINT)
    said, _ = stopped.communicate(timeout=240)
    assert stopped.returncode == 130, said
    assert "Stopped with a checkpoint; the same command continues." in said
    killed = _start(search, *long)
    _wait_for(out / "runs" / "trial-002" / "log.jsonl", killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=240)
    assert kennel("tune", *search, *long).code == 0
    whole = (*search[:3], tmp_path / "whole", *search[4:])
    assert kennel("tune", *whole, *long).code == 0
    found = [_finished(folder) for folder in (out, tmp_path / "whole")]
    assert found[0] == found[1]
    assert len(found[0]) == 3


def _finished(out) -> list[tuple[str, str]]:
    with (out / "trials.csv").open() as file:
        return [
            (row["score"], row["generator_optimizer.learning_rate"])
            for row in csv.DictReader(file)
            if row["state"] == "finished"
        ]


@pytest.mark.slow
def test_two_processes_share_the_trials(search, tmp_path):
    both = [_start(search, "--trials", 5) for _ in range(2)]
    said = [process.communicate(timeout=400)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    found = _finished(tmp_path / "out")
    assert len(found) == 5
    assert len({rate for _, rate in found}) == 5
    assert not (tmp_path / "out" / "workers").exists()
