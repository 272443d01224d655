"""TensorBoard is an extra: where it is missing, it is said how to get it, and the run goes on."""

import importlib.util
from pathlib import Path

import pytest

from kennel.training.tensorboard import EventWriter


def shown(folder) -> dict[str, list[int]]:
    """Per tag the steps that TensorBoard's own reader shows."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reading.EventAccumulator(str(folder))
    found.Reload()
    return {tag: [event.step for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_without_tensorboard_the_way_to_get_it_is_named_and_nothing_is_written(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "tensorboard" else find(name, *more)
    )
    said: list[str] = []
    with EventWriter(tmp_path / "events", said.append) as events:
        events.rewind(0)
        events.write({"images": 1, "loss": 0.5})
    assert len(said) == 1
    assert "pip install 'kennel[tensorboard]'" in said[0]
    assert not (tmp_path / "events").exists()


def test_a_rollback_hides_the_events_that_it_leaves_and_no_others(tmp_path):
    pytest.importorskip("tensorboard")
    with EventWriter(tmp_path, print) as events:
        for images in range(10, 200, 10):  # more than ten files within one second
            events.write({"images": images, "loss": 0.5})
            events.write({"images": images + 5, "loss": 0.5})
            events.rewind(images)
        assert shown(tmp_path) == {"loss": list(range(10, 200, 10))}
        events.rewind(50)
        assert shown(tmp_path) == {"loss": [10, 20, 30, 40, 50]}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_an_event_that_cannot_be_written_is_told_to_the_caller_and_not_on_standard_error(
    tmp_path, monkeypatch, capfd
):
    gfile = pytest.importorskip("tensorboard.compat.tensorflow_stub.io.gfile")
    write = gfile.LocalFileSystem._write

    def run_on_a_full_disk() -> None:
        with EventWriter(tmp_path, print) as events:
            events.write({"images": 1, "loss": 0.5})
            monkeypatch.setattr(
                gfile.LocalFileSystem, "_write", lambda self, name, *more: write(self, "/dev/full", *more)
            )
            for images in (2, 3):  # the writer's thread may tell of the first one's with the second
                events.write({"images": images, "loss": 0.5})

    with pytest.raises(OSError, match="No space left"):
        run_on_a_full_disk()
    assert capfd.readouterr() == ("", "")
