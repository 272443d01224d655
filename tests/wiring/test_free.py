"""What is free: a container's limit counts where it is tighter than the machine."""

import sys
from pathlib import Path

import pytest
import torch

from kennel.wiring.forecasting import free


def test_a_containers_limit_counts_with_what_it_can_drop(tmp_path, monkeypatch):
    machine = free.free_memory(torch.device("cpu"))
    assert machine is not None
    assert machine > 1_000_000
    monkeypatch.setattr(free, "_CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("500000\n")
    (tmp_path / "memory.current").write_text("300000\n")
    (tmp_path / "memory.stat").write_text("anon 100000\ninactive_file 40000\nfile 90000\n")
    assert free.free_memory(torch.device("cpu")) == 500_000 - 300_000 + 40_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free.free_memory(torch.device("cpu")) == pytest.approx(machine, rel=0.5)


def test_a_folder_that_is_to_be_has_the_room_of_the_one_above(tmp_path):
    assert free.free_disk(tmp_path / "runs" / "new") == pytest.approx(free.free_disk(tmp_path), rel=0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="how much is used is read from /proc")
def test_the_shells_limit_counts_with_what_is_used(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    machine = free.free_memory(torch.device("cpu"))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda which: (used + 100_000_000, resource.RLIM_INFINITY))
    left = free.free_memory(torch.device("cpu"))
    assert left == pytest.approx(min(machine, 100_000_000), abs=50_000_000)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (used // 2, resource.RLIM_INFINITY))
    assert free.free_memory(torch.device("cpu")) == 0
