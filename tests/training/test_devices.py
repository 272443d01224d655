"""Of several GPUs the one that was named: what torch takes for granted is told here by fakes."""

from types import SimpleNamespace

import pytest
import torch

from kennel.engine.builder import pick_device
from kennel.engine.nonfinite import NonFiniteGuard

SECOND = torch.device("cuda:1")


@pytest.mark.parametrize(("name", "told"), [("cuda:1", [SECOND]), ("cuda", []), ("cpu", [])])
def test_a_gpu_that_is_named_by_its_number_becomes_the_current_one(name, told, monkeypatch):
    found = []
    monkeypatch.setattr(torch, "empty", lambda count, device: None)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    assert pick_device(name) == torch.device(name)
    assert found == told


class Event:
    """A CUDA event whose stream has done all that came before it."""

    recorded: list[object] = []  # noqa: RUF012 - emptied by its fixture

    def record(self, stream: object = "of the current device") -> None:
        self.recorded.append(stream)

    def query(self) -> bool:
        return True


@pytest.fixture
def noticing(monkeypatch):
    """A sentinel whose flag is on the second GPU, and the values that its copies on the host take."""
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"of {device}")
    monkeypatch.setattr(Event, "recorded", [])
    sentinel, copied = NonFiniteGuard({}), []

    class OnHost:
        value = 0.0

        def copy_(self, flag, non_blocking):
            copied.append(flag)
            self.value = flag.value

        def __bool__(self):
            return self.value > 0

    def zeroed():
        sentinel._flag.value = 0.0

    sentinel._flag = SimpleNamespace(device=SECOND, value=0.0, zero_=zeroed)
    monkeypatch.setattr(torch, "zeros", lambda *shape, **options: OnHost())
    return sentinel


def test_the_copy_of_the_flag_is_waited_for_on_the_flags_own_device(noticing):
    assert not noticing.triggered_async()
    assert Event.recorded == ["of cuda:1"]


def test_what_was_broken_before_a_reset_is_not_reported_after_it(noticing):
    noticing._flag.value = 1.0
    assert not noticing.triggered_async()  # the copy is begun
    assert noticing.triggered_async()
    held = noticing._host_flag
    noticing.reset()
    assert noticing._host_flag is not held  # a copy under way may still write to it
    assert not noticing.triggered_async()
    assert not noticing.triggered_async()
