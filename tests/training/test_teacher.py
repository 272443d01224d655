"""A run that a pretrained network taught: it says so, and that network does not choose its best."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file

from kennel.data.image_files import open_images
from kennel.errors import RecipeError
from kennel.features import factory, related_extractors
from kennel.features.mobilenet import MOBILENET_WEIGHTS, MobileNet
from kennel.features.mobilenet_network import MobileNetGraph
from kennel.features.weights import weights_folder
from kennel.networks import DISCRIMINATORS
from kennel.networks.dcgan import DcganDiscriminator
from kennel.reporting.html import write_report
from kennel.runs import checkpoint
from kennel.runs.pretrained_teacher import teacher_of
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run, sampled_set
from kennel.sampling.sample_files import write_samples
from kennel.training.run import train
from observers import StopAt

BY_A_TEACHER = "discriminator.name=looks_through"


class LooksThrough(DcganDiscriminator):
    """A discriminator that says that it looks through MobileNetV2, as its option has it."""

    @property
    def teacher(self):
        return "mobilenet" if self.options.base_channels < 100 else None


@pytest.fixture(autouse=True)
def _a_discriminator_with_a_teacher(monkeypatch):
    known = {**DISCRIMINATORS._entries, "looks_through": LooksThrough}
    monkeypatch.setattr(DISCRIMINATORS, "_entries", known)


@pytest.fixture
def taught(small_recipe, packed_set, tmp_path):
    """`taught("a=1", out="run")`: a trained run that MobileNetV2 taught, its folder and what was said."""
    data = packed_set(size=8)

    def make(*settings, out="run", **options):
        watch = StopAt()
        recipe = small_recipe(
            BY_A_TEACHER, "discriminator.base_channels=4", "budget.images=32", "num_ticks=2", *settings
        )
        assert train(recipe, data, tmp_path / out, observer=watch, **options)
        return RunDir(tmp_path / out), watch.said

    return make


def test_the_teacher_of_a_recipe_is_what_its_discriminator_says(small_recipe):
    named = small_recipe(BY_A_TEACHER)
    assert teacher_of(small_recipe()) is None
    assert teacher_of(named.model_copy(update={"num_classes": 0})) == "mobilenet"


def test_a_run_its_checkpoints_and_its_samples_say_what_taught_it(taught, tmp_path):
    folder, _ = taught()
    assert folder.about()["teacher"] == "mobilenet"
    assert checkpoint.newest(folder.checkpoints).metadata["teacher"] == "mobilenet"
    loaded = load_run(folder.path)
    assert loaded.teacher == sampled_set(folder.path, 4).teacher == "mobilenet"
    for name in ("fakes.npz", "fakes.zip", "fakes"):
        write_samples(tmp_path / name, loaded.samples(3), loaded, lambda done, total: None)
        assert open_images(tmp_path / name).teacher == "mobilenet"
    grid = next(folder.samples.glob("*.png"))
    assert Image.open(grid).text["kennel:teacher"] == "mobilenet"


def test_what_nothing_taught_says_nothing_of_a_teacher(small_recipe, packed_set, tmp_path):
    train(small_recipe("budget.images=32", "num_ticks=2"), packed_set(), tmp_path / "run")
    folder = RunDir(tmp_path / "run")
    assert folder.about()["teacher"] is None
    assert "teacher" not in checkpoint.newest(folder.checkpoints).metadata
    loaded = load_run(folder.path)
    for name in ("fakes.npz", "fakes"):
        write_samples(tmp_path / name, loaded.samples(3), loaded, lambda done, total: None)
        assert open_images(tmp_path / name).teacher is None


def test_a_teacher_in_a_strangers_file_is_no_more_than_a_short_name(tmp_path):
    images = np.zeros((2, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "long.npz", images=images, teacher=np.array("\x1b[31m" + "x" * 500))
    np.savez(tmp_path / "number.npz", images=images, teacher=np.array(7))
    long = open_images(tmp_path / "long.npz").teacher
    assert long is not None
    assert len(long) <= 60
    assert long.isprintable()
    assert open_images(tmp_path / "number.npz").teacher is None


def test_a_fork_inherits_the_teacher_of_the_run_that_it_began_with(taught):
    parent, _ = taught()
    child, _ = taught("discriminator.name=dcgan", out="fork", parent=parent.path)
    assert child.about()["teacher"] == "mobilenet"
    assert child.recipe().discriminator.name == "dcgan"


def test_the_teacher_does_not_choose_the_best_checkpoint(taught, monkeypatch):
    weights_folder().mkdir(parents=True)
    save_file(MobileNetGraph().state_dict(), weights_folder() / MOBILENET_WEIGHTS.stored)
    monkeypatch.setattr(factory, "PREFERENCE", (MobileNet,))
    validated = ("validation.every_ticks=1", "validation.extractor=mobilenet")
    folder, said = taught(*validated)
    assert folder.recipe().validation.extractor == "pixels"
    assert any("mobilenet trains this run's generator" in sentence for sentence in said)
    assert any("by the pixels extractor decides" in sentence for sentence in said)
    again, _ = taught(*validated)
    assert len(again.log()) == len(folder.log()) == 2, "the same settings go on with it"
    automatic, said = taught("validation.every_ticks=1", "validation.extractor=auto", out="automatic")
    assert automatic.recipe().validation.extractor == "pixels"
    assert not any("trains this run's generator" in sentence for sentence in said)


def test_a_file_of_the_teachers_weights_is_refused_for_validation(taught, tmp_path):
    file = tmp_path / MOBILENET_WEIGHTS.stored
    save_file(MobileNetGraph().state_dict(), file)
    for extractor in ("auto", "mobilenet"):
        settings = ("validation.every_ticks=1", f"validation.extractor={extractor}")
        with pytest.raises(RecipeError, match="leave --weights out"):
            taught(*settings, weights=file)
    assert not (tmp_path / "run").exists()


def test_a_sibling_validates_with_a_sentence_that_the_report_repeats(taught, monkeypatch):
    monkeypatch.setattr(
        "kennel.training.validation.unfair", lambda judge, teacher: f"{judge}, {teacher}: kin."
    )
    monkeypatch.setattr("kennel.reporting.html.unfair", lambda judge, teacher: f"{judge}, {teacher}: kin.")
    folder, said = taught("validation.every_ticks=1", "validation.extractor=pixels")
    assert "Validation is biased: pixels, mobilenet: kin." in said
    page = write_report(folder).read_text()
    assert "pixels, mobilenet: kin." in page
    assert "mobilenet, a pretrained network that the discriminator looks through" in page


def test_a_judgement_by_the_teacher_carries_the_warning_everywhere(taught, monkeypatch):
    from typer.testing import CliRunner

    from kennel.cli import app

    monkeypatch.setitem(
        related_extractors.ARCHITECTURES, "pixels", related_extractors.ARCHITECTURES["mobilenet"]
    )
    monkeypatch.setenv("COLUMNS", "200")
    folder, _ = taught()
    data = folder.about()["data"]["path"]
    options = ["--extractor", "pixels", "--count", "20", "--metrics", "kid", "--device", "cpu"]
    result = CliRunner().invoke(app, ["judge", str(folder.path), "--reference", data, *options])
    assert result.exit_code == 0, result.output
    output = " ".join(result.output.split())
    assert "not a fair one" in output
    assert "Warning: mobilenet taught this generator, and pixels is its sibling" in output
    (file,) = folder.judgements.glob("*.json")
    protocol = json.loads(file.read_text())[0]["protocol"]
    assert protocol["teacher"] == "mobilenet"
    assert "2203.06026" in protocol["unfair"]
    assert "mobilenet taught this generator, and pixels is its sibling" in write_report(folder).read_text()
