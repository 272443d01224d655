"""`kennel compare` as a user meets it: what it says of a checkpoint that has collapsed."""

import json

import numpy as np
import pytest
from PIL import Image

from kennel.config.recipe import override
from kennel.recipes import get_recipe
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.training.run import train

SETTINGS = (
    "image.size=8",
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "num_ticks=4",
    "budget.images=64",
    "keep_every_ticks=1",
    "validation.every_ticks=0",
    "techniques.ema=off",
    "techniques.spectral_norm=on",
)


@pytest.fixture
def run(packed_set, tmp_path):
    """A run whose last checkpoint draws one picture only, with one weight grown a hundredfold."""
    recipe = override(get_recipe("digits"), SETTINGS)
    train(recipe, packed_set(), tmp_path / "run")
    folder = RunDir(tmp_path / "run")
    whole = checkpoint.load(folder.checkpoints / checkpoint.name_for(48))
    newest = checkpoint.load(folder.checkpoints / checkpoint.name_for(64))
    tensors = dict(whole.tensors)
    tensors["generator.stem.weight"] = tensors["generator.stem.weight"] * 0
    grown = "discriminator.head.parametrizations.weight.original"
    tensors[grown] = tensors[grown] * 100
    about = {key: value for key, value in newest.metadata.items() if key != "checksum"}
    checkpoint.save(newest.path, tensors, about)
    return tmp_path / "run"


def test_a_collapse_shows_in_distances_singular_values_and_the_picture(kennel, run, tmp_path):
    file = tmp_path / "compared.json"
    asked = ("--metrics", "fid,vendi", "--count", 32, "--shown", 4, "--json", file, "--extractor", "pixels")
    outcome = kennel("compare", run, "newest", "48", *asked)
    assert outcome.code == 0, outcome.err
    before, after = json.loads(file.read_text())
    assert (before["images"], after["images"]) == (48, 64)  # oldest first, whatever was named first
    assert before["nearest_distance"] > 0.01
    assert after["nearest_distance"] == 0
    assert [one["metric"] for one in after["judgements"]] == ["fid", "vendi"]
    assert after["judgements"][1]["value"] == pytest.approx(1, abs=1e-6)
    heads = [one["singular_values"]["discriminator"]["head"] for one in (before, after)]
    assert heads[1] == pytest.approx(
        100 * heads[0], rel=1e-4
    )  # spectral norm divides it, and does not hide it
    assert "Grew most in the discriminator: head " in outcome.out
    with Image.open(run / "samples" / "compare-48-64.png") as picture:
        pixels = np.asarray(picture)
        assert "generative adversarial network" in picture.text["Description"]
        assert picture.text["kennel:images_seen"] == "48, 64"
    assert pixels.shape == (26 + 134, 2 * 134 + 12)  # two grids of 2 x 2 pictures of 64, and their titles
    left, right = pixels[26:, :134], pixels[26:, -134:]
    assert np.array_equal(right[2:66, 2:66], right[68:132, 68:132])
    assert not np.array_equal(left[2:66, 2:66], left[68:132, 68:132])
    drawn = load_run(run, "48").samples(1).pixels()[0, 0]
    assert np.array_equal(left[2:66, 2:66][::8, ::8], drawn)


def test_an_untouched_checkpoint_has_the_singular_values_of_its_weights(kennel, run, tmp_path):
    file = tmp_path / "compared.json"
    assert kennel("compare", run, "32", "48", "--count", 8, "--metrics", "fid", "--json", file).code == 0
    for one in json.loads(file.read_text()):
        path = RunDir(run).checkpoints / checkpoint.name_for(one["images"])
        weight = checkpoint.load(path).tensors["generator.stem.weight"]
        assert one["singular_values"]["generator"]["stem"] == pytest.approx(
            float(np.linalg.svd(weight.numpy(), compute_uv=False)[0]), rel=1e-4
        )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["48"], "only one checkpoint is given (48): give at least two"),
        (["48", "48"], "are the same checkpoint, at 48 images: give different ones"),
        (
            ["48", "50"],
            "give newest, best, epoch:N, or one of the numbers of images that are kept: 64, 48, 32, 16",
        ),
        (["48", "epoch:70"], "keeps no checkpoint of epoch 70, only of these epochs: 0.4, 0.8, 1.2, 1.6"),
        (["48", "64", "--out", "grid.jpg"], "grid.jpg: give a file name that ends in .png"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(kennel, run, asked, message):
    outcome = kennel("compare", run, *asked, "--count", 8)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_a_lower_truncation_shows_less_variety_from_the_same_seeds(kennel, run, tmp_path):
    file, out = tmp_path / "levels.json", tmp_path / "levels.png"
    asked = ("--truncation", "none,1,0.01", "--checkpoint", "48", "--metrics", "fid,vendi", "--count", 32)
    outcome = kennel("compare", run, *asked, "--extractor", "pixels", "--json", file, "--out", out)
    assert outcome.code == 0, outcome.err
    assert "saturated pixel values" in outcome.out
    free, _, narrow = json.loads(file.read_text())
    assert (free["threshold"], narrow["threshold"]) == (None, 0.01)
    assert free["nearest_distance"] > 2 * narrow["nearest_distance"]
    vendi = [one["scores"][1]["value"] for one in (free, narrow)]
    assert vendi[0] > vendi[1] >= 1
    assert "truncation 0.01" in narrow["scores"][0]["protocol"]["images"]
    with Image.open(out) as picture:
        assert picture.text["kennel:truncation"] == "not truncated, truncated at 1, truncated at 0.01"
    assert out.with_name("levels-curves.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--truncation", "1,much"), "--truncation is '1,much': give thresholds above 0"),
        (("48", "--truncation", "1,2"), "several truncation thresholds are for one generator"),
        (("--truncation", "1,-2"), "truncation -2.0 is too small: give at least 0.01"),
    ],
)
def test_truncations_that_cannot_be_compared_are_one_sentence(kennel, run, words, message):
    outcome = kennel("compare", run, *words, "--extractor", "pixels", "--count", 8, "--metrics", "fid")
    assert outcome.code == 2
    assert message in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err
