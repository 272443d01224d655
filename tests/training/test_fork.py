"""A new run from another's weights: `test_taking` looks at those that do not fit."""

import json
import shutil

import pytest
import torch

from kennel.engine.observer import TrainObserver
from kennel.errors import CheckpointError, RecipeError, RunError
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.training.run import train
from observers import StopAt


@pytest.fixture
def parent(small_recipe, packed_set, tmp_path, once):
    """A run that is over, a copy of the test's own, and its set."""
    data = packed_set()

    def output(folder) -> None:
        assert train(small_recipe(), data, folder / "old")

    shutil.copytree(once("parent", output) / "old", tmp_path / "old")
    return tmp_path / "old", data


def first_checkpoint(run) -> checkpoint.Checkpoint:
    return checkpoint.load(RunDir(run).checkpoints / checkpoint.name_for(0))


def kept_first(recipe):
    """The same with so many checkpoints kept that the first one stays."""
    return recipe.model_copy(update={"keep_checkpoints": 100})


def test_a_changed_recipe_is_refused_with_the_way_to_fork(parent, small_recipe):
    old, data = parent
    with pytest.raises(
        RecipeError, match=r"batch_size: 8 -> 16.*--out NEW --init-from .* to start a new run"
    ):
        train(small_recipe("batch_size=16"), data, old)


def test_a_fork_begins_at_0_images_with_the_weights_the_average_and_new_optimisers(
    parent, small_recipe, tmp_path
):
    old, data = parent
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    watch = StopAt()
    recipe = kept_first(
        small_recipe("batch_size=16", "loss.name=lsgan", "generator_optimizer.learning_rate=1e-3")
    )
    assert train(recipe, data, tmp_path / "new", parent=old, observer=watch)
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
    last, first = checkpoint.newest(RunDir(old).checkpoints), first_checkpoint(tmp_path / "new")
    assert last is not None
    for name, value in first.tensors.items():
        assert "optimizer" not in name
        assert torch.equal(value, last.tensors[name]), name
    assert any(name.startswith("technique.ema.") for name in first.tensors)
    assert (first.images_seen, first.metadata["seconds"], first.metadata["best"]) == (0, 0.0, None)
    folder = RunDir(tmp_path / "new")
    assert [line["images"] for line in folder.log()] == [32, 64, 96, 128]
    assert folder.recipe().batch_size == 16
    assert folder.about()["parent"] == {
        "path": str(old.resolve()),
        "run": last.metadata["run"],
        "fingerprint": RunDir(old).fingerprint(),
        "images_seen": 128,
        "checksum": last.metadata["checksum"],
    }
    # Its first grid is the parent's last one: the same weights, the same latents.
    grids = [
        run / "samples" / name for run, name in ((old, "000000000128.png"), (folder.path, "000000000000.png"))
    ]
    assert pixels(grids[0]) == pixels(grids[1])
    assert f"{tmp_path / 'new'} starts with the weights of {old} at 128 images." in watch.said
    assert not list(tmp_path.glob(".*"))


def pixels(path) -> bytes:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.tobytes()


def test_the_same_command_again_goes_on_with_the_fork(parent, small_recipe, tmp_path, outcome):
    old, data = parent
    recipe = small_recipe("batch_size=16")
    assert train(recipe, data, tmp_path / "whole", parent=old)

    class Enough(TrainObserver):
        def on_iteration(self, images_seen: int, total: int) -> None:
            if images_seen == 48:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, tmp_path / "new", parent=old, observer=Enough())
    assert train(recipe, data, tmp_path / "new", parent=old)
    assert train(recipe, data, tmp_path / "new")  # it is a run like any other
    assert outcome(tmp_path / "new") == outcome(tmp_path / "whole")


def test_a_technique_that_begins_anew_is_named_and_its_copies_are_of_the_forked_weights(
    parent, small_recipe, packed_set, tmp_path
):
    old, data = parent
    bare = kept_first(small_recipe().model_copy(update={"techniques": ()}))
    assert train(bare, data, tmp_path / "bare", parent=old)
    watch = StopAt()
    recipe = kept_first(small_recipe("techniques.historical_averaging=on"))
    assert train(recipe, data, tmp_path / "new", parent=tmp_path / "bare", observer=watch)
    assert any("; without the state of ema, historical_averaging." in sentence for sentence in watch.said), (
        watch.said
    )
    first = first_checkpoint(tmp_path / "new")
    average, generator = first.below("technique.ema.average"), first.below("generator")
    assert all(torch.equal(average[name], value) for name, value in generator.items())
    past = first.below("technique.historical_averaging.generator.mean")
    assert all(torch.equal(value, generator[name]) for name, value in past.items())


def test_a_set_of_other_pictures_may_follow(parent, small_recipe, packed_set, tmp_path):
    old, _ = parent
    other = packed_set(count=50, name="other")
    assert train(small_recipe(), other, tmp_path / "new", parent=old)


def test_networks_of_which_nothing_fits_are_refused_and_nothing_is_written(parent, small_recipe, tmp_path):
    old, data = parent
    there = set(tmp_path.iterdir())
    other = small_recipe("generator.name=mlp", "discriminator.name=mlp")
    message = r"no layer of the networks in .* \(dcgan and dcgan\) fits those of this recipe \(mlp and mlp"
    with pytest.raises(CheckpointError, match=message) as error:
        train(other, data, tmp_path / "new", parent=old)
    assert "\n" not in str(error.value)
    assert set(tmp_path.iterdir()) == there


def test_a_folder_that_is_in_use_and_a_parent_that_is_no_run_are_refused(
    parent, small_recipe, packed_set, tmp_path
):
    old, data = parent
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    with pytest.raises(RunError, match="has files but is not a run"):
        train(small_recipe(), data, tmp_path / "mine", parent=old)
    with pytest.raises(RunError, match="is not a run"):
        train(small_recipe(), data, tmp_path / "new", parent=tmp_path / "mine")
    assert train(small_recipe(), data, tmp_path / "another")
    with pytest.raises(RunError, match=r"did not start from .*: give another --out"):
        train(small_recipe(), data, tmp_path / "another", parent=old)
    for path in checkpoint.in_folder(RunDir(old).checkpoints):
        path.unlink()
    with pytest.raises(RunError, match="has no checkpoint yet to start from"):
        train(small_recipe(), data, tmp_path / "new", parent=old)
    assert not (tmp_path / "new").exists()


def test_a_damaged_newest_of_the_parent_is_told_and_the_one_before_is_taken(parent, small_recipe, tmp_path):
    old, data = parent
    newest = checkpoint.in_folder(RunDir(old).checkpoints)[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    watch = StopAt()
    assert train(small_recipe(), data, tmp_path / "new", parent=old, observer=watch)
    assert json.loads((tmp_path / "new" / "run.json").read_text())["parent"]["images_seen"] == 96
    assert any("the one before is used" in sentence for sentence in watch.said)
    assert newest.exists()  # the parent's folder is only read


def test_a_disk_that_is_full_leaves_no_half_fork(parent, small_recipe, tmp_path, monkeypatch):
    old, data = parent
    there = set(tmp_path.iterdir())

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(RunError, match=r"new cannot be created from .*old: no space left on device"):
        train(small_recipe(), data, tmp_path / "new", parent=old)
    assert set(tmp_path.iterdir()) == there
