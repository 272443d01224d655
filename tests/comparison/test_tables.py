"""Tables as Markdown, CSV and LaTeX."""

import csv
import io

from kennel.comparison.tables import Table

TABLE = Table(
    "FID & co_1",
    ("", "FID ↓", "a|b"),
    (("run_1", "1,234.50", "50%"), ("x", "–", "y")),
    frozenset({(0, 1)}),
    ("N.",),
)


def test_markdown_has_the_title_bold_cells_escaped_bars_and_notes():
    assert TABLE.to_markdown().splitlines() == [
        "### FID & co_1",
        "",
        r"|  | FID ↓ | a\|b |",
        "|---|---|---|",
        "| run_1 | **1,234.50** | 50% |",
        "| x | – | y |",
        "",
        "N.",
    ]


def test_csv_reads_back():
    assert list(csv.reader(io.StringIO(TABLE.to_csv()))) == [list(TABLE.columns), *map(list, TABLE.rows)]


def test_latex_escapes_its_special_characters():
    text = TABLE.to_latex()
    assert r"\caption{FID \& co\_1}" in text
    assert r"run\_1 & \textbf{1,234.50} & 50\% \\" in text
    assert r"FID $\downarrow$" in text
    assert "x & -- & y" in text
