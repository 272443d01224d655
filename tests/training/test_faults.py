"""What else befalls a run's folder: damage, leftovers, a second process, another kennel."""

import json
import os
import signal
from functools import partial

import pytest
import torch

from kennel.errors import CheckpointError, CheckpointFormatError, RunError
from kennel.reporting import write_report
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.storage import safetensors_io
from kennel.storage.lock import locked
from kennel.training.run import train
from observers import StopAt

Terminated = partial(StopAt, by=signal.SIGTERM)


def damage(path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def test_a_damaged_checkpoint_is_set_aside_and_never_kept_in_place_of_a_whole_one(
    small_recipe, packed_set, tmp_path, outcome
):
    recipe, data = small_recipe("keep_checkpoints=1", "validation.every_ticks=0"), packed_set()
    assert train(recipe, data, tmp_path / "whole")
    assert not train(small_recipe("keep_checkpoints=2"), data, tmp_path / "run", observer=Terminated(72))
    folder = RunDir(tmp_path / "run")
    newest, before = checkpoint.in_folder(folder.checkpoints)
    damage(newest)
    watch = Terminated(72)  # stops again where the damaged one stood
    assert not train(recipe, data, tmp_path / "run", observer=watch)
    assert (
        f"The checkpoint {newest} is damaged: its checksum does not match: it is renamed, and the one "
        "before it is used."
    ) in watch.said
    assert f"Resuming at {int(before.stem)} images." in watch.said
    kept = "Kept checkpoints changed: keep_checkpoints: 2 -> 1."
    assert kept in watch.said
    assert newest.with_name(f"{newest.name}.damaged").exists()
    assert checkpoint.load(checkpoint.in_folder(folder.checkpoints)[0]).images_seen == 72
    assert train(recipe, data, tmp_path / "run")
    there, whole = outcome(tmp_path / "run"), outcome(tmp_path / "whole")
    del there["grids"], whole["grids"]  # the earlier ones name the recipe that kept two
    assert there == whole


VALIDATED = ("validation.every_ticks=1", "validation.num_samples=20")


def test_a_damaged_best_is_told_and_made_again_where_its_checkpoint_is_kept(
    small_recipe, packed_set, tmp_path, outcome
):
    recipe, data = small_recipe(*VALIDATED, "keep_checkpoints=100"), packed_set()
    assert train(recipe, data, tmp_path / "whole")
    assert not train(recipe, data, tmp_path / "run", observer=Terminated(72))
    best = RunDir(tmp_path / "run").best_checkpoint
    before = best.read_bytes()
    damage(best)
    watch = Terminated()
    assert not train(recipe, data, tmp_path / "run", observer=Terminated(80))
    assert checkpoint.load(best).metadata["checksum"] == checksum_in(before, tmp_path)
    damage(best)
    assert train(recipe, data, tmp_path / "run", observer=watch)
    assert any(
        sentence.startswith(f"The checkpoint {best} is damaged") and "it was copied again from" in sentence
        for sentence in watch.said
    )
    assert {**outcome(tmp_path / "run"), "kept": None} == {**outcome(tmp_path / "whole"), "kept": None}


def checksum_in(content: bytes, tmp_path) -> str:
    (tmp_path / "copy.safetensors").write_bytes(content)
    return str(checkpoint.load(tmp_path / "copy.safetensors").metadata["checksum"])


def test_a_damaged_best_whose_checkpoint_is_gone_is_told_and_the_run_goes_on(
    small_recipe, packed_set, tmp_path, outcome, monkeypatch
):
    from kennel.training.validation import Validator

    values = {32: 5.0, 64: 6.0, 96: 7.0, 128: 4.0}
    monkeypatch.setattr(Validator, "values", lambda self, generator, images: {"fid": values[images]})
    recipe, data = small_recipe(*VALIDATED, "keep_checkpoints=1"), packed_set()
    assert not train(recipe, data, tmp_path / "run", observer=Terminated(104))
    best = RunDir(tmp_path / "run").best_checkpoint
    best.write_bytes(b"nothing of use")
    watch = Terminated()
    assert train(recipe, data, tmp_path / "run", observer=watch)
    assert any("the run continues, and the next best replaces it" in sentence for sentence in watch.said)
    assert load_run(tmp_path / "run", "best").images_seen == 128
    assert train(recipe, data, tmp_path / "whole")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_what_a_killed_process_left_is_swept_and_nothing_else(small_recipe, packed_set, tmp_path):
    data = packed_set()
    assert not train(small_recipe(), data, tmp_path / "run", observer=Terminated(72))
    folder = RunDir(tmp_path / "run")
    left = [
        folder.checkpoints / ".000000000096.safetensors.4711.part",
        folder.samples / ".000000000096.png.1.part",
        folder.path / ".log.jsonl.99999.part",
    ]
    mine = [
        folder.path / ".hidden",
        folder.path / "notes.part",
        folder.checkpoints / "kept by hand.safetensors",
        folder.samples / ".thesis.part",
        tmp_path / ".neighbour.1.part",
    ]
    for path in (*left, *mine):
        path.write_text("half")
    assert train(small_recipe(), data, tmp_path / "run")
    assert [path for path in left if path.exists()] == []
    assert [path for path in mine if not path.exists()] == []


def test_a_second_process_is_refused_and_reading_is_not(small_recipe, packed_set, tmp_path):
    recipe, data, out = small_recipe(), packed_set(), tmp_path / "run"
    assert not train(recipe, data, out, observer=Terminated(72))
    there = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with locked(out, "trained", print):
        with pytest.raises(
            RunError, match=rf"is being trained by process {os.getpid()} on .* \(since .*\): wait"
        ):
            train(recipe, data, out)
        assert {path: path.read_bytes() for path in there} == there
        load_run(out).samples(2).pixels()
        write_report(RunDir(out))
        assert train(recipe, data, tmp_path / "fork", parent=out)  # another folder, and this one is only read
    assert train(recipe, data, out)
    assert not (out / ".lock").exists()


def test_a_refused_run_leaves_no_lock_behind(small_recipe, packed_set, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    with pytest.raises(RunError, match="has files but is not a run"):
        train(small_recipe(), packed_set(), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["photo.jpg"]


def test_a_checkpoint_of_a_newer_kennel_is_refused_and_left_alone(
    small_recipe, packed_set, tmp_path, monkeypatch
):
    recipe, data = small_recipe(), packed_set()
    with monkeypatch.context() as newer:
        newer.setattr(safetensors_io, "FORMAT", 3)
        newer.setattr("kennel.__version__", "9.1")
        assert not train(recipe, data, tmp_path / "run", observer=Terminated(72))
    there = {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()}
    with pytest.raises(
        CheckpointFormatError, match=r"has format 3, written by kennel 9\.1, .*: update kennel"
    ):
        train(recipe, data, tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()} == there


@pytest.mark.parametrize("lacking", ["seconds", "best", "best_images", "validations_since_best"])
def test_a_checkpoint_without_what_a_resume_needs_is_refused_by_name(
    small_recipe, packed_set, tmp_path, lacking
):
    recipe, data = small_recipe(), packed_set()
    assert not train(recipe, data, tmp_path / "run", observer=Terminated(72))
    newest = checkpoint.newest(RunDir(tmp_path / "run").checkpoints)
    about = {name: value for name, value in newest.metadata.items() if name not in (lacking, "checksum")}
    checkpoint.save(newest.path, newest.tensors, about)
    with pytest.raises(CheckpointError, match=f"lacks '{lacking}', so kennel did not write it"):
        train(recipe, data, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("generator_optimizer.x.step", ()),
        ("generator_optimizer.999.step", ()),
        ("generator_optimizer.0.step", (3, 3)),
        # A fused kernel that trusted these would write beyond them.
        ("generator_optimizer.0.exp_avg", (1,)),
        ("discriminator_optimizer.0.exp_avg_sq", (2, 0)),
        ("generator_optimizer.0.learning_rate", ()),
        ("generator_optimizer.0.exp_avg", None),
        ("technique.ema.average.stem.weight", (1,)),
        ("technique.ema.another", ()),
        ("technique.ema.average.stem.weight", None),
        ("tally.sum.generator_loss", (5,)),
        ("generator.stem.weight", (1,)),
        ("generator.stem.weight", None),
    ],
)
def test_a_state_that_does_not_fit_is_refused_in_one_sentence_before_a_kernel_trusts_it(
    small_recipe, packed_set, tmp_path, name, shape
):
    recipe, data = small_recipe(), packed_set()
    assert not train(recipe, data, tmp_path / "run", observer=Terminated(72))
    newest = checkpoint.newest(RunDir(tmp_path / "run").checkpoints)
    about = {key: value for key, value in newest.metadata.items() if key != "checksum"}
    tensors = {key: value for key, value in newest.tensors.items() if key != name}
    assert shape is not None or len(tensors) == len(newest.tensors) - 1, name
    if shape is not None:
        tensors[name] = torch.zeros(shape)
    checkpoint.save(newest.path, tensors, about)
    with pytest.raises(CheckpointError, match="was written for other networks") as error:
        train(recipe, data, tmp_path / "run")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"data": 5}', "[" * 100_000])
def test_a_damaged_run_json_is_told_in_one_sentence(small_recipe, packed_set, tmp_path, text):
    data = packed_set()
    assert not train(small_recipe(), data, tmp_path / "run", observer=Terminated(72))
    (tmp_path / "run" / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json is damaged \(.*\): restore it from a copy"):
        train(small_recipe(), data, tmp_path / "run")


def test_events_after_the_point_of_return_are_void_at_once_and_for_any_length_of_tick(
    small_recipe, packed_set, tmp_path, monkeypatch
):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    data, out = packed_set(), tmp_path / "run"
    folder = RunDir(out)

    def steps(tag: str) -> list[int]:
        events = accumulator.EventAccumulator(str(folder.tensorboard))
        events.Reload()
        return [event.step for event in events.Scalars(tag)]

    def killed(*given: object) -> None:
        raise KeyboardInterrupt

    assert not train(small_recipe(), data, out, observer=Terminated(40))
    with monkeypatch.context() as dying:  # after the tick's line and its events, before its checkpoint
        dying.setattr("kennel.training.checkpointing.checkpoint.save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(small_recipe(), data, out)
    assert steps("generator_loss") == [32, 64]
    # Stopped again before the next tick, so that nothing is written in place of what is void.
    assert not train(small_recipe(), data, out, observer=Terminated(48))
    assert steps("generator_loss") == [line["images"] for line in folder.log()] == [32]
    # A clock that was set back, and other ticks: 40 images each from here on.
    monkeypatch.setattr("kennel.training.tensorboard.time.time", lambda: 1_000_000_000.0)
    assert train(small_recipe("budget.images=160"), data, out)
    assert steps("generator_loss") == [line["images"] for line in folder.log()] == [32, 80, 120, 160]
    assert len(list(folder.tensorboard.iterdir())) == 4


def test_a_record_that_a_crash_cut_off_hides_no_later_event(small_recipe, packed_set, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    data, out = packed_set(), tmp_path / "run"
    assert not train(small_recipe(), data, out, observer=Terminated(72))
    (events,) = RunDir(out).tensorboard.iterdir()
    with events.open("ab") as file:
        file.write(b"\x20\0\0\0\0\0")
    assert train(small_recipe(), data, out)
    found = accumulator.EventAccumulator(str(RunDir(out).tensorboard))
    found.Reload()
    assert [event.step for event in found.Scalars("generator_loss")] == [32, 64, 96, 128]


def test_events_of_an_older_kennels_writer_are_gone_on_from(small_recipe, packed_set, tmp_path):
    writers = pytest.importorskip("torch.utils.tensorboard")
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    data, out = packed_set(), tmp_path / "run"
    assert not train(small_recipe(), data, out, observer=Terminated(72))
    folder = RunDir(out)
    for path in folder.tensorboard.iterdir():
        path.unlink()
    with writers.SummaryWriter(str(folder.tensorboard)) as writer:
        for images in (32, 64, 96):
            writer.add_scalar("generator_loss", 0.5, global_step=images)
    assert train(small_recipe(), data, out)
    found = accumulator.EventAccumulator(str(folder.tensorboard))
    found.Reload()
    assert [event.step for event in found.Scalars("generator_loss")] == [32, 64, 96, 128]
    assert json.loads(folder.about_file.read_text())
