"""A run that is conditioned on instances: what these are, how they are drawn, and how a run resumes."""

import numpy as np
import pytest
import torch

from kennel.config.recipe import override
from kennel.data.dataset import ImageDataset
from kennel.engine.builder import build_step, resolve, sampling_generator
from kennel.engine.observer import TrainObserver
from kennel.errors import DataError, RecipeError, RunError, UnknownNameError
from kennel.planning import forecast
from kennel.recipes import get_recipe
from kennel.runs import checkpoint
from kennel.runs.pretrained_teacher import teacher_of
from kennel.runs.run_dir import RunDir
from kennel.sampling.export import export
from kennel.sampling.load import load_run
from kennel.sampling.resolve import load_file
from kennel.sampling.sampler import label_weights
from kennel.training.instances import (
    InstanceTable,
    fill_instances,
    instance_table,
    principal_coordinates,
    remaining_time,
)
from kennel.training.run import train
from kennel.training.weight_transfer import transfer_weights

CPU = torch.device("cpu")
TINY = (
    "image.size=32",
    "image.channels=3",
    "generator.base_channels=2",
    "discriminator.features=untrained",
    "discriminator.base_channels=2",
    "discriminator.max_channels=8",
    "instances.extractor=pixels",
    "instances.dim=4",
    "instances.neighbors=2",
    "batch_size=8",
    "num_ticks=4",
    "budget.images=64",
    "validation.every_ticks=0",
)


def recipe(*settings):
    """`projected` at its smallest, with instances by pixels."""
    return override(get_recipe("projected"), [*TINY, *settings])


@pytest.fixture
def data(packed_set):
    """Twelve random color images."""
    return packed_set(count=12, channels=3, size=32)


def table_of(path, *settings, heard=None):
    packed = ImageDataset(path)
    say = (lambda sentence: None) if heard is None else heard.append
    return instance_table(resolve(recipe(*settings), packed), packed, CPU, say)


def test_an_image_is_its_own_nearest_instance_and_vectors_have_one_length(data):
    heard = []
    table = table_of(data, heard=heard)
    assert table.neighbors.shape == (12, 2)
    assert table.neighbors[:, 0].tolist() == list(range(12))
    torch.testing.assert_close(table.vectors.norm(dim=1), torch.full((12,), 2.0))
    assert int(table.counts.sum()) == 24
    assert "12 images by pixels, 4 principal components" in heard[-1]


def test_neighbors_point_the_same_way(data):
    table = table_of(data, "instances.neighbors=3")
    units = table.vectors / 2
    expected = (units @ units.T).topk(3, 1).indices
    assert table.neighbors.tolist() == expected.tolist()


def test_of_a_larger_set_some_images_are_instances(data):
    table = table_of(data, "instances.max_instances=5", "instances.neighbors=1")
    assert table.vectors.shape == (5, 4)
    assert table.neighbors.shape == (12, 1)
    assert sorted(set(table.neighbors.flatten().tolist())) == list(range(5))
    assert int(table.counts.sum()) == 12


def test_principal_coordinates_are_those_of_a_singular_value_decomposition():
    features = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32) * [5, 3, 2, 1, 0.5, 0.1]
    found, share = principal_coordinates(features.astype(np.float32), None, 3)
    left, values, _ = np.linalg.svd(features - features.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found), np.abs(left[:, :3] * values[:3]), atol=1e-4)
    assert share == pytest.approx((values[:3] ** 2).sum() / (values**2).sum())
    wide, whole = principal_coordinates(features.astype(np.float32), None, 9)
    assert wide.shape == (40, 9)
    assert not wide[:, 6:].any()
    assert whole == pytest.approx(1)


@pytest.mark.parametrize(
    ("step", "seconds", "messages"),
    [
        (50, 4.0, ["Instances: 150 of 1,000 images done, about 1 min 8 s left."]),
        (500, 6.0, []),
    ],
)
def test_computing_features_for_long_says_once_how_long_the_rest_takes(monkeypatch, step, seconds, messages):
    now, said = [0.0], []
    monkeypatch.setattr("kennel.training.instances.time.perf_counter", lambda: now[0])
    on_progress = remaining_time(said.append)
    for done in range(0, 1_001, step):
        on_progress(done, 1_000)
        now[0] += seconds
    assert said == messages


def test_images_that_are_all_the_same_are_refused(data):
    images = np.load(data / "images.npy")
    images[:] = images[0]
    np.save(data / "images.npy", images)
    with pytest.raises(DataError, match="are alike for pixels"):
        table_of(data)


