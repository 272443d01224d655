"""A forecast says what the run then does: its rounds, ticks, files and memory; and it writes nothing."""

import dataclasses
import importlib
import json
import threading
from datetime import datetime
from pathlib import Path

import pytest
import torch

from kennel.errors import KennelError, RecipeError, RunError, WeightsError
from kennel.networks import GENERATORS
from kennel.recipe import Recipe, Turns, override
from kennel.recipes import built_in
from kennel.run_folder import RunFolder
from kennel.trainer import Plan
from kennel.watch import Watch
from kennel.wiring import forecast, train
from kennel.wiring.forecasting.advice import advice
from kennel.wiring.forecasting.results import Times, clock, size_words
from kennel.wiring.forecasting.rounds import rounds_of
from kennel.wiring.forecasting.telling import rows
from kennel.wiring.forecasting.ticks import Validation, ticks_of

CPU = torch.device("cpu")
ROOM = importlib.import_module("kennel.wiring.forecasting.forecast")
"""The module, which its function hides from an attribute's path."""


@pytest.fixture(autouse=True)
def _quickly(monkeypatch, tmp_path):
    """No products are timed, validation's parts only briefly, and the cache is the test's own."""
    monkeypatch.setattr(ROOM, "product_rate", lambda device, dtype: 1e9)
    monkeypatch.setattr("kennel.wiring.forecasting.ticks.PART_SECONDS", 0.01)
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KENNEL_WEIGHTS", raising=False)


WIDTHS = {
    "mlp": "hidden=[8,8]",
    "modern": "width=8",
    **dict.fromkeys(("dcgan", "improved", "sngan", "sagan", "biggan", "biggan_deep"), "width=4"),
}


def small(*settings: str) -> Recipe:
    """A small DCGAN of 8x8 grey images, 128 of them in batches of 8."""
    first = ["image.size=8", "image.channels=1", "batch=8", "ticks=4", "budget.images=128"]
    widths = ["generator.width=4", "discriminator.width=4", "validation.count=16"]
    return override(built_in("digits"), [*first, *widths, *settings])


def quick(recipe: Recipe, data: Path, **more):
    return forecast(recipe, data, seconds=0.0, **more)


class Counting(Watch):
    """How many rounds and ticks there were."""

    def __init__(self) -> None:
        self.rounds, self.images, self.ticks = 0, 0, []

    def at_round(self, images_seen: int, total: int) -> None:
        self.rounds, self.images = self.rounds + 1, images_seen

    def at_tick(self, entry) -> None:
        self.ticks.append(dict(entry))


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["turns.discriminator=3"],
        ["ticks=3"],
        ["budget.images=131", "ticks=5"],
        ["ticks=40"],
        ["turns.boost={discriminator: 5, first: 2, every: 3}"],
        ["validation.every_ticks=3"],
        ["validation.every_ticks=0"],
        ["alarms.policy=rollback", "ticks=3"],
        ["alarms.policy=rollback", "ticks=40"],
        ["alarms.spectra=off"],
        ["keep_every_ticks=2", "ticks=8"],
        ["keep_every_ticks=1", "ticks=3"],
    ],
    ids=" ".join,
)
def test_rounds_ticks_validations_and_files_are_those_of_the_run(packed_set, tmp_path, settings):
    recipe, data, watching = small(*settings), packed_set(), Counting()
    found = quick(recipe, data)
    train(recipe, data, tmp_path / "run", watch=watching)
    assert found.rounds_left == watching.rounds
    assert found.images_left == watching.images
    assert found.ticks.count == len(watching.ticks)
    assert found.ticks.validations == sum("fid" in entry for entry in watching.ticks)
    folder = RunFolder(tmp_path / "run")
    assert found.disk.grids == len(list(folder.samples.iterdir()))
    kept = list(folder.checkpoints.iterdir())
    assert found.disk.checkpoints == len(kept) + 1  # the one that is being written
    assert found.disk.checkpoint_bytes == pytest.approx(kept[0].stat().st_size, rel=0.05)
    assert found.disk.log_bytes == pytest.approx(folder.log_file.stat().st_size, rel=0.35)
    spectra = folder.spectra_file.stat().st_size if folder.spectra_file.exists() else 0
    assert found.disk.spectra_bytes == pytest.approx(spectra, rel=0.1)


