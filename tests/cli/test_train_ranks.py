"""`torchrun ... -m kennel train`: two processes on the CPU, one run folder."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir

TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
SMALL = (
    *(
        "image.channels=1",
        "image.size=8",
        "batch_size=8",
        "generator.base_channels=4",
        "discriminator.base_channels=4",
    ),
    *("validation.num_samples=40", "techniques.ema=on"),
)


def training(data: Path, out: Path, settings: tuple[str, ...]) -> tuple[str, ...]:
    """The arguments of the command."""
    options = [part for setting in (*SMALL, *settings) for part in ("--set", setting)]
    return "train", "digits", "--data", str(data), "--out", str(out), "--device", "cpu", *options


def started(*launcher: str, data: Path, out: Path, settings: tuple[str, ...]) -> "subprocess.Popen[str]":
    """`kennel train digits` by this launcher."""
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "kennel", *training(data, out, settings)],
        env=dict(os.environ) | {"OMP_NUM_THREADS": "1", "KENNEL_CACHE": str(out.parent / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def files(run: Path) -> list[str]:
    """What a run's folder holds; an events file's name without moment and process."""
    names = (path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    return sorted(re.sub(r"tfevents\..*", "tfevents", name) for name in names)


def test_the_folder_of_two_ranks_is_in_kind_that_of_one_process(kennel, packed_set, tmp_path):
    settings, data = ("num_ticks=4", "budget.images=128", "validation.every_ticks=2"), packed_set()
    two = started(*TORCHRUN, data=data, out=tmp_path / "two", settings=settings)
    one = kennel(*training(data, tmp_path / "one", settings))
    said = two.communicate(timeout=200)
    assert (one.code, two.returncode) == (0, 0), (one, said)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert sum(name.startswith("tensorboard/") for name in files(tmp_path / "two")) <= 1
    alone, shared = (RunDir(tmp_path / name).log() for name in ("one", "two"))
    assert [list(line) for line in alone] == [list(line) for line in shared]
    assert [line["images"] for line in shared] == [32, 64, 96, 128]
    for line, same in zip(alone, shared, strict=True):
        for name in set(line) - {"seconds", "images_per_second"}:
            assert same[name] == pytest.approx(line[name], rel=1e-4), name
    lines = [
        [re.sub(r"[\d.]+/s|in [\d:]+|one|two", "", line) for line in out.splitlines()]
        for out in (one.out, said[0])
    ]
    assert lines[0] == lines[1]


@pytest.mark.slow
def test_a_rank_that_is_killed_comes_back_from_the_last_checkpoint_by_itself(packed_set, tmp_path):
    settings, data = ("num_ticks=40", "budget.images=3200", "validation.every_ticks=0"), packed_set()
    whole = started(*TORCHRUN, data=data, out=tmp_path / "whole", settings=settings)
    said = whole.communicate(timeout=300)
    assert whole.returncode == 0, said
    run = RunDir(tmp_path / "killed")
    restarting = (*TORCHRUN[:2], "--max-restarts", "3", *TORCHRUN[2:])
    process = started(*restarting, data=data, out=run.path, settings=settings)
    for place, wanted in enumerate((2, 12)):  # ticks
        deadline = time.monotonic() + 200
        while len(run.log()) < wanted or not checkpoint.in_folder(run.checkpoints):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(children(process.pid)[place], signal.SIGKILL)
        while len(children(process.pid)) == 2 and process.poll() is None:
            time.sleep(0.005)
    said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert said[1].count("Resuming at") + said[0].count("Resuming at") == 2, said
    assert outcome(run.path) == outcome(tmp_path / "whole")


def children(parent: int) -> list[int]:
    """The ranks that a torchrun has started, in the order of their numbers."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], check=False, capture_output=True, text=True
    )
    return sorted(int(line) for line in listed.stdout.split())


def outcome(run: Path) -> dict[str, object]:
    """All that must be equal between two runs: the newest checkpoint, the log but for times, the grids."""
    folder = RunDir(run)
    newest = checkpoint.newest(folder.checkpoints)
    timeless = [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()]
    grids = {path.name: path.read_bytes() for path in sorted(folder.samples.glob("*.png"))}
    return {"checksum": newest.metadata["checksum"], "log": timeless, "grids": grids}
