"""A forecast says what the run then does, ends in time, and changes nothing."""

import dataclasses
import json
import threading
from pathlib import Path

import pytest
import torch

from kennel import planning
from kennel.config.recipe import Recipe, override
from kennel.errors import KennelError, RecipeError, RunError, WeightsError
from kennel.networks import GENERATORS
from kennel.planning import forecast
from kennel.recipes import get_recipe
from kennel.runs.run_dir import RunDir
from kennel.training.disk_errors import free_disk
from kennel.training.run import train

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    """One iteration is timed."""
    monkeypatch.setattr(planning, "TIMED", 0.0001)


WIDTHS = {
    "mlp": "hidden=[8,8]",
    "modern": "base_channels=8",
    "stylegan2": "max_multiplier=4",
    **dict.fromkeys(("dcgan", "improved", "sngan", "sagan", "biggan", "biggan_deep"), "base_channels=4"),
}


def small(*settings: str) -> Recipe:
    """A small DCGAN of 8x8 grey images, 128 of them in batches of 8."""
    first = ["image.size=8", "image.channels=1", "batch_size=8", "num_ticks=4", "budget.images=128"]
    widths = ["generator.base_channels=4", "discriminator.base_channels=4", "validation.num_samples=16"]
    return override(get_recipe("digits"), [*first, *widths, *settings])


def quick(recipe: Recipe, data: Path, **more):
    return forecast(recipe, data, seconds=100.0, **more)


