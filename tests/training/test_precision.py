"""What decides `compute.precision=auto`: measured times, a cache that is not trusted, once a run."""

import json
from dataclasses import replace

import pytest
import torch

from kennel.data.dataset import ImageDataset
from kennel.engine import precision
from kennel.engine.builder import resolve
from kennel.engine.precision import Iterations, LateError, cache_entry, measure, precision_for, read_cached
from kennel.errors import RecipeError
from kennel.runs.run_dir import RunDir
from kennel.training.resolve_recipe import make_plan
from kennel.training.run import train

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def with_bfloat16(monkeypatch):
    """Whatever processor the tests run on, it is one that has bfloat16."""
    monkeypatch.setattr("kennel.engine.precision.cpu_has_bfloat16", lambda: True)


class Clock:
    """A clock that only moves when an iteration is played on it."""

    def __init__(self, **seconds: float) -> None:
        """`seconds` of an iteration of 8 images by precision; of more images it takes longer."""
        self.seconds, self.now, self.played = seconds, 0.0, []

    def __call__(self) -> float:
        return self.now

    def timer(self, name: str, batch: int, deadline: float | None) -> float:
        self.played.append((name, batch))
        took = self.seconds[name] * batch / 8
        self.now += took
        if deadline is not None and self.now > deadline:
            raise LateError
        return took


@pytest.mark.parametrize(
    ("float32", "bfloat16", "found"),
    [(0.3, 0.2, "bfloat16"), (0.2, 0.3, "float32"), (0.21, 0.2, "float32"), (3.36, 2.808, "float32")],
    ids=["faster", "slower", "within the noise", "one pair alone, not far enough"],
)
def test_the_faster_precision_is_taken_and_float32_within_the_noise(float32, bfloat16, found):
    clock = Clock(float32=float32, bfloat16=bfloat16)
    measured = measure(clock.timer, 64, 10_000, clock, precision.BOUND)
    assert measured.precision == found
    assert measured.ratio == pytest.approx(float32 / bfloat16)


def test_a_pair_that_something_slowed_does_not_decide():
    clock = Clock(float32=0.2, bfloat16=0.2)
    slowed = iter([*[1.0] * 7, 5.0, *[1.0] * 100])

    def timer(name: str, batch: int, deadline: float | None) -> float:
        took = 0.2 * next(slowed)
        clock.now += took
        return took

    assert measure(timer, 16, 10_000, clock, precision.BOUND).precision == "float32"


def test_measuring_is_bounded_and_plays_parts_of_a_large_batch():
    clock = Clock(float32=0.3, bfloat16=0.2)
    measure(clock.timer, 64, 10_000, clock, precision.BOUND)
    assert clock.now < precision.BOUND
    assert {batch for _, batch in clock.played} == {4, 16}
    quick = Clock(float32=0.003, bfloat16=0.002)
    measure(quick.timer, 64, 10**6, quick, precision.BOUND)
    assert quick.played[-1][1] == 64
    assert len(quick.played) == 3 + 2 + 2 * precision.PAIRS
    slow = Clock(float32=30.0, bfloat16=20.0)
    with pytest.raises(LateError):
        measure(slow.timer, 64, 10_000, slow, precision.BOUND)
    barely = Clock(float32=4.8, bfloat16=4.8)
    assert measure(barely.timer, 64, 10_000, barely, precision.BOUND) is None


def test_nothing_is_measured_for_a_run_that_is_over_too_soon():
    clock = Clock(float32=0.003, bfloat16=0.002)
    assert measure(clock.timer, 8, 1000, clock, precision.BOUND) is None
    assert len(clock.played) == 3


@pytest.fixture
def resolved(small_recipe, packed_set):
    """(recipe, plan): of 1,000,000 images."""
    data = ImageDataset(packed_set())
    recipe = resolve(small_recipe("budget.images=1M"), data)
    return recipe, make_plan(recipe, 1_000_000, CPU)


