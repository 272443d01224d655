"""What a study refuses before it trains."""

import json

import pytest

from kennel.errors import KennelError, RunError
from kennel.storage.atomic_io import write_text
from kennel.studies.checks import check_folder, check_judge
from kennel.studies.config import StudyConfig
from kennel.studies.matrix import matrix, write_recipes


@pytest.fixture
def study_of(packed_set):
    """Makes a study of two rows on one set."""
    data = {"x": str(packed_set(size=16))}

    def make(**changed):
        rows = {"a": {"recipe": "digits"}, "b": {"recipe": "digits"}}
        return StudyConfig(**({"name": "s", "recipes": rows, "data": data, "images": 640} | changed))

    return make


def _trained(study, out, images=640):
    """The study's folder as it is when every run has seen `images`."""
    runs = matrix(study, out)
    write_text(out / "study.yaml", study.to_yaml())
    write_recipes(runs)
    for run in runs:
        about = json.loads((run.set_path / "dataset.json").read_text())
        data = {"path": str(run.set_path), "fingerprint": about["fingerprint"], "count": 40}
        run.folder.begin(run.recipe, {"data": data})
        run.folder.append_log({"images": images})


def test_the_same_study_with_more_or_fewer_runs_and_images_continues(study_of, tmp_path):
    _trained(study_of(), tmp_path / "out")
    rows = {"b": {"recipe": "digits"}, "c": {"recipe": "digits", "settings": ["batch_size=16"]}}
    judge = {"extractor": "pixels", "metrics": ["fid"]}
    for changed in ({}, {"seeds": 3}, {"recipes": rows}, {"images": 1280}, {"judge": judge}):
        study = study_of(**changed)
        check_folder(study, matrix(study, tmp_path / "out"), tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "other"}, "holds the study s, not other: give another --out"),
        (
            {"settings": ("loss.name=hinge", "techniques.one_sided_smoothing=off")},
            "was trained with another recipe (loss.name: bce -> hinge",
        ),
        ({"images": 320}, "has seen 640 images already, more than the budget of 320"),
    ],
)
def test_the_folder_of_another_study_is_refused(study_of, tmp_path, changed, message):
    _trained(study_of(), tmp_path / "out")
    study = study_of(**changed)
    with pytest.raises(RunError) as refused:
        check_folder(study, matrix(study, tmp_path / "out"), tmp_path / "out")
    assert message in str(refused.value)


def test_other_images_under_the_same_name_are_refused(study_of, packed_set, tmp_path):
    _trained(study_of(), tmp_path / "out")
    other = study_of(data={"x": str(packed_set(size=16, count=30, name="other"))})
    with pytest.raises(RunError, match="the study now has other images there"):
        check_folder(other, matrix(other, tmp_path / "out"), tmp_path / "out")


def test_a_run_and_a_file_are_no_folders_for_a_study(study_of, tmp_path):
    study = study_of()
    _trained(study, tmp_path / "out")
    with pytest.raises(RunError, match="is a run, not a study"):
        check_folder(study, [], tmp_path / "out" / "runs" / "x" / "a" / "seed-0")
    with pytest.raises(RunError, match="is a file"):
        check_folder(study, [], tmp_path / "out" / "study.yaml")


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"metrics": ["fidd"]}, "did you mean 'fid'"),
        ({"extractor": "pixel"}, "did you mean 'pixels'"),
        ({"checkpoint": "bst"}, "study.judge.checkpoint = 'bst' is none"),
    ],
)
def test_a_judge_that_cannot_judge_is_refused(study_of, tmp_path, judge, message):
    study = study_of(judge=judge)
    with pytest.raises(KennelError) as refused:
        check_judge(study, matrix(study, tmp_path / "out"))
    assert message in str(refused.value)


def test_every_way_to_name_a_checkpoint_passes(study_of, tmp_path):
    for checkpoint in ("best", "newest", "epoch:3", "epoch:0.5", "640"):
        study = study_of(judge={"extractor": "pixels", "metrics": ["prdc", "fid"], "checkpoint": checkpoint})
        check_judge(study, matrix(study, tmp_path / "out"))


def test_the_classifier_of_a_set_is_trained_later_and_needs_classes(packed_set, study_of, tmp_path):
    judge = {"extractor": "classifier", "metrics": ["fid"]}
    labelled = packed_set(size=16, classes=2, name="labelled")
    study = study_of(judge=judge, data={"x": str(labelled)})
    check_judge(study, matrix(study, tmp_path / "out"))
    study = study_of(judge=judge)
    with pytest.raises(KennelError, match="has no classes"):
        check_judge(study, matrix(study, tmp_path / "plain"))
