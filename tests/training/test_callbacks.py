"""Checkpoints that stay for good, and the one of an epoch."""

import pytest

from kennel.engine.callback import Callback
from kennel.engine.observer import TrainObserver
from kennel.errors import RunError
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.training.run import train


def kept(run) -> list[int]:
    return sorted(int(path.stem) for path in checkpoint.in_folder(RunDir(run).checkpoints))


def test_every_so_manieth_ticks_checkpoint_stays_beside_the_newest(small_recipe, packed_set, tmp_path):
    data = packed_set()
    train(small_recipe("num_ticks=8", "keep_every_ticks=3", "keep_checkpoints=1"), data, tmp_path / "run")
    assert kept(tmp_path / "run") == [48, 96, 128]  # a tick has 16 images
    train(small_recipe("num_ticks=8", "keep_checkpoints=1"), data, tmp_path / "none")
    assert kept(tmp_path / "none") == [128]


def test_what_stays_for_good_stays_when_the_budget_and_the_setting_change(small_recipe, packed_set, tmp_path):
    data, run = packed_set(), tmp_path / "run"
    train(small_recipe("num_ticks=8", "keep_every_ticks=3"), data, run)
    said: list[str] = []

    class Hearing(TrainObserver):
        def log(self, sentence: str) -> None:
            said.append(sentence)

    longer = ("budget.images=256", "keep_every_ticks=5", "keep_checkpoints=1")
    train(small_recipe("num_ticks=8", *longer), data, run, observer=Hearing())
    assert kept(run) == [48, 96, 160, 256]
    (told,) = [line for line in said if "Kept checkpoints changed" in line]
    assert "keep_every_ticks: 3 -> 5" in told


def test_an_epoch_means_the_kept_checkpoint_nearest_to_it_and_others_are_refused(
    small_recipe, packed_set, tmp_path
):
    data, run = packed_set(), tmp_path / "run"
    train(small_recipe("num_ticks=8", "keep_every_ticks=2", "keep_checkpoints=1"), data, run)
    count = RunDir(run).about()["data"]["count"]
    assert kept(run) == [32, 64, 96, 128]
    assert load_run(run, f"epoch:{64 / count:.3g}").images_seen == 64
    assert load_run(run, f"epoch:{(64 + 1) / count}").images_seen == 64
    with pytest.raises(RunError, match=r"no checkpoint of epoch 90, only of these epochs: .*keep_every"):
        load_run(run, "epoch:90")
    with pytest.raises(RunError, match="'epoch:nan' is not an epoch"):
        load_run(run, "epoch:nan")
    with pytest.raises(RunError, match="'epoch:late' is not an epoch"):
        load_run(run, "epoch:late")


def test_a_callback_stops_a_run_with_a_checkpoint_and_the_run_goes_on_later(
    small_recipe, packed_set, tmp_path, outcome
):
    class StopsAt(Callback):
        def on_tick(self, state, entry) -> None:
            if state.images_seen == 64:
                state.stop_requested = True

    data, run = packed_set(), tmp_path / "run"
    assert not train(small_recipe(), data, run, callbacks=[StopsAt()])
    assert [line["images"] for line in RunDir(run).log()] == [32, 64]
    assert kept(run)[-1] == 64
    assert train(small_recipe(), data, run)
    train(small_recipe(), data, tmp_path / "whole")
    assert outcome(run) == outcome(tmp_path / "whole")