class Clock:
    """A clock that moves by `step` seconds whenever it is read."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["steps.discriminator=3"],
        ["num_ticks=3"],
        ["num_ticks=40"],
        ["validation.every_ticks=3"],
        ["validation.every_ticks=0"],
        ["alarms.policy=rollback", "num_ticks=3"],
        ["alarms.policy=rollback", "num_ticks=40"],
    ],
    ids=" ".join,
)
def test_checkpoints_and_their_bytes_are_those_of_the_run(packed_set, tmp_path, settings):
    recipe, data = small(*settings), packed_set()
    found = quick(recipe, data)
    train(recipe, data, tmp_path / "run")
    kept = list(RunDir(tmp_path / "run").checkpoints.iterdir())
    assert found.checkpoints == len(kept) + 1  # the one that is being written
    assert found.checkpoint_bytes == pytest.approx(kept[0].stat().st_size, rel=0.15)
    assert found.disk == found.checkpoints * found.checkpoint_bytes


@pytest.mark.parametrize(
    "name", ["biggan.dogs", "cgan", "improved.mnist", "mine", "ralsgan", "wgan", "wgan_gp"]
)
def test_recipes_of_all_kinds_can_be_forecast(name, packed_set):
    recipe = get_recipe(name)
    size = min(GENERATORS[recipe.generator.name].sizes or (8,))
    settings = [f"image.size={size}", "image.channels=1", "batch_size=8", "budget.images=128"]
    settings += [
        f"{player}.{WIDTHS[getattr(recipe, player).name]}" for player in ("generator", "discriminator")
    ]
    recipe = override(recipe, [*settings, "validation.every_ticks=0", "sampling.standing_stats_batches=0"])
    found = quick(recipe, packed_set(size=size, classes=2))
    assert found.operations > 0
    assert found.timed >= 1
    assert found.peak > found.state > 0
    assert found.training_seconds > 0
    assert found.parameters["generator"] > 0


@pytest.mark.parametrize("step", [0.5, 30.0], ids=["within an iteration", "before the first operation"])
def test_where_the_bound_is_reached_before_an_iteration_is_over_it_has_what_is_known(packed_set, step):
    clock = Clock(step)
    found = forecast(small(), packed_set(), seconds=20.0, clock=clock)
    assert found.stopped == "time"
    assert (found.operations, found.peak, found.images_per_second, found.training_seconds) == (None,) * 4
    whole = forecast(small(), packed_set(name="again"), seconds=1000.0)
    assert found.parameters == whole.parameters
    assert found.checkpoint_bytes == pytest.approx(whole.checkpoint_bytes, rel=0.01)
    assert found.state == whole.state  # gradients and the optimizers' moments are known without
    assert clock.now < 20 + 5 * step


def test_no_iteration_is_begun_that_would_end_after_the_bound(packed_set, monkeypatch):
    data, once = packed_set(), Clock(1.0)
    forecast(small(), data, seconds=1e9, clock=once)  # the clock is read at every operation that is counted
    monkeypatch.setattr(planning, "TIMED", 5.0)
    clock = Clock(1.0)
    only = forecast(small(), data, seconds=1.5 * once.now, clock=clock)
    assert (only.timed, only.stopped) == (0, "")
    assert clock.now < 1.5 * once.now
    assert only.images_per_second == pytest.approx(8 / once.now, rel=0.1)
    assert forecast(small(), data, seconds=3 * once.now, clock=Clock(1.0)).timed > 1


def test_an_iteration_that_needs_more_than_is_free_is_broken_off(packed_set, monkeypatch):
    data = packed_set(count=200, size=16)
    wide = (
        "image.size=16",
        "generator.base_channels=8",
        "discriminator.base_channels=8",
        "budget.images=1280",
        "batch_size=64",
    )
    whole = quick(small(*wide), data)
    monkeypatch.setattr(planning, "free_bytes", lambda device: whole.memory - 1)
    found = quick(small(*wide), data)
    assert found.stopped == "memory"
    assert found.state == whole.state
    monkeypatch.setattr(planning, "free_bytes", lambda device: whole.memory + 1)
    assert quick(small(*wide), data).stopped == ""
    monkeypatch.setattr(planning, "free_bytes", lambda device: 0)  # nobody knows
    assert quick(small(*wide), data).memory_free is None


def test_a_lazy_term_is_named_and_what_was_timed_without_it_is_said(packed_set):
    data = packed_set()
    found = quick(small("techniques.r1.interval=16"), data)
    assert found.lazy == {"r1": 16}
    assert found.operations > quick(small(), data).operations
    assert "r1 was due in none of the 1 timed iterations" in found.notes[0]
    assert quick(small("techniques.r1=on"), data).lazy == {}


def test_fakes_that_both_players_see_are_drawn_once(packed_set):
    data = packed_set()
    twice, once = quick(small(), data), quick(small("steps.reuse_fakes=true"), data)
    assert once.operations < 0.95 * twice.operations


def test_an_iteration_without_the_boost_is_measured(packed_set):
    boost = "steps.extra_d_steps={steps: 5, first: 2, interval: 3}"
    data = packed_set()
    assert quick(small(boost), data).operations == quick(small(), data).operations


def test_a_run_of_half_the_batch_holds_half_as_much_in_an_iteration(packed_set):
    data = packed_set(count=200, size=16)
    wide = (
        "image.size=16",
        "generator.base_channels=8",
        "discriminator.base_channels=8",
        "budget.images=1280",
    )
    whole, half = (quick(small(*wide, f"batch_size={batch}"), data) for batch in (64, 32))
    assert (half.peak - half.state) / (whole.peak - whole.state) == pytest.approx(0.5, abs=0.05)
    assert half.state == whole.state


def test_no_thread_is_left_behind(packed_set):
    quick(small("batch_size=16"), packed_set())
    assert "kennel-ahead" not in [thread.name for thread in threading.enumerate()]


def test_memory_that_runs_out_all_the_same_is_told(packed_set, monkeypatch):
    def full(*given: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    monkeypatch.setattr(planning, "_measured", full)
    with pytest.raises(
        RunError, match="the memory of cpu is too small for a batch of 8 images: give a small"
    ):
        quick(small(), packed_set())


def test_nothing_is_written_and_nothing_changes(packed_set, tmp_path, monkeypatch):
    data = packed_set(count=40)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    quick(small(), data, out=tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_is_left_of_a_run_is_forecast_where_there_is_one(packed_set, tmp_path):
    data, run = packed_set(), tmp_path / "run"
    train(small("budget.images=64", "num_ticks=2"), data, run)
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    found = quick(small("num_ticks=2", "budget.images=128"), data, out=run)
    assert (found.images_seen, found.images_left, found.ticks, found.validations) == (64, 64, 1, 1)
    with pytest.raises(RecipeError, match="has another recipe"):
        quick(small("loss.name=minimax", "num_ticks=2"), data, out=run)
    with pytest.raises(RunError, match="was trained on"):
        quick(small("num_ticks=2"), packed_set(count=50, name="other"), out=run)
    over = quick(small("budget.images=64", "num_ticks=2"), data, out=run)
    assert (over.images_left, over.ticks, over.training_seconds) == (0, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == files


@pytest.mark.parametrize(
    "settings",
    [["batch_size=256"], ["image.size=16"], ["num_classes=null"], ["validation.metric=swd"]],
    ids=" ".join,
)
def test_what_train_refuses_is_refused_in_the_same_words(packed_set, tmp_path, settings):
    data = packed_set()
    with pytest.raises(KennelError) as refused:
        train(small(*settings), data, tmp_path / "run")
    with pytest.raises(KennelError) as also_refused:
        quick(small(*settings), data)
    assert str(also_refused.value) == str(refused.value)


def test_weights_that_are_not_at_hand_are_told_and_not_downloaded(packed_set, tmp_path):
    found = quick(small("validation.extractor=mobilenet"), packed_set())
    assert "train would download" in found.notes[0]
    with pytest.raises(WeightsError):
        quick(small("validation.extractor=mobilenet"), packed_set(name="other"), weights=tmp_path / "no")


def test_a_set_smaller_than_a_batch_is_told(packed_set):
    assert "some are in each batch twice" in quick(small(), packed_set(count=6)).notes[0]
    assert quick(small(), packed_set(count=40, name="more")).notes == ()


def test_compiling_is_left_out_and_that_is_told(packed_set):
    found = quick(small("compute.compile=true"), packed_set())
    assert "without compiling" in found.notes[0]
    assert found.timed >= 1


def test_a_forecast_is_plain_values(packed_set):
    found = quick(small(), packed_set())
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["memory"] == found.peak + found.resident
    assert content["training_seconds"] == pytest.approx(128 / content["images_per_second"])
    assert dataclasses.asdict(found)["disk_free"] == content["disk_free"]


def test_a_folder_that_is_to_be_has_the_room_of_the_one_above(tmp_path):
    assert free_disk(tmp_path / "runs" / "new") == pytest.approx(free_disk(tmp_path), rel=0.01)
