"""Tables, differences and files of known accuracies."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from generators import Fixed, noise
from kennel.config.base import validated
from kennel.expansion import expand, missing_images
from kennel.expansion.expand import GuardOptions
from kennel.features.pixels import PixelCells
from kennel.studies.expand.arms import ArmResult, SeedResult
from kennel.studies.expand.config import ARMS, ExpandConfig
from kennel.studies.expand.report import result_tables, write_results
from kennel.studies.expand.sets import StudySets
from scarce import write_scarce_set

STUDY = validated(ExpandConfig, {"name": "known", "keep": 4}, "study")


@pytest.fixture
def sets(tmp_path) -> StudySets:
    test = write_scarce_set(tmp_path / "test", (4, 4, 4))
    return StudySets("set", test, np.arange(12), (1, 2), ())


@pytest.fixture
def results(tmp_path):
    """Two seeds: arm n has the accuracies 0.5 + 0.1 n of class 0 and 0.2 n of the others, 0.02 more in seed 1
    for the generated arm."""
    scarce = write_scarce_set(tmp_path / "scarce")
    big = expand(
        scarce, missing_images(scarce, 15), Fixed(noise), tmp_path / "big", GuardOptions(PixelCells())
    ).dataset

    def of(seed: int) -> SeedResult:
        arms = []
        for number, arm in enumerate(ARMS):
            more = 0.02 * seed * (arm == "generated")
            values = (0.5 + 0.1 * number + more, 0.2 * number + more, 0.2 * number + more)
            arms.append(ArmResult(arm, seed, values, (4, 4, 4), 36, "key"))
        return SeedResult(seed, big, 2, tuple(arms))

    return [of(0), of(1)]


def test_the_first_table_has_means_and_deviations_of_all_scarce_and_other_classes(sets, results):
    accuracy = result_tables(sets, results)[0]
    assert accuracy.columns == ("trained on", "all classes", "scarce classes", "other classes")
    assert [row[0] for row in accuracy.rows] == list(ARMS)
    assert accuracy.rows[1] == ("augmented", "33.33 ± 0.00", "20.00 ± 0.00", "60.00 ± 0.00")
    assert accuracy.rows[2][2] == "41.00 ± 1.41"


def test_differences_are_paired_with_intervals_over_seeds(sets, results):
    differences = result_tables(sets, results)[1]
    row = next(row for row in differences.rows if row[0] == "generated - augmented")
    # 20 and 22 points: mean 21, and Student's t of one degree of freedom, 12.706, times 1.
    assert row[2] == "+21.00 (+8.29 to +33.71)"
    place = [row[0] for row in differences.rows].index("generated - augmented")
    assert (place, 2) in differences.bold


def test_one_seed_has_neither_deviations_nor_differences(sets, results):
    tables = result_tables(sets, results[:1])
    assert [table.title for table in tables] == ["Accuracy", "Accuracy by class"]
    assert tables[0].rows[1] == ("augmented", "33.33", "20.00", "60.00")


def test_scarce_classes_are_marked_in_the_table_by_class(sets, results):
    table = result_tables(sets, results)[-1]
    assert [row[0] for row in table.rows] == ["class 0", "class 1 *", "class 2 *"]


@pytest.mark.parametrize("count", [1, 2])
def test_all_files_are_written_and_agree(sets, results, tmp_path, count):
    files = write_results(STUDY, sets, results[:count], tmp_path / "out")
    assert {path.name for path in files} == {path.name for path in (tmp_path / "out").iterdir()}
    text = files[0].read_text()
    assert "2 of 16 drawn images" in text or "4 of 32 drawn images" in text
    assert "class 1, class 2" in text
    content = json.loads(files[1].read_text())
    assert content["seeds"][0]["arms"]["both"]["scarce classes"] == pytest.approx(0.6)
    assert bool(content["differences"]) == (count > 1)
    rows = list(csv.DictReader(files[2].read_text().splitlines()))
    assert len(rows) == count * 4 * 3
    assert {row["scarce"] for row in rows if row["class"] == "class 1"} == {"1"}
    for picture in files[3:]:
        with Image.open(picture) as image:
            assert min(image.size) > 50
    with Image.open(files[4]) as grid:
        assert "first 4 images of each row are real" in grid.text["kennel:real"]
