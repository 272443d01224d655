"""`kennel export`, and `kennel sample` and `kennel judge` of what it writes."""

import json

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kennel.config.recipe import override
from kennel.recipes import get_recipe
from kennel.sampling import generator_file, release_guard
from kennel.training.run import train

FEW_LEVELS = 2
"""Of 255: so far the pixels of a float16 generator may be from those of its float32 one."""


@pytest.fixture
def run(packed_set, tmp_path):
    """A finished run of a few rounds by class, with an average, a spectral norm in the generator."""
    settings = [
        *(
            "generator.base_channels=4",
            "discriminator.base_channels=4",
            "batch_size=8",
            "num_ticks=1",
            "budget.images=32",
        ),
        *(
            "image.size=8",
            "validation.every_ticks=0",
            "num_classes=null",
            "techniques.spectral_norm.networks=both",
        ),
    ]
    train(override(get_recipe("digits"), settings), packed_set(classes=3), tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch) -> None:
    """The search for copies compares few samples by default."""
    monkeypatch.setattr(release_guard, "COUNT", 20)


def pixels(file) -> np.ndarray:
    return np.load(file)["images"].astype(int)


def test_a_file_draws_what_its_run_draws(kennel, run, tmp_path):
    assert kennel("sample", run, "--count", 20, "--out", tmp_path / "run.npz").code == 0
    for dtype, most in (("float32", 0), ("float16", FEW_LEVELS)):
        file = tmp_path / f"{dtype}.safetensors"
        outcome = kennel("export", run, "--out", file, "--dtype", dtype)
        assert outcome.code == 0, outcome.err
        sampled = kennel("sample", file, "--count", 20, "--out", tmp_path / f"{dtype}.npz")
        assert sampled.code == 0, sampled.err
        assert np.abs(pixels(tmp_path / f"{dtype}.npz") - pixels(tmp_path / "run.npz")).max() <= most
        labels = [np.load(tmp_path / f"{name}.npz")["labels"].tolist() for name in (dtype, "run")]
        assert labels[0] == labels[1]


def test_the_same_run_gives_the_same_bytes_and_they_hold_no_path(kennel, run, tmp_path):
    files = [tmp_path / name / "a.safetensors" for name in ("one", "two", "three")]
    for file in files:
        assert kennel("export", run, "--out", file, "--card", file.with_suffix(".md")).code == 0
    assert len({file.read_bytes() for file in files}) == 1
    assert str(tmp_path).encode() not in files[0].read_bytes()
    card = files[0].with_suffix(".md").read_text()
    with safe_open(files[0], "pt") as opened:
        assert opened.metadata()["README.md"] == card
    assert card.startswith("---\nlicense: other\n")
    assert "Not judged yet" in card


def test_a_file_carries_scores_license_note_and_default_truncation(kennel, run, packed_set, tmp_path):
    data = packed_set(classes=3, name="reference")
    judged = kennel(
        "judge", run, "--reference", data, "--extractor", "pixels", "--metrics", "fid", "--count", 40
    )
    assert judged.code == 0, judged.err
    file = tmp_path / "a.safetensors"
    options = ("--truncation", 0.5, "--license", "MIT", "--data-note", "noise of our own")
    assert kennel("export", run, "--out", file, *options, "--card", tmp_path / "card.md").code == 0
    words = generator_file.read(file).metadata
    assert [(score.metric, score.sample_count) for score in words.scores] == [("fid", 40)]
    assert (words.truncation, words.license, words.data.note) == (0.5, "MIT", "noise of our own")
    assert words.classes == ("class 0", "class 1", "class 2")
    assert "license: mit" in (tmp_path / "card.md").read_text()
    kennel("sample", file, "--out", tmp_path / "default.npz")
    kennel("sample", file, "--truncation", 0.5, "--out", tmp_path / "same.npz")
    kennel("sample", file, "--truncation", 100, "--out", tmp_path / "none.npz")
    kennel("sample", run, "--out", tmp_path / "run.npz")
    assert np.array_equal(pixels(tmp_path / "default.npz"), pixels(tmp_path / "same.npz"))
    assert np.abs(pixels(tmp_path / "none.npz") - pixels(tmp_path / "run.npz")).max() <= FEW_LEVELS


def test_a_file_is_judged_like_its_run(kennel, run, packed_set, tmp_path):
    data, file = packed_set(classes=3, name="reference"), tmp_path / "a.safetensors"
    kennel("export", run, "--out", file, "--dtype", "float32")
    options = ("--reference", data, "--extractor", "pixels", "--metrics", "fid", "--count", 40)
    values = []
    for target, scores in ((run, tmp_path / "run.json"), (file, tmp_path / "file.json")):
        outcome = kennel("judge", target, *options, "--json", scores)
        assert outcome.code == 0, outcome.err
        values.append(json.loads(scores.read_text())[0]["value"])
    assert values[0] == values[1]


