"""The Slurm script starts torchrun as it says, and goes back to the queue when its time is over."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "slurm" / "train.sbatch"


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """An environment whose Slurm commands write down how they were called."""
    commands = tmp_path / "bin"
    commands.mkdir()
    bodies = {
        "srun": f'echo "srun $@ threads $OMP_NUM_THREADS" >> {tmp_path}/called\n'
        f'trap "exit 1" TERM\nfor i in $(seq 200); do [ -e {tmp_path}/end ] && exit 3; sleep 0.05; done',
        "scancel": f'echo "scancel $@" >> {tmp_path}/called; kill -TERM $(cat {tmp_path}/step)',
        "scontrol": f'[ "$1" = show ] && echo first || echo "scontrol $@" >> {tmp_path}/called',
    }
    bodies["srun"] = f"echo $$ > {tmp_path}/step\n" + bodies["srun"]
    for name, body in bodies.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}\n")
        (commands / name).chmod(0o755)
    told = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    return (
        os.environ
        | told
        | {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "SLURM_GPUS_ON_NODE": "8",
            "SLURM_CPUS_PER_TASK": "64",
        }
    )


def started(slurm: dict[str, str], tmp_path: Path) -> "subprocess.Popen[bytes]":
    """The script, once its step runs."""
    command = ["bash", str(SCRIPT), "biggan", "the set", "run", "--set", "batch_size=256"]
    process = subprocess.Popen(command, env=slurm, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "called").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_the_script_starts_a_rank_for_every_gpu_and_leaves_as_the_step_does(slurm, tmp_path):
    process = started(slurm, tmp_path)
    (tmp_path / "end").touch()
    assert process.wait(timeout=60) == 3
    assert (tmp_path / "called").read_text().splitlines() == [
        "srun torchrun --nnodes 2 --nproc-per-node 8 --max-restarts 3 --rdzv-id 7 --rdzv-backend c10d "
        "--rdzv-endpoint first:29500 -m kennel train biggan --data the set --out run --device cuda "
        "--set batch_size=256 threads 8"
    ]


def test_told_that_the_time_is_over_it_stops_the_step_and_goes_back_to_the_queue(slurm, tmp_path):
    process = started(slurm, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "called").read_text().splitlines()[1:] == [
        "scancel --signal=TERM 7",
        "scontrol requeue 7",
    ]
