"""Where each rank computes: its own GPU, or a refusal in a sentence."""

from types import SimpleNamespace

import pytest
import torch

from kennel.distributed import devices
from kennel.distributed.devices import own_device, training_device
from kennel.errors import RankError

CPU, CUDA, FIRST, SECOND = (torch.device(name) for name in ("cpu", "cuda", "cuda:0", "cuda:1"))


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The GPUs that were set: of the second of two ranks on a machine with two GPUs."""
    chosen: list[int] = []
    monkeypatch.setattr(devices, "world_size", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"GPU-{device.index}")
    )
    monkeypatch.setenv("LOCAL_RANK", "1")
    return chosen


def with_rank_0_on(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other rank is on this device of the machine."""
    other = (devices.KINDS.index(device.type), devices._identity(device))
    monkeypatch.setattr(devices, "all_gather_ints", lambda *own: [other, own])


def test_a_process_alone_computes_where_it_was_told():
    for device in (CPU, CUDA, FIRST, torch.device("mps")):
        assert own_device(device) == training_device(device) == device


def test_each_rank_has_a_gpu_of_its_own_or_is_told_how_many_there_are(chosen, monkeypatch):
    with_rank_0_on(FIRST, monkeypatch)
    assert own_device(CUDA) == training_device(CUDA) == SECOND
    assert chosen == [1, 1]
    assert own_device(FIRST) == FIRST
    assert own_device(CPU) == CPU
    assert chosen == [1, 1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    there_are = "this machine has 2 GPUs but more ranks: start torchrun with --nproc-per-node 2, or "
    with pytest.raises(RankError, match=f"{there_are}name one GPU for all with --device cuda:0"):
        own_device(CUDA)
    with pytest.raises(RankError, match=f"{there_are}compute on the CPU with --device cpu"):
        training_device(CUDA)


def test_ranks_that_train_need_a_gpu_each(chosen, monkeypatch):
    with_rank_0_on(SECOND, monkeypatch)
    assert training_device(FIRST) == FIRST
    with pytest.raises(RankError, match="ranks 0 and 1 would train on one GPU, but each needs its own: give"):
        training_device(SECOND)


def test_ranks_that_train_on_the_cpu_share_it(chosen, monkeypatch):
    with_rank_0_on(CPU, monkeypatch)
    assert training_device(CPU) == CPU


def test_ranks_that_train_have_one_kind_of_device(chosen, monkeypatch):
    with_rank_0_on(CPU, monkeypatch)
    with pytest.raises(RankError, match="rank 1 would train on cuda but rank 0 on cpu: give all ranks the"):
        training_device(CUDA)


def test_several_ranks_may_judge_on_mps_and_not_train_there(chosen):
    mps = torch.device("mps")
    assert own_device(mps) == mps
    with pytest.raises(
        RankError, match=r"several ranks cannot train on MPS, .*: give --device cpu, or train"
    ):
        training_device(mps)