def test_boosted_rounds_are_counted_turn_by_turn():
    turns = Turns.model_validate({"discriminator": 2, "boost": {"discriminator": 7, "first": 3, "every": 4}})
    plan = Plan(10, turns, 1000, 100, 0, CPU)
    played, rounds = 0, 0
    while played * 10 < 1000:
        played += turns.discriminator_in(rounds)
        rounds += 1
    found = rounds_of(plan, {})
    assert (found.count, found.images) == (rounds, played * 10)
    assert found.extra_turns == played - 2 * rounds
    # What is left after some rounds and what came before are the whole.
    left = rounds_of(plan, {}, turns.discriminator_before(6) * 10)
    assert (left.count, left.images) == (rounds - 6, (played - turns.discriminator_before(6)) * 10)


def test_kinds_of_rounds_follow_the_turns_in_which_terms_are_due():
    plan = Plan(8, Turns(discriminator=2), 8 * 2 * 60, 100, 0, CPU)
    found = rounds_of(plan, {"lazy": 6, "always": 1})
    assert found.period == 6  # three rounds of two turns for the one, six turns of the generator
    shares = {kind.discriminator: 0.0 for kind in found.numbers}
    for kind in found.numbers:
        shares[kind.discriminator] += found.share(kind)
    both, one = ("lazy", "always"), ("always",)
    assert shares == pytest.approx({(both, one): 1 / 3, (one, one): 2 / 3})
    for kind, numbers in found.numbers.items():
        for index in range(3 * len(numbers)):
            number = found.number(kind, index)
            assert number < found.count
            assert ("lazy" in kind.generator[0]) == (number % 6 == 0)


def test_ticks_that_are_left_are_those_after_the_images_seen():
    plan = Plan(8, Turns(), 128, 32, 0, CPU)
    assert [ticks_of(plan, 2, seen).count for seen in (0, 31, 32, 100, 128)] == [4, 4, 3, 1, 0]
    assert [ticks_of(plan, 2, seen).validations for seen in (0, 32, 64, 96, 128)] == [2, 2, 1, 1, 0]


@pytest.mark.parametrize(
    "name", ["biggan.dogs", "cgan", "improved.mnist", "mine", "ralsgan", "wgan", "wgan_gp"]
)
def test_recipes_of_all_kinds_can_be_forecast(name, packed_set):
    recipe = built_in(name)
    size = min(GENERATORS[recipe.generator.name].sizes or (8,))
    settings = [f"image.size={size}", "image.channels=1", "batch=8", "budget.images=128"]
    settings += [
        f"{player}.{WIDTHS[getattr(recipe, player).name]}" for player in ("generator", "discriminator")
    ]
    recipe = override(recipe, [*settings, "validation.every_ticks=0", "sampling.standing_passes=0"])
    data = packed_set(size=size, classes=2)
    found = quick(recipe, data)
    assert found.flops > 0
    assert found.speed.samples >= 3
    assert found.memory.round > 0
    assert found.times.total > 0
    assert found.parameters["generator"] > 0


def test_a_lazy_term_is_counted_by_how_often_it_is_due(packed_set):
    data = packed_set()
    off = quick(small(), data).flops
    always = quick(small("techniques.r1=on"), data).flops
    lazily = quick(small("techniques.r1.every=4"), data)
    assert lazily.flops == pytest.approx(0.25 * always + 0.75 * off, rel=1e-12)
    assert lazily.kinds == 2
    assert always > off


def test_fakes_that_both_players_see_are_drawn_once(packed_set):
    data = packed_set()
    twice, once = quick(small(), data), quick(small("turns.same_fakes=true"), data)
    assert once.flops < 0.95 * twice.flops
    boost = "turns.boost={discriminator: 5, first: 2, every: 3}"
    turn = (quick(small(boost, f"turns.same_fakes={kept}"), data).flops for kept in ("true", "false"))
    assert next(turn) < 0.97 * next(turn)


