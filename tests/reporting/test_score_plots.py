"""The pictures of a judgement are drawn whole, and show what they should."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.data.images import ArrayImages
from kennel.evaluation.metrics.context import FeatureSide, MetricContext
from kennel.evaluation.score import Score
from kennel.features.moments import moments
from kennel.images import save_png
from kennel.reporting import score_plots
from kennel.reporting.copied_pairs import PAIRS_TEXT, ShownPair, pairs_of
from kennel.reporting.pictures import PictureBudget
from kennel.reporting.score_plot_names import DRAWN_FROM, pictures_of
from kennel.reporting.score_plots import (
    ROWS,
    draw_distances,
    draw_fid_by_class,
    draw_judging,
    draw_memorisation,
    draw_precision_recall,
)

Judging = Callable[..., Score]


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def difference(shown: ShownPair) -> float:
    """The mean difference of the pixels of a pair's two images."""
    sides = [base64.b64decode(one.uri.partition(",")[2]) for one in (shown.image, shown.reference)]
    first, second = (np.asarray(Image.open(io.BytesIO(side)).convert("RGB")).astype(float) for side in sides)
    return float(np.abs(first - second).mean())


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> MetricContext:
    """30 images beside 40 of 16x16; image 4 is reference 9 as it is, image 8 is reference 2 moved down by 1.

    The features are random, near ones for the copies: what an extractor would give.
    """
    random = np.random.default_rng(0)
    channels = getattr(request, "param", 3)
    images, reference = (
        random.integers(0, 256, (count, channels, 16, 16), dtype=np.uint8) for count in (30, 40)
    )
    images[4] = reference[9]
    images[8] = np.roll(reference[2], 1, axis=1)
    features, real = (random.normal(size=(count, 8)).astype(np.float32) for count in (30, 40))
    features[4] = real[9]
    features[8] = real[2] + 0.01
    return MetricContext(
        FeatureSide(features, source=ArrayImages(images)),
        FeatureSide(real, source=ArrayImages(reference)),
        moments(real),
        "made-up",
        held_out=FeatureSide(random.normal(size=(10, 8)).astype(np.float32)),
    )


@pytest.mark.parametrize("evidence", [1, 3], ids=["grey", "colour"], indirect=True)
def test_the_planted_copies_head_the_memorisation_picture(evidence: MetricContext, tmp_path: Path) -> None:
    text = {"Description": "made by a generative adversarial network"}
    shown = draw_memorisation(evidence, tmp_path / "new" / "copies.png", text=text)
    assert [(one.image, one.reference, one.verdict) for one in shown[:2]] == [
        (4, 9, "same picture"),
        (8, 2, "same picture, shifted by (0, 1)"),
    ]
    assert len(shown) == ROWS
    with Image.open(tmp_path / "new" / "copies.png") as picture:
        picture.load()
        assert picture.width > 800
        assert picture.height > ROWS * 100
        assert picture.text["Description"] == text["Description"]  # type: ignore[attr-defined]
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["copies.png"]
    pairs = pairs_of(tmp_path / "new" / "copies.png", PictureBudget())
    assert [(one.pair.image, one.pair.reference, one.pair.copied) for one in pairs[:2]] == [
        (4, 9, True),
        (8, 2, True),
    ]
    assert len(pairs) == ROWS
    assert difference(pairs[0]) < 10 < 30 < difference(pairs[2])


def test_places_outside_of_the_picture_and_text_of_any_kind_give_no_pairs(tmp_path: Path) -> None:
    entry = {"image": 1, "reference": 2, "distance": 0.5, "verdict": "", "copied": False}
    boxes = {"image_box": [0, 0, 4, 4], "reference_box": [0, 0, 4, 5000]}
    for text in (json.dumps([entry | boxes]), json.dumps([entry]), "{", "[" * 100_000, ""):
        save_png(tmp_path / "odd.png", np.zeros((8, 8, 3), np.uint8), {PAIRS_TEXT: text})
        assert pairs_of(tmp_path / "odd.png", PictureBudget()) == []


