"""What all commands say: brackets mean nothing, and a pipe whose reader is gone ends no run."""

import os
import subprocess
import sys

from kennel.run_folder import RunFolder

TINY = ("generator.width=4", "discriminator.width=4", "batch=8", "ticks=2", "image.size=8")
QUICK = (
    *(word for setting in (*TINY, "validation.every_ticks=0") for word in ("--set", setting)),
    *("--images", "64", "--device", "cpu"),
)


def test_brackets_in_paths_and_names_are_brackets(kennel, packed_set, tmp_path):
    run = tmp_path / "a[bold]" / "[try1]"
    outcome = kennel("train", "digits", "--data", packed_set(), "--out", run, *QUICK)
    assert outcome.code == 0, outcome.err
    assert f"Report:      {RunFolder(run).report}\n" in outcome.out
    outcome = kennel("sample", run, "--count", "4", "--out", tmp_path / "o [a[/b].zip", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert outcome.out.endswith("o [a[/b].zip\n")


def test_help_texts_have_all_their_words(kennel):
    outcome = kennel("data", "prepare", "--help")
    for words in ("(stanford_dogs: box)", "(all that are there)", "(one per core)", "(178,956,970)"):
        assert words in " ".join(outcome.out.replace("│", " ").split())


def test_a_run_outlives_the_reader_of_its_words(packed_set, tmp_path):
    command = [sys.executable, "-m", "kennel", "train", "digits", "--data", str(packed_set()), *QUICK]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")],
        env=dict(os.environ) | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=100) == 0
    assert [line["images"] for line in RunFolder(tmp_path / "run").log()] == [32, 64]
    assert RunFolder(tmp_path / "run").report.is_file()


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(kennel, packed_set, tmp_path):
    (tmp_path / "file").touch()
    data = packed_set(classes=2, count=60)
    for command, option in (
        (("plan", "digits", "--data", data, "--json", tmp_path), "give --json a file"),
        (("extractor", "train", data, "--out", tmp_path / "file" / "x"), "give --out a place"),
    ):
        outcome = kennel(*command)
        assert outcome.code == 2
        assert option in outcome.err


def test_a_cache_that_cannot_be_written_to_is_named(kennel, packed_set, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    kennel("--version")
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "file"))
    outcome = kennel("extractor", "train", packed_set(classes=2, count=60))
    assert outcome.code == 2
    assert "give KENNEL_CACHE or --out a place" in outcome.err


def test_plan_refuses_the_folder_that_train_refuses(kennel, packed_set, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "photo.jpg").touch()
    told = [
        kennel(command, "digits", "--data", packed_set(name=command), "--out", tmp_path / "full", *QUICK)
        for command in ("train", "plan")
    ]
    assert [one.code for one in told] == [2, 2]
    assert told[0].err == told[1].err
    assert "holds files but no run (photo.jpg)" in told[0].err


def test_a_device_that_is_not_here_is_answered_with_those_that_are(kennel, packed_set, tmp_path):
    outcome = kennel(
        "train", "digits", "--data", packed_set(), "--out", tmp_path / "run", "--device", "cuda:77"
    )
    assert outcome.code == 2
    assert "the device 'cuda:77' cannot be used here: give auto" in outcome.err
    assert "cuda:77, " not in outcome.err


def test_a_cache_that_cannot_be_made_is_no_fault_of_the_network(kennel, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    kennel("--version")
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "file"))
    outcome = kennel("data", "prepare", "mnist", tmp_path / "set")
    assert outcome.code == 2
    assert "cannot be made (not a directory): set KENNEL_CACHE to a folder" in outcome.err
