"""Of another run's weights those that fit are taken, and the others named and newly initialized."""

import json

import pytest
import torch

from kennel.data.dataset import ImageDataset
from kennel.engine.builder import build_step, resolve
from kennel.errors import CheckpointError, RunError
from kennel.reporting import write_report
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.training.run import train
from kennel.training.weight_transfer import transfer_weights
from observers import StopAt

CPU = torch.device("cpu")


def by_class(recipe):
    """As many checkpoints kept that the first one stays."""
    return recipe.model_copy(update={"keep_checkpoints": 100})


@pytest.fixture
def parent(small_recipe, packed_set, tmp_path):
    """`parent("techniques.x=on", num_classes=4)`: a run that is over."""

    def begun(*settings, **of_set):
        data = packed_set(name="parents", **({"classes": 4} | of_set))
        classes = () if of_set.get("classes") == 0 else ("num_classes=null",)
        assert train(small_recipe(*classes, *settings), data, tmp_path / "old")
        return tmp_path / "old"

    return begun


def newest(run):
    found = checkpoint.newest(RunDir(run).checkpoints)
    assert found is not None
    return found


def taken_into(run, recipe, data):
    """The tensors of `recipe` on `data` before and after it took the weights of `run`; and what it took."""
    whole = resolve(recipe, ImageDataset(data))
    step = build_step(whole, CPU)
    before = checkpoint.collect(step, checkpoint.RunningMeans())
    before = {name: value.clone() for name, value in before.items()}
    parents = RunDir(run)
    same = list(ImageDataset(data).classes) == parents.about()["data"]["classes"]
    taken = transfer_weights(newest(run), parents.recipe(), step, whole, same_classes=same)
    return before, checkpoint.collect(step, checkpoint.RunningMeans()), taken


def test_of_a_model_of_other_classes_all_is_taken_but_what_knows_the_classes(
    parent, small_recipe, packed_set, tmp_path
):
    old = parent()
    data = packed_set(name="children", classes=3, count=50)
    watch = StopAt()
    recipe = by_class(small_recipe("num_classes=null"))
    assert train(recipe, data, tmp_path / "new", parent=old, observer=watch)
    (sentence,) = [one for one in watch.said if "starts with the weights of" in one]
    new = ["generator.label", "discriminator.label"]
    assert sentence.endswith(f"of the numbers), newly initialized {', '.join(new)}.")
    folder = RunDir(tmp_path / "new")
    first, last = checkpoint.load(folder.checkpoints / checkpoint.name_for(0)), newest(old)
    for name, value in first.tensors.items():
        assert "optimizer" not in name
        if ".label." not in name:
            assert torch.equal(value, last.tensors[name]), name
    average = first.tensors["technique.ema.average.label.weight"]
    assert torch.equal(average, first.tensors["generator.label.weight"])
    assert len(average) == 3
    # The parent is recorded where the run goes on, is sampled from, and is read about.
    about = folder.about()["parent"]
    some, whole = about["taken"]
    assert (whole - some, about["new"]) == (2, new)
    assert newest(folder.path).metadata["parent"] == {
        key: about[key] for key in ("run", "images_seen", "checksum")
    }
    page = write_report(folder).read_text()
    assert f"the weights of old at 128 images: {some} of {whole} tensors; newly initialized: " in page
    assert load_run(folder.path).samples(4).pixels().shape == (4, 1, 8, 8)
    assert train(recipe, data, tmp_path / "new", parent=old)


@pytest.mark.parametrize(
    ("settings", "of_set", "new"),
    [
        (("generator.base_channels=8",), {}, "generator.stem"),
        (("latent_dim=7",), {}, "generator.stem"),
        ((), {"channels": 3}, "discriminator.first"),
        ((), {"size": 16}, "generator.stem"),
        (("discriminator.name=mlp", "discriminator.hidden=[8]"), {}, "discriminator.first"),
    ],
)
def test_what_fits_of_other_networks_is_taken_and_the_rest_is_as_it_was(
    parent, small_recipe, packed_set, settings, of_set, new
):
    old = parent(classes=0)
    data = packed_set(name="children", **of_set)
    image = [f"image.{key}={value}" for key, value in of_set.items()]
    before, after, taken = taken_into(old, small_recipe(*settings, *image), data)
    last = newest(old).tensors
    assert new in taken.new
    assert 0 < taken.tensors < taken.of_tensors
    networks = [name for name in after if name.startswith(("generator.", "discriminator."))]
    for name in networks:
        origin = before if name.rpartition(".")[0] in taken.new else last
        assert torch.equal(after[name], origin[name]), name