def test_what_was_measured_is_remembered_by_what_has_an_influence_on_it(resolved):
    recipe, plan = resolved
    clock, said, asked = Clock(float32=0.3, bfloat16=0.2), [], []

    def timers(recipe, plan):
        asked.append(recipe.name)
        return clock.timer

    def decide(recipe, plan):
        return precision_for(recipe, plan, said.append, timer=timers, clock=clock)

    assert decide(recipe, plan) == decide(recipe, plan) == "bfloat16"
    same = recipe.model_copy(update={"seed": 3, "name": "another", "num_ticks": 7})
    assert decide(same, plan) == "bfloat16"
    assert len(asked) == 1
    assert set(said) == {"Precision: bfloat16 (bfloat16 is 1.50 times as fast as float32 here)."}
    decide(recipe, replace(plan, batch_size=16))
    wider = recipe.generator.model_copy(update={"base_channels": 8})
    decide(recipe.model_copy(update={"generator": wider}), plan)
    other = recipe.compute.model_copy(update={"convolutions": "direct"})
    decide(recipe.model_copy(update={"compute": other}), plan)
    assert len(asked) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content | {"precision": "float64"},
        lambda content: content | {"precision": ["bfloat16"]},
        lambda content: content | {"ratio": float("nan")},
        lambda content: content | {"ratio": "1.5"},
        lambda content: content | {"ratio": -1.0},
        lambda content: content | {"key": {}},
        lambda content: {"precision": "bfloat16"},
        lambda content: [content],
        lambda content: content | {"more": "x" * 20_000},
    ],
)
def test_a_damaged_or_untrusted_file_of_the_cache_is_ignored(resolved, change):
    recipe, plan = resolved
    clock = Clock(float32=0.2, bfloat16=0.3)
    file, key = cache_entry(recipe, plan)
    right = {"key": key, "precision": "bfloat16", "ratio": 1.5}
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(right))
    assert read_cached(file, key).precision == "bfloat16"
    file.write_text(json.dumps(change(right)))
    assert read_cached(file, key) is None
    assert precision_for(recipe, plan, timer=lambda recipe, plan: clock.timer, clock=clock) == "float32"
    assert read_cached(file, key).precision == "float32"  # and it is mended
    file.write_bytes(b"\xff[" * 500)
    assert read_cached(file, key) is None


def test_where_it_cannot_be_measured_or_kept_it_is_float32_or_measured_again(resolved, monkeypatch):
    recipe, plan = resolved

    def impossible(name: str, batch: int, deadline: float | None) -> float:
        raise RuntimeError("no kernel for BFloat16")

    assert precision_for(recipe, plan, timer=lambda recipe, plan: impossible) == "float32"
    slow = Clock(float32=30.0, bfloat16=1.0)
    assert precision_for(recipe, plan, timer=lambda recipe, plan: slow.timer, clock=slow) == "float32"
    monkeypatch.setenv("KENNEL_CACHE", "/proc/nothing")
    clock = Clock(float32=0.3, bfloat16=0.2)
    assert precision_for(recipe, plan, timer=lambda recipe, plan: clock.timer, clock=clock) == "bfloat16"


def test_a_run_of_few_iterations_is_not_measured(resolved):
    recipe, plan = resolved

    def never(recipe, plan):
        raise AssertionError

    assert precision_for(recipe, replace(plan, total_images=800), timer=never) == "float32"


@pytest.mark.parametrize(
    "settings",
    [[], ["techniques.r1.interval=4", "num_classes=null", "discriminator.conditioning=label"]],
    ids=["plain", "by class, with a lazy penalty"],
)
def test_real_iterations_of_both_precisions_are_played(small_recipe, packed_set, settings):
    data = ImageDataset(packed_set(classes=2))
    recipe = resolve(small_recipe(*settings), data)
    output = Iterations(recipe, make_plan(recipe, 128, CPU))
    for name in ("float32", "bfloat16", "float32"):
        assert output(name, 4, None) > 0
    with pytest.raises(LateError):
        output("float32", 4, 0.0)


def test_a_run_decides_once_and_keeps_it(small_recipe, packed_set, tmp_path, monkeypatch):
    asked = []

    def decide(recipe, plan, say, bound):
        asked.append(plan.total_images)
        return "bfloat16"

    monkeypatch.setattr("kennel.training.resolve_recipe.precision_for", decide)
    data, run = packed_set(), tmp_path / "run"
    train(small_recipe("budget.images=64"), data, run)
    assert RunDir(run).recipe().compute.precision == "bfloat16"
    monkeypatch.setattr("kennel.training.resolve_recipe.precision_for", lambda *given: "float32")
    train(small_recipe("budget.images=128"), data, run)
    assert RunDir(run).recipe().compute.precision == "bfloat16"
    with pytest.raises(RecipeError, match=r"compute\.precision"):
        train(small_recipe("compute.precision=float32"), data, run)
    assert asked == [64]
