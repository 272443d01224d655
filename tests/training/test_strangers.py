"""Checkpoints and sets that are not a run's own, by whatever name they lie in its folder."""

import json
import shutil

import numpy as np
import pytest

from kennel.errors import CheckpointError, DataError, OtherRunError, RunError
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.training.rollback import _newest_good
from kennel.training.run import train
from observers import StopAt


@pytest.fixture
def two_runs(small_recipe, packed_set, tmp_path):
    """Two finished runs that differ in their seed."""
    data = packed_set()
    for name, seed in (("own", 1), ("other", 2)):
        assert train(small_recipe(f"seed={seed}"), data, tmp_path / name)
    return RunDir(tmp_path / "own"), RunDir(tmp_path / "other"), data


def test_another_runs_checkpoint_is_refused_by_sample_judge_and_rollback(two_runs):
    own, other, _ = two_runs
    name = checkpoint.name_for(96)
    shutil.copy(other.checkpoints / name, own.checkpoints / name)
    with pytest.raises(CheckpointError, match="is of another run"):
        load_run(own.path, "96")
    with pytest.raises(CheckpointError, match="is of another run"):
        load_run(own.path, str(other.checkpoints / name))
    assert load_run(own.path, "128").images_seen == 128
    told = []
    assert _newest_good(own, 96, told.append) is None
    assert "is of another run" in told[0]


def test_a_recipe_that_was_edited_by_hand_is_told_as_such(two_runs, small_recipe, tmp_path):
    own, other, data = two_runs
    shutil.copy(other.recipe_file, own.recipe_file)
    watch = StopAt()
    with pytest.raises(OtherRunError, match=r"2 checkpoints in .* are intact, but of another recipe"):
        train(small_recipe("seed=2"), data, own.path, observer=watch)
    assert not list(own.checkpoints.glob("*.damaged"))
    assert not any("it is renamed" in sentence for sentence in watch.said)


def test_a_run_whose_run_json_is_gone_is_told_so_by_train(two_runs, small_recipe):
    own, _, data = two_runs
    own.about_file.unlink()
    with pytest.raises(RunError, match=r"is an incomplete run \(run\.json is missing\)"):
        train(small_recipe("seed=1"), data, own.path)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy"])
def test_pixels_and_labels_that_were_changed_under_a_run_are_refused(
    small_recipe, packed_set, tmp_path, name
):
    data = packed_set(classes=2)
    recipe = small_recipe("num_classes=0")
    assert train(recipe, data, tmp_path / "run")
    array = np.load(data / name)
    array[-1] = 1 - array[-1] if name == "labels.npy" else 255 - array[-1]
    np.save(data / name, array)
    with pytest.raises(DataError, match="have changed since the run began"):
        train(recipe, data, tmp_path / "run")
    with pytest.raises(DataError, match=r"do not match its dataset\.json"):
        train(recipe, data, tmp_path / "new")
    assert not (tmp_path / "new" / "recipe.yaml").exists()


@pytest.mark.parametrize("rollbacks", ["many", [1], 10**400, -1, True])
def test_rollbacks_of_another_kind_are_a_damaged_checkpoint(two_runs, rollbacks):
    from kennel.storage import safetensors_io

    own, _, _ = two_runs
    path = own.checkpoints / checkpoint.name_for(128)
    tensors, about = safetensors_io.read(path)
    for word in ("format", "kennel", "checksum"):
        del about[word]
    safetensors_io.write(path, tensors, about | {"rollbacks": rollbacks})
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


def test_a_run_json_of_the_wrong_kind_is_one_sentence(two_runs):
    own, _, _ = two_runs
    good = json.loads(own.about_file.read_text())
    for part, value in (("count", 0), ("count", "1"), ("classes", [1]), ("path", 5)):
        own.about_file.write_text(json.dumps({**good, "data": {**good["data"], part: value}}))
        with pytest.raises(RunError, match=r"run\.json is damaged"):
            own.about()
    own.about_file.write_text(json.dumps({**good, "versions": [1]}))
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        own.about()
