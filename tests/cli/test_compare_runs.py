"""`kennel compare RUN RUN ...` as a user meets it."""

import json

import pytest
from PIL import Image

from kennel.config.recipe import override
from kennel.recipes import get_recipe
from kennel.training.run import train

SETTINGS = (
    "image.size=8",
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "num_ticks=2",
    "budget.images=64",
    "validation.num_samples=16",
    "validation.extractor=pixels",
    "techniques.ema=off",
)


@pytest.fixture
def runs(packed_set, tmp_path):
    """Three runs: two seeds of a recipe, and one with a larger batch; the last was not validated."""
    data = packed_set()
    for name, more in {
        "first": ("seed=0",),
        "second": ("seed=1",),
        "other": ("batch_size=16", "validation.every_ticks=0"),
    }.items():
        train(override(get_recipe("digits"), (*SETTINGS, *more)), data, tmp_path / name)
    return [tmp_path / name for name in ("first", "second", "other")]


def test_runs_are_shown_with_their_cost_and_what_differs(kennel, runs):
    outcome = kennel("compare", *runs)
    assert outcome.code == 0, outcome.err
    assert "first" in outcome.out
    assert "batch_size" in outcome.out
    assert "data set set, status finished" in outcome.out
    assert "other has no best checkpoint (it was not validated): its newest is taken." in outcome.out
    assert "No two of the runs were judged by one protocol: --judge" in outcome.out


def test_judged_by_one_protocol_they_are_written_in_every_format(kennel, runs, tmp_path):
    files = [tmp_path / "out" / f"c.{ending}" for ending in ("html", "md", "csv", "tex", "json", "png")]
    outs = [part for file in files for part in ("--out", file)]
    judge = ("--judge", "--count", 30, "--metrics", "fid,recall", "--extractor", "pixels", "--shown", 4)
    outcome = kennel("compare", *runs, *judge, *outs)
    assert outcome.code == 0, outcome.err
    page, markdown, table, latex, figures = (file.read_text() for file in files[:5])
    assert page.count('<img src="data:image/png;base64,') == 2  # the two seeds share one
    assert page.count('<figure class="card both') == 1  # one chart, over images and over time
    assert "://" not in page.replace("http://www.w3.org/", "")
    assert "| first |" in markdown
    assert table.startswith(",seeds,FID ↓,Recall ↑\n")
    assert r"\begin{tabular}" in latex
    content = json.loads(figures)
    (scores,) = content["scores"]
    assert set(scores["scores"]) == {"first", "second", "other"}
    assert {score["protocol"]["sample_count"] for one in scores["scores"].values() for score in one} == {30}
    assert scores["floor_count"] == 20
    assert [one["label"] for one in scores["differences"]] == ["second", "second", "other", "other"]
    with Image.open(files[5]) as picture:
        assert picture.size == (2 * 134 + 12, 26 + 134)
        assert "generative adversarial network" in picture.text["Description"]


def test_scores_that_the_runs_have_are_compared_without_another_pass(kennel, runs):
    for run in runs[:2]:
        judged = ("judge", run, "--count", 30, "--metrics", "fid", "--extractor", "pixels")
        assert kennel(*judged).code == 0
    outcome = kennel("compare", *runs)
    assert "FID ↓" in outcome.out
    assert "other: not judged by a protocol that another run shares: --judge does it." in outcome.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--out", "page.pdf"],
            "page.pdf cannot be written: --out takes a file that ends in one of .html",
        ),
        (["nothing"], "nothing is not a run (it has no recipe.yaml)"),
        (["--checkpoint", "17"], "has no checkpoint '17'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(kennel, runs, more, message):
    outcome = kennel("compare", *runs[:2], *more)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_runs_of_other_sets_need_a_reference_to_be_judged_by(kennel, packed_set, runs, tmp_path):
    elsewhere = packed_set(count=44, name="elsewhere")
    train(override(get_recipe("digits"), SETTINGS), elsewhere, tmp_path / "third")
    outcome = kennel(
        "compare", runs[0], tmp_path / "third", "--judge", "--extractor", "pixels", "--count", 30
    )
    assert outcome.code == 2
    assert "trained on different sets: give --reference, one set for all" in outcome.err
    shown = kennel("compare", runs[0], tmp_path / "third")
    assert "their curves and scores are not comparable across sets" in shown.out