def test_without_a_place_the_grid_goes_into_the_current_folder(kennel, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert kennel("export", run).code == 0
    assert (run / "exports" / "digits-32-nearest.png").is_file()
    assert kennel("sample", run / "exports" / "digits-32.safetensors", "--count", 4).code == 0
    assert (tmp_path / "digits-32-seeds0-3.png").is_file()


def test_a_truncation_that_no_file_can_have_is_refused(kennel, run, tmp_path):
    for given in ("0.001", "1e7", "nan"):
        outcome = kennel("export", run, "--out", tmp_path / "a.safetensors", "--truncation", given)
        assert outcome.code == 2
        assert "cannot be the default of a file: give one of at least 0.01" in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "a.safetensors").exists()


def test_a_recipe_whose_name_is_a_path_is_exported_into_the_runs_folder(kennel, packed_set, tmp_path):
    settings = [
        "generator.base_channels=4",
        "discriminator.base_channels=4",
        "batch_size=8",
        "num_ticks=1",
        "budget.images=8",
    ]
    recipe = override(get_recipe("digits"), [*settings, "image.size=8", "validation.every_ticks=0"])
    train(recipe.model_copy(update={"name": "../mine/dögs 1"}), packed_set(), tmp_path / "run")
    assert kennel("export", tmp_path / "run", "--guard-count", 0).code == 0
    assert [file.name for file in (tmp_path / "run" / "exports").iterdir()] == [
        "..-mine-dögs-1-8.safetensors"
    ]


def changed(file, change) -> None:
    """Writes the file again with other words, under a seal that holds."""
    found = generator_file.read(file)
    words = found.metadata.model_dump(mode="json")
    change(words)
    generator_file.write(
        file, found.tensors, generator_file.GeneratorMetadata.model_validate(words), found.card
    )


def spoil(file, how) -> None:
    content = bytearray(file.read_bytes())
    replace = {
        "unknown network": ("name: dcgan", "name: dcgna"),
        "other width": ("base_channels: 4", "base_channels: 8"),
        "huge": ("base_channels: 4", "base_channels: 60000"),
        "standing": ("standing_stats_batches: 0", "standing_stats_batches: 999999999"),
    }
    match how:
        case "cut off":
            file.write_bytes(content[: len(content) // 2])
        case "flipped":
            content[-1] ^= 1
            file.write_bytes(content)
        case "words flipped":
            place = content.index(b"images_seen")
            content[place + 15] ^= 1
            file.write_bytes(content)
        case "empty":
            file.write_bytes(b"")
        case "foreign":
            save_file(load_file(file), file)
        case "no classes":
            changed(file, lambda words: words.update(classes=[]))
        case _:
            old, new = replace[how]
            changed(file, lambda words: words.update(recipe=words["recipe"].replace(old, new)))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut off", "cannot be used"),
        ("flipped", "its checksum does not match"),
        ("words flipped", "cannot be used"),
        ("empty", "is not a safetensors file"),
        ("foreign", "not a generator that `kennel export` wrote"),
        ("no classes", "it names 0 classes, and its recipe 3"),
        ("unknown network", "the generator 'dcgna', which is not registered"),
        ("other width", "of shape"),
        ("huge", "of shape"),
        ("standing", "passes of standing statistics"),
    ],
)
def test_a_file_that_does_not_hold_is_one_sentence(kennel, run, tmp_path, how, message):
    file = tmp_path / "a.safetensors"
    assert kennel("export", run, "--out", file).code == 0
    spoil(file, how)
    outcome = kennel("sample", file, "--grid", tmp_path / "grid.png")
    assert outcome.code == 2, outcome.out
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "grid.png").exists()


def test_a_file_that_is_too_large_is_refused_unread(kennel, tmp_path):
    file = tmp_path / "a.safetensors"
    with file.open("wb") as stream:
        stream.truncate(generator_file.MAX_BYTES + 1)
    # A hole takes no room on the disk, and is not read in whole.
    assert "bytes" in kennel("sample", file).err


def test_mistakes_are_answered_in_one_sentence(kennel, run, tmp_path):
    file, checkpoint = tmp_path / "a.safetensors", next((run / "checkpoints").glob("*.safetensors"))
    kennel("export", run, "--out", file)
    for command, message in (
        (("export", run, "--dtype", "float61"), "did you mean 'float16'"),
        (("export", run, "--out", tmp_path / "a.pth"), "does not end in .safetensors (or in .onnx, .pt2"),
        (("export", run, "--out", tmp_path / "a.pt2", "--format", "onnx"), "does not end in .onnx:"),
        (("export", run, "--format", "onxx"), "did you mean 'onnx'"),
        (("export", run, "--format", "torchscript"), "give --format torch-export or onnx"),
        (("export", run, "--format", "onnx", "--dtype", "float16"), "leave --dtype float16 out"),
        (("sample", file, "--playing"), "--playing chooses among those of a run"),
        (("sample", file, "--checkpoint", "best"), "--checkpoint chooses among those of a run"),
        (("sample", checkpoint), "is a checkpoint"),
        (("sample", file, "--class", "clas 1"), "did you mean 'class 1'"),
    ):
        outcome = kennel(*command)
        assert outcome.code == 2, outcome.out
        assert message in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1