def test_a_run_that_stopped_and_went_on_is_the_run_that_never_stopped(data, tmp_path, outcome):
    class Stopping(TrainObserver):
        def on_iteration(self, images_seen, total):
            if images_seen == 24:
                raise KeyboardInterrupt

    assert train(recipe(), data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), data, tmp_path / "stopped", observer=Stopping())
    assert train(recipe(), data, tmp_path / "stopped")
    whole, stopped = outcome(tmp_path / "whole"), outcome(tmp_path / "stopped")
    for one in (whole, stopped):
        del one["words"]["run"], one["words"]["checksum"]
    assert stopped == whole
    found = [checkpoint.newest(RunDir(tmp_path / name).checkpoints) for name in ("whole", "stopped")]
    for name, value in found[0].tensors.items():
        assert torch.equal(value, found[1].tensors[name]), name


@pytest.fixture
def run(data, tmp_path):
    """A run that is over."""
    assert train(recipe(), data, tmp_path / "run")
    return tmp_path / "run"


def test_samples_draw_their_instances_as_often_as_training_shows_them_and_know_no_classes(run, data):
    loaded = load_run(run)
    table = table_of(data)
    assert label_weights(loaded.generator) == tuple(table.counts.tolist())
    batches = list(loaded.samples(4, batch=2))
    assert all(batch.labels is None for batch in batches)
    assert loaded.sampled_set(4).labels is None
    with pytest.raises(RunError, match="is unconditional"):
        loaded.samples(4, label=0)


def test_an_exported_generator_draws_what_the_run_draws(run):
    written = export(run)
    assert written.max_difference <= 1
    exported = load_file(written.path)
    assert label_weights(exported.generator) == label_weights(load_run(run).generator)


def test_a_fork_takes_the_weights_and_keeps_the_vectors_of_its_own_set(run, data):
    wanted = resolve(recipe(), ImageDataset(data))
    step = build_step(wanted, CPU)
    own = torch.randn(12, 4)
    fill_instances(step, InstanceTable(own, torch.arange(12, dtype=torch.int32)[:, None]))
    old = checkpoint.newest(RunDir(run).checkpoints)
    taken = transfer_weights(old, RunDir(run).recipe(), step, wanted)
    assert not taken.new
    generator = step.networks.generator
    assert torch.equal(generator.stem.weight, old.tensors["generator.stem.weight"])
    assert torch.equal(generator.embedding.vectors, own)
    assert torch.equal(sampling_generator(step).embedding.vectors, own)


def test_planning_looks_at_no_image(data, monkeypatch):
    from kennel.training import instances

    monkeypatch.setattr(instances, "open_extractor", None)
    assert forecast(recipe(), data).images_per_second


def test_the_network_that_tells_instances_taught_the_run(data):
    packed = ImageDataset(data)
    assert teacher_of(resolve(recipe(), packed)) == "pixels"
    assert teacher_of(resolve(recipe("instances.neighbors=0"), packed)) is None


@pytest.mark.parametrize("name", ["auto", "pixel"])
def test_instances_go_by_an_extractor_that_is_named(data, name):
    # Whatever "auto" finds would be recorded as no network's teaching.
    with pytest.raises(UnknownNameError, match=f"no extractor for instances '{name}'"):
        teacher_of(resolve(recipe(f"instances.extractor={name}"), ImageDataset(data)))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["instances.neighbors=13"], "is more than the 12 available images: give at most 12"),
        (["num_classes=2"], "conditioned on classes"),
        (["generator.name=mlp"], "the generator mlp takes no instances: use one that does"),
        (["discriminator.conditioning=none"], "the discriminator projected takes no instances"),
        (["instances.neighbors=-1"], "greater than or equal to 0"),
        (["instances.max_instances=1"], "instances.max_instances.*greater than or equal to 2"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(data, settings, complaint):
    with pytest.raises(RecipeError, match=complaint):
        build_step(resolve(recipe(*settings), ImageDataset(data)), CPU)


def test_a_label_is_a_class_or_an_instance(packed_set):
    both = packed_set(count=12, channels=3, size=32, classes=2)
    with pytest.raises(RecipeError, match="on both classes and instances"):
        build_step(resolve(recipe("num_classes=null"), ImageDataset(both)), CPU)


def test_a_recipe_without_instances_keeps_its_fingerprint():
    plain = get_recipe("digits")
    told = override(plain, ["instances.neighbors=2"])
    assert told.fingerprint() != plain.fingerprint()
    assert override(told, ["instances.neighbors=0"]).fingerprint() == plain.fingerprint()
