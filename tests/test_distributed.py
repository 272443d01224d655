"""Two processes that meet, and what becomes of both where one fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kennel import distributed
from kennel.distributed import after_rank_0, meet, own_device, ranks_together
from kennel.errors import DataError, RankError

SCRIPT = str(Path(__file__).with_name("one_meeting.py"))


def test_ranks_meet_and_where_one_fails_rank_0_says_so_and_all_end(two_ranks: Callable[..., Any]) -> None:
    codes, said = two_ranks(SCRIPT)
    assert codes == [0, 9], said
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
