"""`kennel study expand` as a user meets it: trained, continued, and refused."""

import json

import pytest

from scarce import write_scarce_set

STUDY = """
kind: expand
scarce: 1
keep: 6
to: 12
seeds: 2
images: 16
recipe: digits
classifier_images: 200
max_rejected: 0.9
settings:
  - image.size=8
  - generator.base_channels=4
  - discriminator.base_channels=4
  - batch_size=8
  - num_ticks=1
  - compute.precision=float32
"""


@pytest.fixture
def study(tmp_path):
    """(file, options of the command): two generators and eight classifiers of tiny images."""
    file = tmp_path / "tiny.yaml"
    file.write_text(STUDY)
    data = write_scarce_set(tmp_path / "set", (24, 24, 20)).path
    return file, ("--data", data, "--out", tmp_path / "out", "--device", "cpu")


@pytest.mark.slow
def test_the_study_is_run_written_and_continued_without_doing_anything_twice(kennel, study, tmp_path):
    file, options = study
    outcome = kennel("study", file, *options)
    assert outcome.code == 0, outcome.err
    out = tmp_path / "out"
    names = {"results.md", "results.json", "results.csv", "accuracy.png", "generated.png", "study.yaml"}
    assert names <= {path.name for path in out.iterdir()}
    content = json.loads((out / "results.json").read_text())
    assert content["scarce"] == [0]
    assert [set(one["arms"]) for one in content["seeds"]] == [
        {"scarce", "augmented", "generated", "both"}
    ] * 2
    parts = [*(out / "classifiers").iterdir(), *(out / "expanded").glob("*/images.npy")]
    assert len(parts) == 10
    before = {path: path.stat().st_mtime_ns for path in parts}
    (out / "classifiers/both-seed-1.json").unlink()
    again = kennel("study", file, *options)
    assert again.code == 0, again.err
    assert json.loads((out / "results.json").read_text()) == content
    changed = [path.name for path in parts if path.stat().st_mtime_ns != before[path]]
    assert changed == ["both-seed-1.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rows", "a"), "--rows is for studies of several recipes"),
        (("--images", "1k", "--hours", "1"), "give one of them"),
        (("--set", "study.kep=3"), "did you mean 'keep'"),
        (("--set", "study.keep=40"), "to must be larger"),
        (("--set", "study.keep=40", "--set", "study.to=50"), "lower keep"),
    ],
)
def test_what_cannot_be_studied_is_refused_in_a_sentence(kennel, study, options, message):
    file, given = study
    outcome = kennel("study", file, *given, *options)
    assert outcome.code == 2
    assert message in outcome.err


def test_it_is_listed_among_the_studies(kennel):
    assert "expand" in kennel("study").out
