"""What every registered metric has to keep, whichever it is: a new one is tested from the day it is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

import kennel.evaluation.metrics.builtin  # noqa: F401 (registers the metrics)
from kennel.errors import JudgementError, UnknownNameError
from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.base import (
    ALIASES,
    GROUPS,
    METRICS,
    ORDER,
    MetricResult,
    in_order,
    metric_names,
)
from kennel.evaluation.metrics.context import FeatureSide, MetricContext, MetricSettings
from kennel.features.base import Extracted, Extractor
from kennel.features.moments import moments
from kennel.shapes import Pixels
from pictures import Pictures

Rows = npt.NDArray[np.float32]
NAMES = tuple(METRICS)
CLASSES = ("pug", "boxer", "collie", "husky")
DIMENSION = 8
CENTRES = 2.5 * np.random.default_rng(100).normal(size=(len(CLASSES), DIMENSION))
FIELDS = np.random.default_rng(101).normal(size=(DIMENSION, 3 * 16 * 16))


def breeds(count: int, seed: int) -> Rows:
    """Features of four breeds in turn, each its own cloud."""
    spread = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    return (CENTRES[np.arange(count) % len(CLASSES)] + spread).astype(np.float32)


def side(features: Rows, classes: int = len(CLASSES)) -> FeatureSide:
    """The features with logits, labels and pictures that follow from them."""
    whole = np.nan_to_num(features, posinf=0, neginf=0).astype(np.float64)
    shown = whole if features.shape[1] == DIMENSION else np.resize(whole.T, (DIMENSION, len(whole))).T
    pixels = (128 + 100 * np.tanh(shown @ FIELDS / 8)).astype(np.uint8).reshape(-1, 3, 16, 16)
    logits = (np.clip(shown, -1e3, 1e3) @ CENTRES.T).astype(np.float32)
    labels = np.arange(len(features)) % classes
    return FeatureSide(features, logits, logits.argmax(1), labels, CLASSES, Pictures(pixels, labels, CLASSES))


def judged(
    images: FeatureSide, reference: FeatureSide, settings: MetricSettings | None = None
) -> MetricContext:
    return MetricContext(
        images, reference, moments(reference.features), "made-up", settings or MetricSettings()
    )


def evidence(images: Rows, reference: Rows, settings: MetricSettings | None = None) -> MetricContext:
    return judged(side(images), side(reference), settings)


def sane(finding: MetricResult) -> float:
    """The value of a finding in which all can be shown and kept."""
    assert type(finding.value) is float
    assert np.isfinite(finding.value)
    kept = {"details": finding.details, "protocol": finding.protocol, "interval": finding.interval}
    assert json.loads(json.dumps(kept, allow_nan=False))["protocol"] == finding.protocol
    if finding.interval is not None:
        low, high = finding.interval
        slack = 1e-9 * abs(finding.value)
        assert low - slack <= finding.value <= high + slack
    return finding.value


def tried(find: Callable[[MetricContext], MetricResult], given: MetricContext) -> MetricResult | str:
    """What a metric finds, or the sentence by which it refuses the evidence."""
    try:
        return find(given)
    except JudgementError as error:
        return str(error)


@pytest.fixture(autouse=True)
def _few_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """PRD clusters a fifth as often, which is most of the time here; `test_prd` has it as it is."""
    monkeypatch.setattr("kennel.evaluation.metrics.prd.RESTARTS", 2)


@cache
def usual(name: str) -> MetricResult:
    """Of 60 images a side, which many tests start from."""
    return METRICS[name].compute(evidence(breeds(60, 1), breeds(60, 2)))


@pytest.fixture(params=NAMES)
def find(request: pytest.FixtureRequest) -> Callable[[MetricContext], MetricResult]:
    return METRICS[request.param].compute


def test_names_groups_aliases_and_the_order_of_tables_are_of_registered_metrics() -> None:
    assert set(ORDER) == set(NAMES), "a metric has its place in the tables"
    assert set(ALIASES.values()) <= set(NAMES)
    assert {one for group in GROUPS.values() for one in group} <= set(NAMES)
    assert not set(ALIASES) & set(NAMES)
    assert not set(GROUPS) & (set(NAMES) - {"prd"})
    assert in_order(NAMES) == list(ORDER)
    with pytest.raises(UnknownNameError):
        metric_names(["no_such_metric"])


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_says_what_it_is(name: str) -> None:
    found = METRICS[name]
    assert found.name == name == name.lower().replace("-", "_")
    assert found.label.strip()
    assert found.direction in ("lower", "higher", "neither")
    assert len(found.summary) > 20, "the first line of the docstring says it in a sentence"
    assert "\n" not in found.summary
    assert metric_names([name.upper().replace("_", "-")]) == [name], "names are taken in any spelling"


def test_a_finding_is_finite_and_can_be_shown_and_kept(find: Callable[[MetricContext], MetricResult]) -> None:
    sane(find(evidence(breeds(60, 1), breeds(60, 2))))
    sane(find(evidence(breeds(72, 1), breeds(60, 2))))
    sane(find(evidence(breeds(60, 1), breeds(72, 2), MetricSettings(floor=True))))


def test_a_finding_is_the_same_again(find: Callable[[MetricContext], MetricResult]) -> None:
    assert find(evidence(breeds(64, 1), breeds(80, 2))) == find(evidence(breeds(64, 1), breeds(80, 2)))


@pytest.mark.parametrize("name", NAMES)
def test_without_intervals_the_value_is_the_same(name: str) -> None:
    without = METRICS[name].compute(evidence(breeds(60, 1), breeds(60, 2), MetricSettings(intervals=False)))
    assert without.interval is None
    assert without.value == usual(name).value


def in_another_order(given: FeatureSide, seed: int) -> FeatureSide:
    order = np.random.default_rng(seed).permutation(len(given))
    assert given.logits is not None
    assert given.predictions is not None
    assert given.labels is not None
    assert isinstance(given.source, Pictures)
    return FeatureSide(
        given.features[order],
        given.logits[order],
        given.predictions[order],
        given.labels[order],
        given.classes,
        Pictures(given.source.pixels[order], classes=CLASSES),
    )


DRAWN = ("fid_infinity", "prd_f8", "prd_f1_8", "swd")
"""Metrics that draw rows by their place: another order is another draw."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DRAWN])
def test_the_order_of_the_images_does_not_matter(name: str) -> None:
    # Splits are parts of the order, so that there is one; sums in another order differ by some 1e-16 each.
    settings = MetricSettings(splits=1)
    images, reference = side(breeds(60, 1)), side(breeds(60, 2))
    plain = METRICS[name].compute(judged(images, reference, settings))
    mixed = judged(in_another_order(images, 3), in_another_order(reference, 4), settings)
    found = METRICS[name].compute(mixed)
    assert found.value == pytest.approx(plain.value, rel=1e-9, abs=1e-12)
    if plain.interval is not None:
        assert found.interval == pytest.approx(plain.interval, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("name", DRAWN)
def test_where_rows_are_drawn_their_order_matters_no_more_than_the_seed(name: str) -> None:
    images, reference = side(breeds(60, 1)), side(breeds(60, 2))
    draws = 4
    by_seed = [
        METRICS[name].compute(judged(images, reference, MetricSettings(seed=seed))).value
        for seed in range(draws)
    ]
    by_order = [
        METRICS[name].compute(judged(in_another_order(images, seed), in_another_order(reference, seed))).value
        for seed in range(draws)
    ]
    error = np.hypot(np.std(by_seed, ddof=1), np.std(by_order, ddof=1)) / np.sqrt(draws)
    assert error > 0
    assert abs(np.mean(by_seed) - np.mean(by_order)) < 4 * error


def alike(_reference: Rows) -> Rows:
    return breeds(80, 11)


def shifted(_reference: Rows) -> Rows:
    return breeds(80, 11) + np.float32(6)


def collapsed(_reference: Rows) -> Rows:
    spread = 0.1 * np.random.default_rng(12).normal(size=(80, DIMENSION))
    return (CENTRES[0] + spread).astype(np.float32)


def copied(reference: Rows) -> Rows:
    return reference.copy()


WORSE: dict[str, tuple[Callable[[Rows], Rows], ...]] = {
    # A collapse onto one breed is precise.
    "precision": (shifted,),
    "density": (shifted,),
    "prd_f1_8": (shifted,),
    # These do not look at where the reference lies.
    "inception_score": (collapsed,),
    "modes": (collapsed,),
    "memorisation": (copied,),
}


@pytest.mark.parametrize("name", [name for name in NAMES if METRICS[name].direction != "neither"])
def test_new_real_images_stand_better_than_what_the_metric_is_there_to_find(name: str) -> None:
    reference = breeds(80, 10)
    sign = 1 if METRICS[name].direction == "higher" else -1
    good = METRICS[name].compute(evidence(alike(reference), reference)).value
    for spoilt in WORSE.get(name, (shifted, collapsed)):
        bad = METRICS[name].compute(evidence(spoilt(reference), reference)).value
        assert sign * good > sign * bad, f"{spoilt.__name__} images stand at {bad}, real ones at {good}"


def test_a_metric_that_is_better_in_no_direction_is_said_to_be_so() -> None:
    assert [name for name in NAMES if METRICS[name].direction == "neither"] == ["diversity"]
    assert METRICS["diversity"].compute(evidence(collapsed(breeds(80, 10)), breeds(80, 10))).value < 0.1


def broken(features: Rows, value: float) -> Rows:
    spoilt = features.copy()
    spoilt[7, 3] = value
    return spoilt


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_images_with_broken_features_are_refused_where_these_are_looked_at(name: str, value: float) -> None:
    images, reference = side(breeds(60, 1)), side(breeds(60, 2))
    for field in ("features", "logits"):
        spoilt = replace(images, **{field: broken(getattr(images, field), value)})
        found = tried(METRICS[name].compute, judged(spoilt, reference))
        if isinstance(found, str):
            assert "NaN or infinite" in found
            assert "\n" not in found
        else:
            assert found == usual(name), (
                f"the {field} were looked at, and what is broken in them was not seen"
            )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reference_with_broken_features_is_refused(value: float) -> None:
    with pytest.raises(JudgementError, match="NaN or infinite"):
        evidence(breeds(60, 1), broken(breeds(60, 2), value))


def flat(value: float, count: int = 60) -> Rows:
    return np.full((count, DIMENSION), value, np.float32)


def clouds(count: int, dimension: int, seed: int) -> Rows:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def of_rank_3(seed: int) -> Rows:
    return (clouds(60, 3, seed) @ clouds(3, DIMENSION, 99)).astype(np.float32)


def with_constants(seed: int) -> Rows:
    return np.concatenate([breeds(60, seed)[:, :5], flat(2.0)[:, :2], flat(0.0)[:, :1]], 1)


HARD: dict[str, Callable[[], tuple[Rows, Rows]]] = {
    "fewer images than dimensions": lambda: (clouds(24, 64, 1), clouds(30, 64, 2)),
    "fewer images than dimensions on one side": lambda: (clouds(24, 32, 1), clouds(60, 32, 2)),
    "one dimension": lambda: (clouds(60, 1, 1), clouds(60, 1, 2)),
    "all images equal, and one another": lambda: (flat(3.0), flat(3.0)),
    "all images equal, two pictures": lambda: (flat(3.0), flat(2.0)),
    "all judged images equal": lambda: (flat(3.0), breeds(60, 2)),
    "all of the reference equal": lambda: (breeds(60, 1), flat(3.0)),
    "nothing but zeros": lambda: (flat(0.0), flat(0.0)),
    "judged images of zeros": lambda: (flat(0.0), breeds(60, 2)),
    "a reference of zeros": lambda: (breeds(60, 1), flat(0.0)),
    "some features constant": lambda: (with_constants(1), with_constants(2)),
    "every image five times": lambda: (breeds(12, 1).repeat(5, 0), breeds(12, 2).repeat(5, 0)),
    "rank-deficient covariances": lambda: (of_rank_3(1), of_rank_3(2)),
    "features of millions": lambda: (breeds(60, 1) * np.float32(1e6), breeds(60, 2) * np.float32(1e6)),
    "features of 1e12": lambda: (breeds(60, 1) * np.float32(1e12), breeds(60, 2) * np.float32(1e12)),
    "features of 1e-12": lambda: (breeds(60, 1) * np.float32(1e-12), breeds(60, 2) * np.float32(1e-12)),
    "features far from 0": lambda: (breeds(60, 1) + np.float32(1e5), breeds(60, 2) + np.float32(1e5)),
    "one feature a million times the others": lambda: (
        breeds(60, 1) * np.float32([1e6, *[1] * 7]),
        breeds(60, 2) * np.float32([1e6, *[1] * 7]),
    ),
    "two images": lambda: (breeds(2, 1), breeds(2, 2)),
    "a set against itself": lambda: (breeds(60, 1), breeds(60, 1)),
}


@cache
def hard(case: str) -> MetricContext:
    """Shared by the metrics, as the judge does: they must not spoil it for one another."""
    return evidence(*HARD[case]())


REFUSED = {
    "fewer images than dimensions": {"fid_infinity"},
    "fewer images than dimensions on one side": {"fid_infinity"},
    "all images equal, and one another": {"diversity"},
    "all images equal, two pictures": {"diversity"},
    "all of the reference equal": {"diversity"},
    "nothing but zeros": {"diversity", "memorisation", "mifid", "vendi"},
    "judged images of zeros": {"memorisation", "mifid", "vendi"},
    "a reference of zeros": {"diversity", "memorisation", "mifid", "vendi"},
    "two images": {
        *("precision", "recall", "f1", "density", "coverage", "inception_score", "diversity"),
        *("fid_infinity", "fid_by_class", "prd_f8", "prd_f1_8"),
    },
}
"""What has no value there. Everything else has one, so that no refusal hides a metric that could be had."""


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("name", NAMES)
def test_hard_cases_have_a_finite_value_or_a_refusal_in_one_sentence(name: str, case: str) -> None:
    if name not in REFUSED.get(case, ()):
        sane(METRICS[name].compute(hard(case)))
        return
    refused = tried(METRICS[name].compute, hard(case))
    assert isinstance(refused, str)
    assert "\n" not in refused
    assert ": " in refused, "what to do stands behind a colon"


DEGREES = {
    **dict.fromkeys(("fid", "mifid", "fid_infinity", "fid_by_class"), 2),
    **dict.fromkeys(("sliced_wasserstein",), 1),
    **dict.fromkeys(("precision", "recall", "f1", "density", "coverage"), 0),
    **dict.fromkeys(("prd_f8", "prd_f1_8", "diversity", "vendi", "memorisation"), 0),
}
"""By which power of the features' size a metric grows; KID's kernel has none."""


@pytest.mark.parametrize("name", DEGREES)
@pytest.mark.parametrize("exponent", [20, -20, 50, -50])
def test_the_size_of_the_features_scales_a_metric_and_its_interval(name: str, exponent: int) -> None:
    # A power of two, so that float32 features lose nothing and only their size is another.
    factor = np.float32(2.0**exponent)
    found = METRICS[name].compute(evidence(breeds(60, 1) * factor, breeds(60, 2) * factor))
    grown = (2.0**exponent) ** DEGREES[name]
    before = usual(name)
    assert found.value == pytest.approx(before.value * grown, rel=1e-9)
    if before.interval is not None:
        expected = tuple(end * grown for end in before.interval)
        assert found.interval == pytest.approx(expected, rel=1e-5, abs=1e-9 * abs(before.value) * grown)


@pytest.mark.parametrize("dimension", [1, 4, 24])
@pytest.mark.parametrize("name", NAMES)
def test_the_fewest_images_that_a_metric_asks_for_are_enough(name: str, dimension: int) -> None:
    settings = MetricSettings()
    count = METRICS[name].min_images(dimension, settings)
    images, reference = clouds(count, dimension, 1), clouds(count, dimension, 2)
    one_class = (side(features, classes=1) for features in (images, reference))
    sane(METRICS[name].compute(judged(*one_class, settings)))


class Corners(Extractor):
    """The means of quarters in three colours, with made-up logits."""

    name, dimension, resize, logits = "corners", 12, "means of quarters", "12 made-up logits"

    def extract(self, pixels: Pixels) -> Extracted:
        features = torch.nn.functional.adaptive_avg_pool2d(pixels.float(), 2).flatten(1)
        return Extracted(features, features / 50)


@pytest.mark.parametrize("name", NAMES)
def test_the_judge_refuses_one_image_on_either_side(name: str) -> None:
    source = side(breeds(80, 1)).source
    assert isinstance(source, Pictures)
    one = Pictures(source.pixels[:1], np.zeros(1, np.int64), CLASSES)
    for images, reference in ((one, source), (source, one)):
        with pytest.raises(JudgementError, match=r"has 1 image: at least 2"):
            Evaluator(reference, Corners(), cached=False).judge(images, (name,))


def test_all_that_the_judge_calls_possible_it_can_do(tmp_path: Path) -> None:
    source, other = side(breeds(80, 1)).source, side(breeds(80, 2)).source
    assert isinstance(source, Pictures)
    assert isinstance(other, Pictures)
    # Not by class: how many images each class has is not asked before they are counted.
    for count in (2, 3, 4, 10, 19, 20, 26, 27, 40):
        some = Pictures(source.pixels[:count], classes=CLASSES)
        evaluator = Evaluator(other, Corners(), cached=False)
        names = [judgement.metric for judgement in evaluator.judge(some, ("all",))]
        assert names == evaluator.available_metrics(some), f"of {count} images"
        assert "fid" in names


def test_classes_without_images_are_left_out_of_fid_by_class_and_named() -> None:
    images, reference = side(breeds(60, 1)), side(breeds(60, 2))
    assert images.labels is not None
    kept = np.flatnonzero(images.labels < 2)
    fewer = replace(images, features=images.features[kept], labels=images.labels[kept])
    for one, other in ((fewer, reference), (reference, fewer)):
        found = METRICS["fid_by_class"].compute(judged(one, other))
        sane(found)
        assert found.details["measured"] == 2
        assert found.details["not_measured"] == ["collie", "husky"]
    apart = replace(fewer, labels=fewer.labels + 2) if fewer.labels is not None else fewer
    with pytest.raises(JudgementError, match="none of the 4 classes has 2 images"):
        METRICS["fid_by_class"].compute(judged(fewer, apart))
    with pytest.raises(JudgementError, match="classes that the reference lacks"):
        METRICS["fid_by_class"].compute(judged(replace(images, classes=("a", "b", "c", "d")), reference))


def test_classes_without_images_are_no_modes_and_have_no_divergence() -> None:
    images, reference = side(breeds(60, 1)), side(breeds(60, 2))
    one_class = replace(images, predictions=np.zeros(60, np.int64))
    found = METRICS["modes"].compute(judged(one_class, reference))
    assert sane(found) == 1.0
    shares = np.bincount(reference.predictions, minlength=4) / 60
    assert found.details["divergence"] == pytest.approx(-np.log(shares[0]))
    unknown = METRICS["modes"].compute(judged(images, replace(reference, predictions=np.zeros(60, np.int64))))
    assert sane(unknown) == 4.0
    assert unknown.details["divergence"] is None, "it is infinite, which JSON has no word for"
    assert unknown.details["modes_of_the_reference"] == 1


@pytest.mark.parametrize("name", [name for name in NAMES if METRICS[name].needs])
def test_what_a_metric_needs_and_lacks_is_said_in_one_sentence(name: str) -> None:
    bare = judged(FeatureSide(breeds(60, 1)), FeatureSide(breeds(60, 2)))
    with pytest.raises(JudgementError, match=": "):
        METRICS[name].compute(bare)


@pytest.mark.parametrize("name", [name for name in NAMES if not METRICS[name].needs])
def test_a_metric_that_needs_nothing_takes_bare_features(name: str) -> None:
    sane(METRICS[name].compute(judged(FeatureSide(breeds(60, 1)), FeatureSide(breeds(60, 2)))))
