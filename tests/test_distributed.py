"""Two processes that meet, and what becomes of both where one fails."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from kennel import distributed
from kennel.distributed import after_rank_0, meet, own_device, ranks_together
from kennel.errors import DataError, RankError

SCRIPT = str(Path(__file__).with_name("one_meeting.py"))


def free_ports(count: int) -> list[str]:
    """Ports that nobody has, each another."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in sockets]


def test_ranks_meet_and_where_one_fails_rank_0_says_so_and_all_end() -> None:
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "", "OMP_NUM_THREADS": "1"}
    ports = free_ports(5)
    ranks = [
        subprocess.Popen(
            [sys.executable, SCRIPT, *ports],
            env=dict(os.environ) | told | {"RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    said = [process.communicate(timeout=100) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 9], said
    least, rows = -(2**62), [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert said[0][0].splitlines() == [
        f"2 {[(10, least), (11, least + 1)]} {rows} 0 {[(7,), (8,)]}",
        "well []",
        "SystemExit(2) ['[Errno 28] No space left on device']",
        "SystemExit(2) ['in words: 7.png is damaged: mend or remove it']",
        "SystemExit(2) [\"rank 1 failed by ZeroDivisionError('by zero'): see its traceback\"]",
        "SystemExit(2) ['another rank has died, or was not heard of for 0:30:00: look for what it said, "
        "and start all of them again']",
    ]
    assert said[1][0].splitlines() == [
        *("well []", "SystemExit(2) []", "SystemExit(2) []", "ZeroDivisionError('by zero') []")
    ]


def test_a_process_alone_meets_itself_and_errors_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks_together(pytest.fail, str):
        assert meet(3, 4) == [(3, 4)]
        assert after_rank_0(lambda: "made") == "made"
    with pytest.raises(DataError, match="as it is"), ranks_together(pytest.fail, str):
        raise DataError("as it is")
    assert own_device(torch.device("cuda")) == torch.device("cuda")


def test_each_rank_has_a_gpu_of_its_own_or_is_told_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(distributed, "_running", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert own_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert own_device(torch.device("cuda:0")) == torch.device("cuda", 0)
    assert own_device(torch.device("cpu")) == torch.device("cpu")
    assert chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(
        RankError, match="this machine has 2 GPUs and more ranks: start torchrun with --nproc"
    ):
        own_device(torch.device("cuda"))