def test_spectral_norm_may_come_and_go(parent, small_recipe, packed_set, tmp_path):
    old = parent("techniques.spectral_norm=on", classes=0)
    data = tmp_path / "parents"
    _, after, taken = taken_into(old, small_recipe(), data)
    assert taken.new == []
    step = build_step(resolve(small_recipe("techniques.spectral_norm=on"), ImageDataset(data)), CPU)
    checkpoint.restore(newest(old), step, checkpoint.RunningMeans())
    normed = step.networks.discriminator.eval()
    for name, layer in normed.named_modules():
        if hasattr(layer, "parametrizations"):
            plain = after[f"discriminator.{name}.weight"]
            assert torch.allclose(plain, layer.weight, rtol=0.02, atol=1e-4), name
            # And back: the weight that trains is the plain one, and u its first singular vector.
    assert train(small_recipe(), data, tmp_path / "plain")
    _, after, taken = taken_into(tmp_path / "plain", small_recipe("techniques.spectral_norm=on"), data)
    assert taken.new == []
    last = newest(tmp_path / "plain").tensors
    for name, u in after.items():
        if name.endswith("parametrizations.weight.0.u") and name.startswith("discriminator"):
            layer = name.removesuffix(".parametrizations.weight.0.u")
            weight = after[f"{layer}.parametrizations.weight.original"]
            assert torch.equal(weight, last[f"{layer}.weight"])
            matrix = weight.flatten(1)
            assert float((matrix.T @ u).norm()) == pytest.approx(
                float(torch.linalg.matrix_norm(matrix, 2)), rel=0.02
            )


def test_a_reference_batch_keeps_the_childs_labels(parent, small_recipe, packed_set):
    vbn = ("techniques.virtual_batch_norm=on", "techniques.virtual_batch_norm.reference=8")
    old = parent(*vbn, classes=4)
    before, after, taken = taken_into(
        old, small_recipe("num_classes=null", *vbn), packed_set(name="children", classes=2)
    )
    for prefix in ("generator", "technique.ema.average"):
        labels = f"{prefix}.reference_batch.labels"
        assert torch.equal(after[labels], before[labels])
        assert int(after[labels].max()) < 2
    assert "generator.reference_batch" in taken.new


def test_weights_that_are_taken_are_clipped_at_once(parent, small_recipe, tmp_path):
    old = parent(classes=0)
    clipped = small_recipe("techniques.weight_clipping=on")
    _, after, _ = taken_into(old, clipped, tmp_path / "parents")
    largest = [
        float(v.abs().max()) for n, v in after.items() if n.endswith(".weight") and n.startswith("disc")
    ]
    assert max(largest) == pytest.approx(0.01)


def test_a_parent_of_weights_that_are_not_finite_is_refused(parent, small_recipe, tmp_path):
    old = parent(classes=0)
    found = newest(old)
    spoilt = dict(found.tensors)
    spoilt["generator.stem.weight"] = spoilt["generator.stem.weight"] * float("nan")
    words = {name: value for name, value in found.metadata.items() if name != "checksum"}
    checkpoint.save(found.path, spoilt, words)
    there = set(tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=r"weights of generator\.stem to start from are not finite"):
        train(small_recipe(), tmp_path / "parents", tmp_path / "new", parent=old)
    assert set(tmp_path.iterdir()) == there


def test_a_parent_that_is_none_in_a_run_json_is_a_sentence_and_one_that_says_little_a_page(
    parent, small_recipe
):
    old = parent(classes=0)
    about = json.loads((old / "run.json").read_text())
    for origin in ({}, {"path": "p", "images_seen": 3}, {"path": "p", "taken": [1, 2], "new": []}):
        (old / "run.json").write_text(json.dumps(about | {"parent": origin}))
        assert "Initial weights" in write_report(RunDir(old)).read_text()
    for origin in ("x", [1], {"path": 3}, {"taken": ["a", 2]}, {"new": 5}, {"images_seen": 1e999}):
        (old / "run.json").write_text(json.dumps(about | {"parent": origin}))
        with pytest.raises(RunError, match="is damaged"):
            write_report(RunDir(old))
