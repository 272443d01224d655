"""How large a set may be that is held: what the system says is free, and what the user says."""

import sys
from pathlib import Path

import pytest
import torch

from kennel.data.memory_budget import HOST_SHARE, free_bytes, free_host_bytes, memory_on, parse_memory
from kennel.errors import DataError

GIB = 1 << 30


@pytest.fixture
def root(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable:  8388608 kB\n")
    return tmp_path


def test_free_memory_is_what_the_system_calls_available(root):
    assert free_host_bytes(root) == 8 * GIB


@pytest.mark.parametrize(
    ("folder", "limit", "used", "cached"),
    [
        ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_container_leaves_its_limit_less_what_is_taken_cached_files_not_counted(
    root, folder, limit, used, cached
):
    (root / folder).mkdir(parents=True)
    (root / folder / limit).write_text(f"{4 * GIB}\n")
    (root / folder / used).write_text(f"{3 * GIB}\n")
    (root / folder / "memory.stat").write_text(f"anon 5\n{cached} {2 * GIB}\n")
    assert free_host_bytes(root) == 3 * GIB
    (root / folder / limit).write_text("max\n" if limit == "memory.max" else f"{1 << 62}\n")
    assert free_host_bytes(root) == 8 * GIB


def test_without_linuxs_files_there_is_an_answer_all_the_same(tmp_path):
    assert free_host_bytes(tmp_path) >= 0


def test_ranks_of_one_machine_divide_its_memory(monkeypatch):
    monkeypatch.setattr("kennel.data.memory_budget.free_host_bytes", lambda: 8 * GIB)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert memory_on(torch.device("cpu")) == int(8 * GIB * HOST_SHARE)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_on(torch.device("cpu")) == int(8 * GIB * HOST_SHARE) // 4


def test_what_the_user_says():
    assert parse_memory("auto") is None
    assert parse_memory("never") == 0
    assert parse_memory("always") > 1 << 60
    assert [parse_memory(text) for text in ("8G", "8GiB", "8gb", "0.5T", "100M", "12345")] == [
        *(8 * GIB, 8 * GIB, 8 * GIB, 512 * GIB, 100 << 20, 12345)
    ]


@pytest.mark.parametrize("text", ["", "plenty", "-1G", "8X", "G"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(DataError, match="such as 8G"):
        parse_memory(text)


@pytest.mark.skipif(sys.platform != "linux", reason="how much is used is read from /proc")
def test_the_shells_limit_counts_with_what_is_used(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    machine = free_bytes(torch.device("cpu"))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda which: (used + 100_000_000, resource.RLIM_INFINITY))
    left = free_bytes(torch.device("cpu"))
    assert left == pytest.approx(min(machine, 100_000_000), abs=50_000_000)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (used // 2, resource.RLIM_INFINITY))
    assert free_bytes(torch.device("cpu")) == 0