def test_a_terms_share_is_what_leaving_it_out_saves(packed_set):
    data = packed_set()
    # The share is counted on a part of a batch, where the operations on weights alone weigh more.
    off, always = quick(small(), data), quick(small("techniques.r1=on"), data)
    assert off.term_shares == {}
    assert always.term_shares["r1"] == pytest.approx(1 - off.flops / always.flops, abs=0.01)


def test_a_run_of_half_the_batch_holds_half_as_much_in_a_round(packed_set):
    data = packed_set(count=200, size=16)
    wide = ("image.size=16", "generator.width=8", "discriminator.width=8", "budget.images=1280")
    whole, half = (quick(small(*wide, f"batch={batch}"), data) for batch in (64, 32))
    assert half.memory.round / whole.memory.round == pytest.approx(0.5, abs=0.05)
    assert half.memory.state == whole.memory.state
    assert whole.memory.state.optimisers >= 2 * whole.memory.state.gradients  # Adam's two moments


def test_what_does_not_fit_is_not_played_and_the_batch_that_is_named_fits(packed_set, monkeypatch):
    data = packed_set(count=200, size=16)
    wide = ("image.size=16", "generator.width=8", "discriminator.width=8", "budget.images=1280")
    counted = quick(small(*wide, "batch=64"), data).memory
    free = counted.total - counted.round // 3
    monkeypatch.setattr(ROOM, "free_memory", lambda device: free)
    found = quick(small(*wide, "batch=64"), data)
    assert not found.memory.fits
    assert found.times is None
    assert found.speed is None
    assert found.memory.round == pytest.approx(counted.round, rel=0.02)
    batch = found.memory.batch_that_fits
    assert 32 <= batch < 64
    assert f"--set batch={batch} would fit" in found.advice[0]
    assert quick(small(*wide, f"batch={batch}"), data).memory.fits
    assert not quick(small(*wide, f"batch={batch + 6}"), data).memory.fits
    monkeypatch.setattr(ROOM, "free_memory", lambda device: counted.state.total // 2)
    assert "does not fit at any batch" in quick(small(*wide, "batch=64"), data).advice[0]


def test_no_part_of_a_batch_is_played_that_would_not_fit(packed_set, monkeypatch):
    data = packed_set(count=200, size=16)
    wide = ("image.size=16", "generator.width=8", "discriminator.width=8", "budget.images=1280", "batch=64")
    counted = quick(small(*wide), data).memory
    played, player = [], ROOM._Bench._player

    def recorded(self, stream, size):
        played.append(size)
        return player(self, stream, size)

    monkeypatch.setattr(ROOM._Bench, "_player", recorded)
    # Of two thirds of it a round of 8 images takes a part, and one of 16, the quarter, more than all.
    free = 3 * counted.state.total // 2 + counted.round // 4
    monkeypatch.setattr(ROOM, "free_memory", lambda device: free)
    found = quick(small(*wide), data)
    assert max(played) == 8
    assert not found.memory.fits
    assert found.memory.round == pytest.approx(counted.round, rel=0.1)


def test_no_thread_is_left_behind(packed_set):
    quick(small("batch=16"), packed_set())
    assert "kennel-ahead" not in [thread.name for thread in threading.enumerate()]


def test_memory_that_runs_out_all_the_same_is_told(packed_set, monkeypatch):
    def full(*given: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    monkeypatch.setattr(ROOM._Bench, "whole", full)
    with pytest.raises(
        RunError, match="the memory of cpu does not suffice for a batch of 8 images: give a small"
    ):
        quick(small(), packed_set())


def test_nothing_is_written_and_nothing_changes(packed_set, tmp_path, monkeypatch):
    data = packed_set(count=40)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = quick(small(), data, out=tmp_path / "run")
    assert found.validation.extractor == "pixels"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_is_left_of_a_run_is_forecast_where_there_is_one(packed_set, tmp_path):
    data, run = packed_set(), tmp_path / "run"
    train(small("budget.images=64", "ticks=2"), data, run)
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    found = quick(small("ticks=2", "budget.images=128"), data, out=run)
    assert (found.images_seen, found.images_left, found.rounds_left) == (64, 64, 8)
    assert found.ticks.count == 1
    assert found.validation.reference == 0  # the set's features are in the cache since
    with pytest.raises(RecipeError, match="begun with another recipe"):
        quick(small("loss.name=minimax", "ticks=2"), data, out=run)
    with pytest.raises(RunError, match="was trained on"):
        quick(small("ticks=2"), packed_set(count=50, name="other"), out=run)
    over = quick(small("budget.images=64", "ticks=2"), data, out=run)
    assert (over.images_left, over.ticks.count, over.times.training) == (0, 0, 0)
    assert dict(rows(over, datetime.now()))["training"] == "0:00 for 0 images left of 64 (0 epochs)"
    assert over.to_json()["flops_per_image"] == pytest.approx(found.to_json()["flops_per_image"])
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == files


@pytest.mark.parametrize(
    "settings",
    [["batch=256"], ["image.size=16"], ["classes=null"], ["validation.metric=swd"]],
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
    assert found.validation is None
    assert found.times.validation == 0
    assert "Validation is left out of memory and time" in found.notes[0]
    with pytest.raises(WeightsError):
        quick(small("validation.extractor=mobilenet"), packed_set(name="other"), weights=tmp_path / "no")


def test_a_set_smaller_than_a_batch_is_told(packed_set):
    assert "shows some of them twice" in quick(small(), packed_set(count=6)).advice[0]
    of_enough = quick(small("validation.every_ticks=0"), packed_set(count=40, name="more"))
    assert of_enough.advice == ()


def test_advice_rests_on_the_figures(packed_set):
    found = quick(small(), packed_set())
    slow = Validation("pixels", ("fid",), 16, 1.0, 0.5, 0.5, 3.0)
    nothing = {"looks": 0.0, "writing": 0.0, "start": 0.0}
    times = Times(training=8.0, validations=4, validation=8.0, reference=3.0, **nothing)
    (line,) = advice(dataclasses.replace(found, validation=slow, times=times))
    assert "42% of the time" in line
    assert "every_ticks=4 would take 0:02 in place of 0:08" in line
    found = dataclasses.replace(found, times=None)  # a validation that was slow to measure adds its line
    (line,) = advice(dataclasses.replace(found, products={"float32": 1e9, "bfloat16": 2.5e9}))
    assert "2.5 times as fast in bfloat16" in line
    (line,) = advice(dataclasses.replace(found, disk=dataclasses.replace(found.disk, free=10)))
    assert "the disk has" in line
    (line,) = advice(dataclasses.replace(found, term_shares={"r1": 0.32, "r2": 0.1}))
    assert "techniques.r1.every=16, a round would have 70% of them" in line


def test_a_forecast_is_plain_values(packed_set):
    content = json.loads(json.dumps(quick(small(), packed_set()).to_json(), allow_nan=False))
    parts = ("training", "validation", "reference", "looks", "writing", "start")
    assert content["times"]["total"] == pytest.approx(sum(content["times"][part] for part in parts))
    assert 0 < content["times"]["looks"] < content["times"]["total"]
    assert content["images_per_second"] > 0


@pytest.mark.parametrize(
    ("seconds", "words"), [(5.4, "0:05"), (3661.0, "1:01:01"), (200_000.0, "2 d 7:33:20")], ids=str
)
def test_long_times_have_days(seconds, words):
    assert clock(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (60.0, "begun now it ends 12:01"),
        (86_400.0, "begun now it ends Tue 03 Mar 12:00"),
        (20 * 365.25 * 86_400, "begun now it ends Fri 02 Mar 2046"),
        (1e12, "begun now it would end after the year 9999"),
        (1e18, "begun now it would end after the year 9999"),
    ],
)
def test_the_end_has_its_year_where_it_is_far(packed_set, seconds, words):
    found = quick(small(), packed_set())
    nothing = {"validations": 0, "validation": 0.0, "reference": 0.0, "looks": 0.0, "writing": 0.0}
    times = Times(training=seconds, start=0.0, **nothing)
    told = dict(rows(dataclasses.replace(found, times=times), datetime(2026, 3, 2, 12)))
    assert told["total"].endswith(words)


def test_sizes_have_their_unit():
    assert [size_words(count) for count in (900, 12_345_678, 123_000_000, 2_500_000_000)] == [
        "1 kB",
        "12.3 MB",
        "123 MB",
        "2.5 GB",
    ]
