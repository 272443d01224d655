"""What all commands say: brackets mean nothing, and a pipe whose reader is gone ends no run."""

import json
import os
import subprocess
import sys

from rich.table import Table

from kennel.cli.console import console
from kennel.runs.run_dir import RunDir

TINY = (
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "num_ticks=2",
    "image.size=8",
)
QUICK = (
    *(word for setting in (*TINY, "validation.every_ticks=0") for word in ("--set", setting)),
    *("--images", "64", "--device", "cpu"),
)


def test_brackets_in_paths_and_names_are_brackets(kennel, packed_set, tmp_path):
    run = tmp_path / "a[bold]" / "[try1]"
    outcome = kennel("train", "digits", "--data", packed_set(), "--out", run, *QUICK)
    assert outcome.code == 0, outcome.err
    assert f"Report:      {RunDir(run).report}\n" in outcome.out
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
    assert [line["images"] for line in RunDir(tmp_path / "run").log()] == [32, 64]
    assert RunDir(tmp_path / "run").report.is_file()


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
    assert "has files but is not a run (photo.jpg)" in told[0].err


def test_a_device_that_is_not_here_is_answered_with_those_that_are(kennel, packed_set, tmp_path):
    outcome = kennel(
        "train", "digits", "--data", packed_set(), "--out", tmp_path / "run", "--device", "cuda:77"
    )
    assert outcome.code == 2
    assert "the device 'cuda:77' is not available: give auto" in outcome.err
    assert "cuda:77, " not in outcome.err


def test_a_cache_that_cannot_be_made_is_no_fault_of_the_network(kennel, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    kennel("--version")
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "file"))
    outcome = kennel("data", "prepare", "mnist", tmp_path / "set")
    assert outcome.code == 2
    assert "cannot be created (not a directory): set KENNEL_CACHE to a" in outcome.err


def test_a_run_outlives_a_full_disk_under_its_words(packed_set, tmp_path):
    command = [sys.executable, "-m", "kennel", "train", "digits", "--data", str(packed_set()), *QUICK]
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
    for stream, code in (("stderr", 0), ("stdout", 2)):
        run = tmp_path / stream
        with open("/dev/full", "w") as full:  # noqa: PTH123
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
            process = subprocess.run(
                [*command, "--out", str(run)], env=environment, timeout=100, text=True, check=False, **streams
            )
        assert process.returncode == code, process.stderr
        assert [line["images"] for line in RunDir(run).log()] == [32, 64]
        if stream == "stdout":  # what was asked for is lost, and that is said
            assert "no space left on device" in process.stderr
            assert "Traceback" not in process.stderr


def test_escapes_of_a_file_do_not_reach_the_terminal(kennel, packed_set):
    data = packed_set(classes=2)
    about = json.loads((data / "dataset.json").read_text())
    about |= {"classes": ["\x1b[2Ja", "\u202eb"], "fingerprint": "\x1b]0;title\x07", "class_counts": [20, 20]}
    (data / "dataset.json").write_text(json.dumps(about))
    outcome = kennel("data", "show", data)
    assert outcome.code == 0, outcome.err
    about["format"] = "\x1b[2J"
    (data / "dataset.json").write_text(json.dumps(about))
    refused = kennel("data", "show", data)
    assert refused.code == 2
    for text in (outcome.out, outcome.err, refused.out, refused.err):
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(text)
    assert "\\x1b[2Ja" in outcome.out


def test_all_that_is_printed_goes_through_one_place_that_escapes(capsys):
    console.print("a\x1b[2J", Table("\x1b[31mhead"))
    assert "\x1b" not in capsys.readouterr().out


def test_no_home_and_no_entry_in_passwd_is_one_sentence(kennel, monkeypatch):
    for name in ("KENNEL_CACHE", "XDG_CACHE_HOME", "KENNEL_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)

    def nobody() -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", nobody)
    outcome = kennel("extractor", "list")
    assert outcome.code == 2
    assert "set KENNEL_CACHE to a folder" in outcome.err


def test_ctrl_c_while_the_command_starts_is_no_traceback(tmp_path):
    code = (
        "import builtins, sys\nfrom kennel.__main__ import main\nimport_it = builtins.__import__\n"
        "def interrupted(name, *more):\n"
        "    if name == 'typer': raise KeyboardInterrupt\n"
        "    return import_it(name, *more)\n"
        "builtins.__import__ = interrupted\nmain()\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )
    assert outcome.returncode == 130
    assert outcome.stderr == "Aborted.\n"
