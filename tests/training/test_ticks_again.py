"""A tick that is done again, since it was given up or did not come to its end, leaves what it leaves once."""

import signal

import pytest

from kennel import cancellation
from kennel.engine.singular_values import VALUES
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.training.run import train

WATCHED = (
    "budget.images=160",
    "num_ticks=5",
    "validation.every_ticks=1",
    # So low a bar that healthy runs raise the alarm.
    "alarms.falling_diversity={below: 0.99999, ticks: 1}",
    "alarms.exploding_spectrum={factor: 1.00001, within: 1}",
)


def watched(run) -> dict[str, object]:
    """What a run tells, but for times."""
    folder = RunDir(run)
    tensors = checkpoint.newest(folder.checkpoints).tensors
    return {
        "log": [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()],
        "spectra": folder.spectra(),
        "alarms": folder.alarms(),
        "tensors": {name: value.tolist() for name, value in tensors.items()},
        "events": [one for one in events(run) if "second" not in one[1]],
    }


def events(run) -> list[tuple[int, str, object]]:
    """What TensorBoard's own reader shows: (images, tag, number or text)."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.plugin_event_accumulator")
    from tensorboard.util.tensor_util import make_ndarray

    found = reading.EventAccumulator(str(RunDir(run).tensorboard), {"tensors": 0})
    found.Reload()
    shown = []
    for tag in found.Tags()["tensors"]:
        plugin = found.SummaryMetadata(tag).plugin_data.plugin_name
        assert plugin == ("text" if tag == "alarms/text_summary" else "scalars")
        for one in found.Tensors(tag):
            value = make_ndarray(one.tensor_proto).item()
            shown.append((one.step, tag, value.decode() if plugin == "text" else value))
    return sorted(shown, key=lambda one: (one[1], one[0]))


@pytest.fixture
def given_up(monkeypatch):
    """`given_up(call)`: the call's so-manieth seam of a judgement brings a SIGTERM."""

    def at(number: int, call) -> object:
        left = number

        def seam() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGTERM)
            cancellation.raise_if_cancelled()

        with monkeypatch.context() as patch:
            patch.setattr("kennel.evaluation.judge.raise_if_cancelled", seam)
            return call()

    return at


def test_a_validation_that_was_given_up_changes_no_alarm_spectrum_event_or_tensor(
    small_recipe, packed_set, tmp_path, given_up
):
    recipe, data = small_recipe(*WATCHED), packed_set()
    assert train(recipe, data, tmp_path / "whole")
    assert RunDir(tmp_path / "whole").alarms()
    for seam in (1, 2, 3):
        assert not given_up(seam, lambda: train(recipe, data, tmp_path / "stopped"))
    assert train(recipe, data, tmp_path / "stopped")
    assert watched(tmp_path / "stopped") == watched(tmp_path / "whole")


@pytest.mark.parametrize(
    "place",
    [
        "callbacks.LogWriter.on_tick",
        "callbacks.TensorBoardWriter.on_tick",
        "checkpointing.CheckpointWriter.save",
    ],
)
def test_a_due_tick_that_is_killed_leaves_no_line_twice(
    place, small_recipe, packed_set, tmp_path, given_up, monkeypatch
):
    recipe, data = small_recipe(*WATCHED), packed_set()
    assert train(recipe, data, tmp_path / "whole")
    due = RunDir(tmp_path / "whole").alarms()[0]["images"]
    seam = due // 32  # one for each judgement
    assert not given_up(seam, lambda: train(recipe, data, tmp_path / "killed"))
    newest = checkpoint.newest(RunDir(tmp_path / "killed").checkpoints)
    assert (newest.images_seen, newest.metadata["tick_due"]) == (due, True)

    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"kennel.training.{place}", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, data, tmp_path / "killed")
    assert RunDir(tmp_path / "killed").spectra()[-1]["images"] == due
    assert train(recipe, data, tmp_path / "killed")
    assert watched(tmp_path / "killed") == watched(tmp_path / "whole")


def test_a_run_that_stops_before_its_first_round_looks_at_its_first_weights_once(
    small_recipe, packed_set, tmp_path, monkeypatch
):
    recipe, data = small_recipe(*WATCHED), packed_set()
    assert train(recipe, data, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("kennel.training.rank_sync.RankSync.should_stop", lambda self: True)
        for _ in range(2):
            assert not train(recipe, data, tmp_path / "stopped")
    assert train(recipe, data, tmp_path / "stopped")
    assert watched(tmp_path / "stopped") == watched(tmp_path / "whole")


def test_tensorboard_reads_alarms_as_text_and_spectra_in_groups(small_recipe, packed_set, tmp_path):
    assert train(small_recipe(*WATCHED), packed_set(), tmp_path / "run")
    folder, read = RunDir(tmp_path / "run"), events(tmp_path / "run")
    texts = [(step, value) for step, tag, value in read if tag == "alarms/text_summary"]
    assert texts == [(line["images"], line["alarms"]) for line in folder.log() if "alarms" in line]
    for line in folder.spectra()[1:]:  # that of 0 images has no tick
        for player in ("generator", "discriminator"):
            for layer, values in line[player].items():
                tags = [f"spectra_{player}/{layer}/sigma_{number}" for number in range(len(values))]
                assert len(tags) <= VALUES
                told = [value for step, tag, value in read if step == line["images"] and tag in tags]
                assert told == pytest.approx(values, rel=1e-6)