def test_the_card_does_not_take_the_files_place(kennel, run, tmp_path):
    one = tmp_path / "a.safetensors"
    outcome = kennel("export", run, "--out", one, "--card", one)
    assert outcome.code == 2
    assert "--out and --card are both" in outcome.err
    assert not one.exists()


def test_an_onnx_file_is_checked_and_has_the_texts_of_the_other_format(kennel, run, tmp_path):
    file = tmp_path / "a.onnx"
    outcome = kennel("export", run, "--out", file, "--license", "MIT", "--card", tmp_path / "a.md")
    assert outcome.code == 0, outcome.err
    assert "Checked with ONNX Runtime" in outcome.out
    texts = {one.key: one.value for one in onnx.load(file).metadata_props}
    assert texts["license"] == "MIT"
    assert texts["README.md"] == (tmp_path / "a.md").read_text()
    assert "onnxruntime.InferenceSession" in texts["README.md"]
    about = generator_file.GeneratorMetadata.model_validate_json(texts["kennel_generator"])
    assert about.dtype == "float32"
    assert about.copies is not None
    assert str(tmp_path).encode() not in file.read_bytes()


def memorizing(monkeypatch, data) -> None:
    """Lets every generator draw the set's first images, mirrored."""
    from kennel.sampling import sampler

    images = np.load(data / "images.npy")

    def drawn(generator, latent, seeds, labels, truncation=None):
        rows = images[[seed % 5 for seed in seeds]][..., ::-1]
        return torch.from_numpy(rows.astype(np.float32)) / 127.5 - 1

    monkeypatch.setattr(sampler, "images_of", drawn)


def test_a_generator_of_copies_is_refused_and_exported_only_on_demand(kennel, run, tmp_path, monkeypatch):
    memorizing(monkeypatch, tmp_path / "set")
    file = tmp_path / "out" / "a.safetensors"
    outcome = kennel("export", run, "--out", file)
    assert outcome.code == 2
    assert "20 of 20 samples (100%) are copies of training images or nearly so" in outcome.err
    assert not file.parent.exists()
    outcome = kennel("export", run, "--out", file, "--accept-copies")
    assert outcome.code == 0, outcome.err
    found = generator_file.read(file)
    assert found.metadata.copies.copies == 20
    assert found.metadata.format == 2
    assert "20 of 20 samples (100%) are too near" in found.card
    with Image.open(tmp_path / "out" / "a-nearest.png") as picture:
        assert "training images" in picture.text["kennel:beside"]
        shown = np.asarray(picture.convert("RGB")).astype(int)
    red = (shown[..., 0] > 150) & (shown[..., 1] < 60)
    assert red.sum() > 100  # the captions of copies


def test_a_generator_of_other_images_is_not_refused(kennel, run, tmp_path):
    outcome = kennel("export", run, "--out", tmp_path / "a.safetensors", "--guard-count", 64)
    assert outcome.code == 0, outcome.err
    search = generator_file.read(tmp_path / "a.safetensors").metadata.copies
    assert (search.count, search.training_count, search.extractor) == (64, 40, "pixels")
    assert search.copies <= 2
    assert "comparing samples, 64 images" in outcome.err


def test_without_the_search_the_file_has_the_first_format_and_the_card_says_so(kennel, run, tmp_path):
    file = tmp_path / "a.safetensors"
    outcome = kennel("export", run, "--out", file, "--guard-count", 0)
    assert "not compared with the training images" in outcome.out
    found = generator_file.read(file)
    assert found.metadata.copies is None
    assert found.metadata.format == 1
    assert "was not examined" in found.card
    with safe_open(file, "pt") as opened:
        assert "copies" not in json.loads(opened.metadata()["kennel_generator"])
    assert not (tmp_path / "a-nearest.png").exists()


def test_the_training_set_has_to_be_there_or_be_given(kennel, run, packed_set, tmp_path):
    file = tmp_path / "a.safetensors"
    (tmp_path / "set").rename(tmp_path / "moved")
    outcome = kennel("export", run, "--out", file)
    assert outcome.code == 2
    assert "give the set it was trained on with --reference, or leave the search" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    other = packed_set(count=30, name="other")
    assert (
        "is not the set that it was trained on"
        in kennel("export", run, "--out", file, "--reference", other).err
    )
    assert not file.exists()
    assert kennel("export", run, "--out", file, "--reference", tmp_path / "moved").code == 0
