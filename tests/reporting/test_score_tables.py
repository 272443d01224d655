"""Only judgements that were measured the same way share a table."""

from collections.abc import Callable
from pathlib import Path

from kennel.evaluation.score import Score, write_judgements
from kennel.reporting.score_tables import judgement_tables, judging_pictures

Judging = Callable[..., Score]


def test_a_later_checkpoint_by_the_same_protocol_joins_the_table(tmp_path: Path, judgement: Judging):
    later = judgement("fid", 11.0, images="a run at 48,000 images", seed=7, versions={"kennel": "0.2.0"})
    write_judgements(tmp_path / "one.json", [judgement("fid", 21.5)])
    write_judgements(tmp_path / "two.json", [later])
    (table,), unreadable = judgement_tables(tmp_path)
    assert [row.value for row in table.rows] == ["21.5", "11.0"]
    assert unreadable == []
    versions = {what: whole for what, _, whole in table.protocol}["versions"]
    assert "0.1.0" in versions
    assert "0.2.0" in versions
    assert len(table.words) == 2


def test_metrics_of_one_judging_share_a_table_and_one_sentence(tmp_path: Path, judgement: Judging):
    write_judgements(tmp_path / "one.json", [judgement("fid", 21.5), judgement("mifid", 21.5)])
    (table,), _ = judgement_tables(tmp_path)
    assert [row.metric for row in table.rows] == ["FID", "MiFID"]
    assert [row.direction for row in table.rows] == ["lower is better"] * 2
    assert len(table.words) == 1
    assert ("MiFID: epsilon", "0.1", "0.1") in table.protocol


def test_a_metric_with_another_option_gets_another_table(tmp_path: Path, judgement: Judging):
    write_judgements(tmp_path / "one.json", [judgement("fid", 21.5), judgement("mifid", 21.5)])
    write_judgements(tmp_path / "two.json", [judgement("mifid", 9.0, options={"epsilon": 0.25})])
    tables, _ = judgement_tables(tmp_path)
    assert [len(table.rows) for table in tables] == [2, 1]


def test_another_extractor_count_or_reference_gets_another_table(tmp_path: Path, judgement: Judging):
    judged = [
        judgement("fid", 1.0),
        judgement("fid", 2.0, "mobilenet"),
        judgement("fid", 3.0, sample_count=1000),
        judgement("fid", 4.0, reference_fingerprint="another"),
    ]
    write_judgements(tmp_path / "one.json", judged)
    tables, _ = judgement_tables(tmp_path)
    assert [[row.value for row in table.rows] for table in tables] == [["1.00"], ["2.00"], ["3.00"], ["4.00"]]


def test_a_hash_is_short_to_read_and_whole_to_check(tmp_path: Path, judgement: Judging):
    write_judgements(tmp_path / "one.json", [judgement("fid", 1.0)])
    (table,), _ = judgement_tables(tmp_path)
    assert ("weights SHA-256", "abababababab…", "ab" * 32) in table.protocol


def test_too_few_images_come_with_their_warning(tmp_path: Path, judgement: Judging):
    write_judgements(tmp_path / "one.json", [judgement("fid", 1.0, sample_count=100)])
    (table,), _ = judgement_tables(tmp_path)
    assert any("100 images are fewer than" in warning for warning in table.warnings)


def test_a_run_that_was_never_judged_has_no_tables(tmp_path: Path):
    assert judgement_tables(tmp_path / "judgements") == ([], [])


def test_long_details_are_counted_and_short_ones_shown(tmp_path: Path, judgement: Judging):
    details = {
        "copies": 3,
        "most_suspicious": [{"image": 1}] * 64,
        "quantiles": {"images": [0.1] * 8, "reference to itself": [0.2] * 8},
        "counts": list(range(15)),
        "distance_quantiles": [0.1, 0.2, 0.3, 0.4, 0.5],
        "not_measured": [],
    }
    write_judgements(
        tmp_path / "one.json", [judgement("memorisation", 0.1).model_copy(update={"details": details})]
    )
    (table,), _ = judgement_tables(tmp_path)
    assert [value for _, value in table.rows[0].details] == [
        "3",
        "64 entries, see the JSON",
        "2 entries, see the JSON",
        "15 entries, see the JSON",
        "0.1, 0.2, 0.3, 0.4, 0.5",
        "none",
    ]


def test_a_table_shows_the_pictures_of_its_newest_file_that_has_some(tmp_path: Path, judgement: Judging):
    for name in ("one", "two", "three"):
        write_judgements(tmp_path / f"{name}.json", [judgement("fid", 1.0), judgement("mifid", 1.0)])
    write_judgements(tmp_path / "zero.json", [judgement("fid", 1.0, "mobilenet")])
    for name in ("one-distances", "two-distances", "two-memorisation", "two-other"):
        (tmp_path / f"{name}.png").write_bytes(b"")
    tables, unreadable = judgement_tables(tmp_path)
    assert unreadable == []
    shown = [[one.path.name for one in pictures] for pictures in judging_pictures(tmp_path, tables)]
    assert shown == [["two-memorisation.png", "two-distances.png"], []]
    options = judgement("mifid", 2.0, options={"epsilon": 0.3})
    write_judgements(tmp_path / "two.json", [judgement("mifid", 1.0), options])
    tables, _ = judgement_tables(tmp_path)
    assert [len(one) for one in judging_pictures(tmp_path, tables)] == [2, 0, 0], "shown once"
