"""Checkpoints are whole or are found out."""

import pytest
import torch

from kennel.errors import CheckpointError
from kennel.runs import checkpoint

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}


def test_tensors_and_words_come_back(tmp_path):
    path = tmp_path / checkpoint.name_for(64)
    checkpoint.save(path, TENSORS, {"images_seen": 64, "best": None})
    loaded = checkpoint.load(path)
    assert loaded.images_seen == 64
    assert loaded.metadata["best"] is None
    assert {name: value.tolist() for name, value in loaded.tensors.items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }


def test_the_one_before_a_damaged_checkpoint_is_taken_and_it_is_said(tmp_path):
    for images in (64, 128):
        checkpoint.save(tmp_path / checkpoint.name_for(images), TENSORS, {"images_seen": images})
    newest = tmp_path / checkpoint.name_for(128)
    newest.write_bytes(newest.read_bytes()[:-1])
    said = []
    assert checkpoint.newest(tmp_path, said.append).images_seen == 64
    assert len(said) == 1
    assert str(newest) in str(said[0])


def test_where_none_is_whole_it_is_refused_and_where_none_is_there_is_none(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    (tmp_path / checkpoint.name_for(1)).write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        checkpoint.newest(tmp_path)


def test_one_that_a_training_run_takes_away_meanwhile_is_no_damage(tmp_path, monkeypatch):
    for images in (64, 128):
        checkpoint.save(tmp_path / checkpoint.name_for(images), TENSORS, {"images_seen": images})
    plain = checkpoint.in_folder

    def listed(folder):
        found = plain(folder)
        if len(found) == 2:  # between the list and the reading all are replaced by a newer one
            for path in found:
                path.unlink()
            checkpoint.save(tmp_path / checkpoint.name_for(192), TENSORS, {"images_seen": 192})
        return found

    monkeypatch.setattr(checkpoint, "in_folder", listed)
    said = []
    assert checkpoint.newest(tmp_path, said.append).images_seen == 192
    assert said == []


def test_only_the_newest_are_kept_and_the_best_is_none_of_them(tmp_path):
    for images in (64, 128, 192):
        checkpoint.save(tmp_path / checkpoint.name_for(images), TENSORS, {"images_seen": images})
    checkpoint.save(tmp_path / "best.safetensors", TENSORS, {"images_seen": 64})
    checkpoint.prune(tmp_path, 2)
    assert [int(path.stem) for path in checkpoint.in_folder(tmp_path)] == [192, 128]
    assert (tmp_path / "best.safetensors").exists()


@pytest.mark.parametrize("fused", [False, True])
def test_an_optimisers_count_of_steps_goes_where_its_kernels_want_it(fused):
    scale = torch.nn.Parameter(torch.zeros((), device="meta"))
    weight = torch.nn.Parameter(torch.zeros(2, 3, device="meta"))
    optimiser = torch.optim.Adam([scale, weight])
    optimiser.param_groups[0]["fused"] = fused
    state = {f"{index}.step": torch.tensor(7.0) for index in range(2)}
    for name in ("exp_avg", "exp_avg_sq"):
        state |= {f"0.{name}": torch.zeros(()), f"1.{name}": torch.zeros(2, 3)}
    checkpoint._restore_optimizer(optimiser, state)
    places = {optimiser.state[one]["step"].device.type for one in (scale, weight)}
    assert places == {"meta" if fused else "cpu"}
    assert {optimiser.state[one]["exp_avg"].device.type for one in (scale, weight)} == {"meta"}


def test_a_checkpoint_from_before_the_first_step_leads_back_to_a_new_optimiser():
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.Adam([weight], lr=0.1)
    before = checkpoint._optimizer_state(optimiser)
    weight.grad = torch.ones(3)
    optimiser.step()
    assert before == {}
    assert checkpoint._optimizer_state(optimiser)
    checkpoint._restore_optimizer(optimiser, before)
    assert checkpoint._optimizer_state(optimiser) == {}