def test_fewer_images_than_rows_are_all_shown(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (3, 3, 8, 12), dtype=np.uint8)
    features = random.normal(size=(3, 4)).astype(np.float32)
    few = MetricContext(
        FeatureSide(features[:2], source=ArrayImages(pixels[:2])),
        FeatureSide(features[1:], source=ArrayImages(pixels[1:])),
        moments(features[1:]),
        "made-up",
    )
    shown = draw_memorisation(few, tmp_path / "few.png")
    assert [(one.image, len(one.references)) for one in shown] == [(1, 2), (0, 2)]


def test_the_distances_are_drawn_with_and_without_held_out_images(
    evidence: MetricContext, tmp_path: Path
) -> None:
    draw_distances(evidence, tmp_path / "with.png")
    bare = MetricContext(evidence.images, evidence.reference, evidence.reference_moments, "made-up")
    draw_distances(bare, tmp_path / "without.png")
    assert size_of(tmp_path / "with.png") == size_of(tmp_path / "without.png")
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


def test_copies_alone_have_distances_of_0_and_are_drawn(tmp_path: Path) -> None:
    features = np.tile(np.array([[1, 2]], np.float32), (4, 1))
    draw_distances(
        MetricContext(FeatureSide(features), FeatureSide(features), moments(features), "made-up"),
        tmp_path / "0.png",
    )
    assert (tmp_path / "0.png").stat().st_size > 1000


def scored(judgement: Judging, metric: str, **details: object) -> Score:
    return judgement(metric, 0.5).model_copy(update={"details": details})


def test_curves_and_classes_are_drawn(tmp_path: Path, judgement: Judging) -> None:
    curve = {"recall": [1.0, 0.8, 0.0], "precision": [0.0, 0.7, 1.0]}
    draw_precision_recall(scored(judgement, "prd_f8", f1=0.7, curve=curve), tmp_path / "prd.png")
    classes = [{"class": f"breed {index}", "fid": float(index)} for index in range(100)]
    draw_fid_by_class(scored(judgement, "fid_by_class", classes=classes), tmp_path / "many.png")
    draw_fid_by_class(scored(judgement, "fid_by_class", classes=classes[:2]), tmp_path / "two.png")
    heights = {file.stem: size_of(file)[1] for file in tmp_path.iterdir()}
    assert heights["many"] > 5 * heights["two"]
    assert heights["prd"] > 500


def test_each_judgement_has_its_pictures_and_others_have_none(
    evidence: MetricContext, judgement: Judging, tmp_path: Path
) -> None:
    curve = {"recall": [1.0, 0.0], "precision": [0.0, 1.0]}
    judged = [
        judgement("fid", 1.0),
        judgement("mifid", 1.0),
        scored(judgement, "prd_f1_8", f1=0.7, curve=curve),
    ]
    drawn = draw_judging(evidence, judged, tmp_path, "one-")
    names = ["one-memorisation.png", "one-distances.png", "one-precision_recall.png"]
    assert [file.name for file in drawn] == names
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    assert draw_judging(evidence, judged[:1], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
    assert pictures_of(["fid", "kid"]) == []
    assert pictures_of(["memorisation", "fid_by_class"]) == ["memorisation", "distances", "fid_by_class"]
    assert set(DRAWN_FROM) == {"memorisation", "distances", "precision_recall", "fid_by_class"}


def test_without_the_images_only_their_distances_are_drawn(
    evidence: MetricContext, judgement: Judging, tmp_path: Path
) -> None:
    bare = MetricContext(
        FeatureSide(evidence.images.features),
        FeatureSide(evidence.reference.features),
        evidence.reference_moments,
        "x",
    )
    drawn = draw_judging(bare, [judgement("mifid", 1.0)], tmp_path)
    assert [file.name for file in drawn] == ["distances.png"]


def test_a_picture_that_fails_leaves_the_old_one(
    evidence: MetricContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "distances.png"
    draw_distances(evidence, file)
    before = file.read_bytes()

    def fail(self: object, place: Path, **options: object) -> None:
        place.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(score_plots.Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk is full"):
        draw_distances(evidence, file)
    assert file.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["distances.png"]
