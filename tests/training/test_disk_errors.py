"""A disk that is full ends the run with one sentence, and takes nothing that was there."""

import errno
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from kennel.errors import RunError
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.training.disk_errors import writing
from kennel.training.run import train

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from kennel.cli import main
main()
"""
"""The command, with no file allowed to grow beyond so many bytes."""


def kennel(script: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        check=False,
    )


def last_sentence(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_a_limit_on_files_ends_the_command_and_leaves_the_checkpoints_whole(
    small_recipe, packed_set, tmp_path, outcome
):
    recipe, data, run = small_recipe(), packed_set(), tmp_path / "run"
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    half = small_recipe("budget.images=64")
    train(half, data, run)
    folder = RunDir(run)
    there = {path: path.read_bytes() for path in checkpoint.in_folder(folder.checkpoints)}
    limit = min(map(len, there.values())) - 200  # the words in it have not always the same length
    done = kennel(LIMITED, limit, "train", file, "--data", data, "--out", run, "--device", "cpu")
    said = last_sentence(done)
    assert re.search(r"a checkpoint of \S+run could not be written, file too large \(it takes up to ", said)
    assert (
        "earlier checkpoints are intact: free some space (you may remove from the run's folder: chec" in said
    )
    assert {path: path.read_bytes() for path in checkpoint.in_folder(folder.checkpoints)} == there
    assert not list(run.rglob("*.part"))
    assert not list(run.rglob(".lock"))
    # With room again the same command goes on as if nothing had been.
    train(recipe, data, run)
    train(half, data, tmp_path / "whole")
    train(recipe, data, tmp_path / "whole")
    assert outcome(run) == outcome(tmp_path / "whole")


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 1 MiB, where the machine lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("this system has no mount")
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves so many bytes of this file system."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast = disk / "ballast"
    ballast.write_bytes(b"\1" * max(0, free - leave))
    return ballast


def test_a_disk_that_fills_at_any_file_ends_the_run_in_one_sentence_and_loses_no_checkpoint(
    small_recipe, packed_set, tmp_path, tiny_disk, outcome
):
    data, run = packed_set(), tiny_disk / "run"
    settings = ("budget.images=640", "num_ticks=20")
    half = small_recipe("budget.images=64", "num_ticks=20")
    train(half, data, run)
    folder = RunDir(run)
    met, page = set(), os.statvfs(tiny_disk).f_frsize
    # Each time there is room for a few pages more, and another file meets the end of the disk.
    for pages in (0, 1, 2, 3, 5, 8, 13, 21, 34):
        before = checkpoint.newest(folder.checkpoints)
        ballast = fill(tiny_disk, pages * page)
        with pytest.raises(RunError) as error:
            train(small_recipe(*settings), data, run)
        ballast.unlink()
        sentence = str(error.value)
        met.add(sentence.partition(" of ")[0])
        assert "no space left on device (" in sentence
        assert "bytes are free on its disk" in sentence
        assert "\n" not in sentence
        after = checkpoint.newest(folder.checkpoints, lambda error: pytest.fail(str(error)))
        assert after.images_seen >= before.images_seen
        assert not list(run.rglob("*.part"))
        text = folder.log_file.read_text()
        assert text.endswith("\n")
        assert len(folder.log()) == len(text.splitlines())
    assert len(met) >= 2, met
    train(small_recipe(*settings), data, run)
    train(half, data, tmp_path / "whole")
    train(small_recipe(*settings), data, tmp_path / "whole")
    assert outcome(run) == outcome(tmp_path / "whole")


def limited(action, size: int) -> None:
    """Calls `action` while no file may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        action()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_line_of_the_log_is_whole_or_not_there(tmp_path):
    folder = RunDir(tmp_path)
    folder.append_log({"images": 1, "loss": 0.5})
    whole = folder.log_file.read_bytes()
    for room in range(1, 20):
        with pytest.raises(OSError, match="File too large"):
            limited(lambda: folder.append_log({"images": 2, "loss": 0.5}), len(whole) + room)
        assert folder.log_file.read_bytes() == whole
    folder.append_log({"images": 2, "loss": 0.5})
    assert [line["images"] for line in folder.log()] == [1, 2]


@pytest.mark.parametrize("cut", ['{"images": 2, "lo', '{"images": 2', "\0\0\0", '{"images": 2, "loss": 1.0}'])
def test_nothing_is_glued_onto_a_line_that_a_crash_cut(tmp_path, cut):
    folder = RunDir(tmp_path)
    folder.append_log({"images": 1})
    with folder.log_file.open("a") as file:
        file.write(cut)
    folder.append_log({"images": 3})
    assert folder.log_file.read_text() == '{"images": 1}\n{"images": 3}\n'


def test_a_log_that_is_nothing_but_a_cut_line_begins_anew(tmp_path):
    folder = RunDir(tmp_path)
    folder.log_file.write_text('{"images"')
    folder.append_log({"images": 3})
    assert folder.log_file.read_text() == '{"images": 3}\n'


def test_a_damaged_line_in_the_middle_costs_no_other_line(tmp_path):
    folder = RunDir(tmp_path)
    folder.log_file.write_bytes(
        b'{"images": 1}\n{"ima\xff\n5\n[]\n{"loss": 2}\n' + b"[" * 9_000 + b'\n{"images": 3}\n'
    )
    assert folder.log() == [{"images": 1}, {"images": 3}]


def test_a_link_in_the_logs_place_is_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("precious")
    folder = RunDir(tmp_path)
    folder.log_file.symlink_to("mine")
    with pytest.raises(OSError, match="symbolic links"):
        folder.append_log({"images": 1})
    assert (tmp_path / "mine").read_text() == "precious"


def test_what_else_the_system_refuses_is_told_without_the_advice_for_a_full_disk(tmp_path):
    with pytest.raises(RunError) as error, writing(RunDir(tmp_path), "a checkpoint", 5):
        raise OSError(errno.EROFS, "Read-only file system", "x")
    assert str(error.value) == (
        f"a checkpoint of {tmp_path} could not be written, read-only file system: x; fix that and run the "
        "same command again"
    )
