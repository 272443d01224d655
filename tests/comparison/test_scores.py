"""Scores of several runs: which share a table, and the intervals of their differences."""

import pytest

from kennel.comparison.runs import read_runs
from kennel.comparison.scores import stored_tables
from kennel.comparison.tables import score_table
from kennel.evaluation.score import Score, write_judgements
from kennel.runs.run_dir import RunDir
from scored import score


def _judged(path, *scores: Score, name: str = "1") -> None:
    folder = RunDir(path).judgements
    folder.mkdir(exist_ok=True)
    write_judgements(folder / f"{name}.json", scores)


def test_scores_of_one_protocol_share_a_table_and_the_best_is_bold(make_run):
    runs = read_runs([make_run("a"), make_run("b", ["batch_size=16"])])
    _judged(runs[0].folder.path, score("fid", 40.0), score("recall", 0.2))
    _judged(runs[1].folder.path, score("fid", 30.0), score("recall", 0.1))
    (scores,) = stored_tables(runs)
    table = score_table(scores, runs)
    assert table.columns == ("", "FID ↓", "Recall ↑")
    assert table.rows == (("a", "40.00", "0.2"), ("b", "30.00", "0.1"))
    assert table.bold == {(1, 1), (0, 2)}


@pytest.mark.parametrize(
    "change", [{"extractor": "mobilenet"}, {"sample_count": 100}, {"precision": "bfloat16"}]
)
def test_scores_of_other_protocols_share_none(make_run, change):
    runs = read_runs([make_run("a"), make_run("b")])
    _judged(runs[0].folder.path, score("fid", 40.0))
    _judged(runs[1].folder.path, score("fid", 30.0, **change))
    assert stored_tables(runs) == []


def test_a_metric_with_other_options_is_left_out_of_the_table(make_run):
    runs = read_runs([make_run("a"), make_run("b")])
    _judged(runs[0].folder.path, score("fid", 40.0), score("recall", 0.5, options={"k": 3}))
    _judged(runs[1].folder.path, score("fid", 30.0), score("recall", 0.6, options={"k": 5}))
    (scores,) = stored_tables(runs)
    assert list(scores.scores["a"]) == ["fid", "recall"]
    assert list(scores.scores["b"]) == ["fid"]


def test_of_several_judgements_of_a_run_the_newest_counts(make_run):
    runs = read_runs([make_run("a"), make_run("b")])
    _judged(runs[0].folder.path, score("fid", 40.0), name="000000000100-20260101-000000-pixels")
    _judged(runs[0].folder.path, score("fid", 20.0), name="000000000200-20260101-000001-pixels")
    _judged(runs[1].folder.path, score("fid", 30.0))
    (scores,) = stored_tables(runs)
    assert scores.scores["a"]["fid"].value == 20.0


def test_a_warning_names_the_runs_that_it_is_about(make_run):
    runs = read_runs([make_run("a"), make_run("b")])
    _judged(runs[0].folder.path, score("fid", 40.0, unfair="It was the teacher."))
    _judged(runs[1].folder.path, score("fid", 30.0))
    (scores,) = stored_tables(runs)
    assert scores.warnings == ["a: It was the teacher."]
