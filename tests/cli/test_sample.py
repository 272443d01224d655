"""`kennel sample` as a user meets it."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from kennel.config.recipe import override
from kennel.data.dataset import set_fingerprint
from kennel.recipes import get_recipe
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.training.run import train


@pytest.fixture
def run(packed_set, tmp_path):
    """A finished run of a few rounds, with an average."""
    recipe = override(
        get_recipe("digits"),
        [
            "generator.base_channels=4",
            "discriminator.base_channels=4",
            "batch_size=8",
            "num_ticks=2",
            "budget.images=64",
            "image.size=8",
        ],
    )
    train(override(recipe, ["validation.every_ticks=0"]), packed_set(), tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def unbalanced(packed_set):
    """A set of three classes: 4, 12 and 24 of its 40 images."""
    folder = packed_set(classes=3, name="unbalanced")
    labels = np.repeat([0, 1, 2], [4, 12, 24])
    np.save(folder / "labels.npy", labels)
    about = json.loads((folder / "dataset.json").read_text())
    digest = set_fingerprint(np.load(folder / "images.npy"), labels, tuple(about["classes"]))
    (folder / "dataset.json").write_text(json.dumps(about | {"fingerprint": digest}))
    return folder


@pytest.fixture
def unbalanced_run(unbalanced, tmp_path):
    """A finished run by class on it, with standing statistics."""
    widths = [f"{player}.hidden=[8,8]" for player in ("generator", "discriminator")]
    settings = ["batch_size=8", "num_ticks=1", "budget.images=16", "validation.every_ticks=0"]
    train(override(get_recipe("cgan"), [*widths, *settings]), unbalanced, tmp_path / "by-class")
    return tmp_path / "by-class"


@pytest.fixture
def conditional_run(packed_set, tmp_path):
    """A finished run of a recipe that draws by class, of three classes."""
    widths = [f"{player}.hidden=[8,8]" for player in ("generator", "discriminator")]
    settings = ["batch_size=8", "num_ticks=1", "budget.images=16", "validation.every_ticks=0"]
    data = packed_set(classes=3, name="classes")
    train(override(get_recipe("cgan"), [*widths, *settings]), data, tmp_path / "conditional")
    return tmp_path / "conditional"


def test_a_folder_of_pngs_says_that_a_gan_made_them(kennel, run, tmp_path):
    outcome = kennel("sample", run, "--count", 5, "--seed", 10, "--out", tmp_path / "fakes")
    assert outcome.code == 0, outcome.err
    files = sorted((tmp_path / "fakes").iterdir())
    assert [file.name for file in files] == [f"seed{seed:08d}.png" for seed in range(10, 15)]
    with Image.open(files[3]) as image:
        assert image.text["kennel:seed"] == "13"
        assert "generative adversarial network" in image.text["Description"]
        assert image.text["DigitalSourceType"].endswith("trainedAlgorithmicMedia")
        assert len(image.text["kennel:run"]) > 16
        assert image.size == (8, 8)


def test_the_npz_and_the_zip_hold_the_same_pixels_as_the_folder(kennel, run, tmp_path):
    for name in ("fakes", "fakes.zip", "fakes.npz"):
        assert kennel("sample", run, "--count", 70, "--out", tmp_path / name).code == 0
    arrays = np.load(tmp_path / "fakes.npz")
    assert list(arrays) == ["images"]
    assert arrays["images"].shape == (70, 8, 8, 1)
    assert arrays["images"].dtype == np.uint8
    with zipfile.ZipFile(tmp_path / "fakes.zip") as archive:
        assert archive.testzip() is None
        with archive.open("seed00000069.png") as file:
            zipped = np.asarray(Image.open(file))
    assert np.array_equal(zipped, arrays["images"][69, :, :, 0])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "fakes" / "seed00000069.png")), zipped)


def test_a_seed_gives_its_image_whatever_the_batch_and_the_first_seed(kennel, run, tmp_path):
    kennel("sample", run, "--count", 20, "--out", tmp_path / "a.npz")
    kennel("sample", run, "--count", 5, "--seed", 15, "--batch", 2, "--out", tmp_path / "b.npz")
    a, b = (np.load(tmp_path / f"{name}.npz")["images"].astype(int) for name in "ab")
    assert np.abs(a[15:] - b).max() <= 1


def test_without_a_destination_the_grid_lies_with_the_run(kennel, run):
    outcome = kennel("sample", run, "--count", 9)
    assert "averaged weights (EMA)" in outcome.out
    with Image.open(run / "samples" / "seeds0-8.png") as image:
        assert image.text["kennel:seeds"] == "0-8"
        assert image.size == (3 * 66 + 2, 3 * 66 + 2)


def test_the_user_says_how_many_columns_a_grid_has(kennel, run, tmp_path):
    outcome = kennel("sample", run, "--count", 6, "--columns", 6, "--grid", tmp_path / "row.png")
    assert outcome.code == 0, outcome.err
    with Image.open(tmp_path / "row.png") as image:
        assert image.size == (6 * 66 + 2, 66 + 2)


def test_the_playing_generator_and_an_older_checkpoint_can_be_asked_for(kennel, run, tmp_path):
    playing = kennel("sample", run, "--playing", "--out", tmp_path / "playing.npz")
    older = kennel("sample", run, "--checkpoint", 32, "--out", tmp_path / "older.npz")
    kennel("sample", run, "--out", tmp_path / "newest.npz")
    assert "weights without averaging" in playing.out
    assert "at 32 images" in older.out
    images = [np.load(tmp_path / f"{name}.npz")["images"] for name in ("playing", "older", "newest")]
    assert not np.array_equal(images[0], images[2])
    assert not np.array_equal(images[1], images[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class", "dog"], "is unconditional"),
        (["--truncation", "0"], "at least 0.01"),
        (["--grid", "grid.jpg"], "ends in .png"),
        (["--out", "fakes.rar"], "ends in .rar: give a folder"),
        (["--checkpoint", "99"], "one of the numbers of images that are kept: 64, 32"),
        (["--checkpoint", "best"], "has no best checkpoint"),
        (["--columns", "4", "--out", "fakes.zip"], "--columns is for a grid"),
        (["--columns", "4", "--per-class", "2"], "--per-class sets the columns, one row per class"),
        (["--labels", "--out", "fakes.zip"], "--labels is for a grid"),
        (["--keep", "1,x"], "'1,x' is no list of seeds: write --keep 0:9"),
        (["--keep", "1,2", "--count", "3"], "--count and --keep both set the number of images"),
        (["--keep", "1,2", "--seed", "3"], "--keep and --seed both set the seeds"),
        (["--interpolate", "3"], "--interpolate 3 is one seed: give at least 2"),
        (["--interpolate", "0:3", "--sweep", "truncation"], "are two pictures: give one of the two"),
        (["--interpolate", "0:3", "--grid", "grid.png"], "--grid draws samples, not for --interpolate"),
        (["--interpolate", "0:3", "--out", "fakes.avi"], "ends in .gif, .webp, .apng or .mp4"),
        (["--interpolate", "0:3", "--seed", "5"], "--seed is for --morph, --sweep, --like, not for"),
        (["--frames", "5"], "--frames is for --interpolate, --morph, --sweep: leave it out"),
        (["--morph", "a:b"], "is unconditional: leave --morph out"),
        (["--sweep", "noise"], "write --sweep truncation"),
        (["--mix", "0:2", "3"], "has no styles to mix"),
        (["--like", "nosuch.png"], "nosuch.png is not a usable image"),
        (["--like", "nosuch.png", "--out", "fakes.gif"], "ends in .png"),
        (["--steps", "9"], "--steps is for --like: leave it out"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(kennel, run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    outcome = kennel("sample", run, *options)
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("fakes*"))


def test_a_full_folder_is_never_written_into(kennel, run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    outcome = kennel("sample", run, "--out", tmp_path / "mine")
    assert outcome.code == 2
    assert "is not empty" in outcome.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["photo.jpg"]


def test_the_current_folder_is_not_replaced_by_the_samples(kennel, run, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in (".", tmp_path / "here"):
        outcome = kennel("sample", run, "--count", 2, "--out", name)
        assert outcome.code == 2
        assert "is the current folder: give --out a new one" in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1


def test_a_folder_that_is_no_run_is_refused(kennel, tmp_path):
    outcome = kennel("sample", tmp_path)
    assert outcome.code == 2
    assert "is not a run" in outcome.err


def test_what_is_not_there_is_answered_with_what_can_be_sampled_from(kennel, tmp_path):
    outcome = kennel("sample", tmp_path / "nosuch")
    assert outcome.code == 2
    assert "give a run's folder, a .safetensors file of `kennel export`" in outcome.err
    assert "(none is fetched yet)" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_every_class_has_a_row_of_the_same_seeds(kennel, conditional_run, tmp_path):
    outcome = kennel("sample", conditional_run, "--per-class", 4)
    assert outcome.code == 0, outcome.err
    with Image.open(conditional_run / "samples" / "classes-seeds0-3.png") as image:
        assert image.size == (4 * 66 + 2, 3 * 66 + 2)
    kennel("sample", conditional_run, "--per-class", 2, "--seed", 5, "--out", tmp_path / "rows")
    names = [f"seed{seed:08d}-class{label:04d}.png" for seed in (5, 6) for label in range(3)]
    assert sorted(file.name for file in (tmp_path / "rows").iterdir()) == names
    kennel("sample", conditional_run, "--per-class", 2, "--out", tmp_path / "rows.npz")
    assert np.load(tmp_path / "rows.npz")["labels"].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_class_is_asked_for_by_its_name(kennel, conditional_run, tmp_path):
    kennel("sample", conditional_run, "--class", "class 1", "--count", 3, "--out", tmp_path / "one.npz")
    assert np.load(tmp_path / "one.npz")["labels"].tolist() == [1, 1, 1]
    assert "did you mean 'class 1'" in kennel("sample", conditional_run, "--class", "clas 1").err
    counted = kennel("sample", conditional_run, "--count", 5, "--per-class", 2)
    assert "--count and --per-class both set the number of images" in counted.err
    both = kennel("sample", conditional_run, "--class", 1, "--per-class", 2)
    assert both.code == 2
    assert "give one of the two" in both.err


def test_rows_of_classes_are_refused_where_there_are_none(kennel, run):
    outcome = kennel("sample", run, "--per-class", 2)
    assert outcome.code == 2
    assert "is unconditional: leave --per-class out" in outcome.err


def test_a_class_that_is_called_by_a_number_is_meant_by_its_name(conditional_run, monkeypatch):
    from kennel.errors import UnknownNameError
    from kennel.sampling.load import load_run
    from kennel.sampling.sample_files import class_number

    loaded = load_run(conditional_run)
    about = loaded.folder.about()
    about["data"]["classes"] = ["1", "10", "2"]
    monkeypatch.setattr(type(loaded.folder), "about", lambda folder: about)
    assert [class_number(name, loaded) for name in ("10", "2", "0")] == [1, 2, 0]
    with pytest.raises(UnknownNameError):
        class_number("\u00b2", loaded)


def test_memory_that_runs_out_is_one_sentence(kennel, run, monkeypatch):
    def full(*given: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("kennel.sampling.sampler.images_of", full)
    outcome = kennel("sample", run, "--batch", 4096, "--device", "cpu")
    assert outcome.code == 2
    assert (
        outcome.err
        == "Error: the memory of cpu is too small for 4,096 images at a time: give a smaller --batch\n"
    )


def test_classes_come_as_often_as_the_set_has_them_and_uniformly_on_request(kennel, unbalanced_run, tmp_path):
    assert RunDir(unbalanced_run).recipe().class_counts == (4, 12, 24)
    shares = {}
    for how, options in (("default", []), ("data", ["data"]), ("uniform", ["uniform"])):
        given = [part for option in options for part in ("--classes", option)]
        outcome = kennel("sample", unbalanced_run, "--count", 600, *given, "--out", tmp_path / f"{how}.npz")
        assert outcome.code == 0, outcome.err
        shares[how] = np.bincount(np.load(tmp_path / f"{how}.npz")["labels"], minlength=3) / 600
    assert shares["data"].tolist() == shares["default"].tolist()
    assert shares["data"] == pytest.approx([0.1, 0.3, 0.6], abs=0.06)
    assert shares["uniform"] == pytest.approx([1 / 3] * 3, abs=0.06)


def test_ways_of_drawing_classes_that_cannot_be_are_answered(kennel, run, conditional_run):
    for target, options, message in (
        (run, ["--classes", "uniform"], "is unconditional: leave --classes out"),
        (conditional_run, ["--classes", "unifrom"], "uniform"),
        (conditional_run, ["--classes", "data", "--class", "1"], "give one of the two"),
        (conditional_run, ["--classes", "data", "--per-class", "1"], "give one"),
    ):
        outcome = kennel("sample", target, *options)
        assert outcome.code == 2, outcome.out
        assert message in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1


def test_weights_that_are_nan_draw_no_black_pictures(kennel, run, packed_set, tmp_path):
    path = checkpoint.in_folder(RunDir(run).checkpoints)[0]
    found = checkpoint.load(path)
    spoilt = {
        name: value * float("nan") if value.is_floating_point() else value
        for name, value in found.tensors.items()
    }
    words = {name: value for name, value in found.metadata.items() if name != "checksum"}
    checkpoint.save(path, spoilt, words)
    data = packed_set(name="reference")
    for command in (
        ("sample", run, "--grid", tmp_path / "grid.png"),
        ("sample", run, "--out", tmp_path / "fakes"),
        ("sample", run, "--playing", "--out", tmp_path / "fakes.zip"),
        ("judge", run, "--reference", data, "--extractor", "pixels", "--json", tmp_path / "scores.json"),
    ):
        outcome = kennel(*command)
        assert outcome.code == 2, outcome.out
        assert "the generator's images are not finite" in outcome.err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".", "grid", "fakes", "scores"))]


def test_only_the_kept_seeds_are_drawn_in_their_order(kennel, run, tmp_path):
    outcome = kennel("sample", run, "--keep", "40,3,17,3", "--out", tmp_path / "kept")
    assert outcome.code == 0, outcome.err
    names = [f"seed{seed:08d}.png" for seed in (3, 17, 40)]
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == names
    kennel("sample", run, "--keep", "40,3", "--out", tmp_path / "kept.npz")
    kennel("sample", run, "--seed", 40, "--count", 1, "--out", tmp_path / "one.npz")
    kept, one = (np.load(tmp_path / f"{name}.npz")["images"].astype(int) for name in ("kept", "one"))
    assert np.abs(kept[0] - one[0]).max() <= 1
    kennel("sample", run, "--keep", "40,3")
    with Image.open(run / "samples" / "seeds40-3.png") as image:
        assert image.text["kennel:seeds"] == "40,3"


def test_a_contact_sheet_has_seeds_and_classes_under_the_images(kennel, conditional_run, tmp_path):
    plain, sheet = tmp_path / "plain.png", tmp_path / "sheet.png"
    assert kennel("sample", conditional_run, "--per-class", 2, "--grid", plain).code == 0
    outcome = kennel("sample", conditional_run, "--per-class", 2, "--grid", sheet, "--labels")
    assert outcome.code == 0, outcome.err
    with Image.open(sheet) as image:
        width, height = image.size
        assert image.text["kennel:seeds"] == "0-1"
    assert width == 2 * 98 + 2
    assert height > 3 * (98 + 2 * 13)  # two lines of text


def test_a_walk_is_written_next_to_the_run_and_the_same_again(kennel, run, tmp_path):
    outcome = kennel("sample", run, "--interpolate", "0:2", "--frames", 2)
    assert outcome.code == 0, outcome.err
    assert "6 frames, 0.2 s, from the averaged weights (EMA) at 64 images" in outcome.out
    written = run / "samples" / "walk-0-2.gif"
    kennel("sample", run, "--interpolate", "0:2", "--frames", 2, "--out", tmp_path / "again.gif")
    assert written.read_bytes() == (tmp_path / "again.gif").read_bytes()
    with Image.open(written) as image:
        assert (image.n_frames, image.size) == (6, (256, 256))
        assert b"generative adversarial network" in image.info["comment"]
    fixed = kennel(
        "sample", run, "--interpolate", "5,1", "--no-loop", "--frames", 3, "--out", tmp_path / "a.webp"
    )
    assert "4 frames" in fixed.out


def test_a_morph_goes_through_classes_by_name_or_number(kennel, conditional_run, tmp_path):
    morph = ("sample", conditional_run, "--morph")
    outcome = kennel(*morph, "class 0:2", "--frames", 2, "--out", tmp_path / "a.apng")
    assert outcome.code == 0, outcome.err
    with Image.open(tmp_path / "a.apng") as image:
        assert image.n_frames == 4
    assert "did you mean 'class 0'" in kennel(*morph, "clas 0:2").err
    assert "--morph 1 is one class: give at least two" in kennel(*morph, "1").err
    assert "class 9 is out of range" in kennel(*morph, "1:9").err


def test_a_sweep_is_drawn_of_16_seeds(kennel, run, tmp_path):
    outcome = kennel("sample", run, "--sweep", "truncation", "--frames", 3, "--out", tmp_path / "a.gif")
    assert "4 frames" in outcome.out, outcome.err
    with Image.open(tmp_path / "a.gif") as image:
        assert b"kennel:seeds: 0-15" in image.info["comment"]


def test_the_nearest_image_is_found_and_its_distance_printed(kennel, run, tmp_path, monkeypatch):
    from kennel.sampling import image_distance, likeness

    monkeypatch.setattr(image_distance, "NETWORK", "untrained")
    monkeypatch.setattr(likeness, "CANDIDATES", 8)
    Image.new("RGB", (30, 20), "gray").save(tmp_path / "given.png")
    outcome = kennel("sample", run, "--like", tmp_path / "given.png", "--steps", 3)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("Distance ")
    with Image.open(run / "samples" / "like-given.png") as image:
        assert image.size[0] >= 512
        assert "Left: a given image" in image.text["Description"]
