"""TensorBoard is an extra: where it is missing, it is said how to get it, and the run goes on."""

import importlib.util

from kennel.training.tensorboard import EventWriter


def test_without_tensorboard_the_way_to_get_it_is_named_and_nothing_is_written(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "tensorboard" else find(name, *more)
    )
    said: list[str] = []
    with EventWriter(tmp_path / "events", said.append) as events:
        events.write({"images": 1, "loss": 0.5})
    assert len(said) == 1
    assert "pip install 'kennel[tensorboard]'" in said[0]
    assert not (tmp_path / "events").exists()
