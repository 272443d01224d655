"""What a run will take, before it is begun: counted and measured on the real step, stream and trainer."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from kennel import checkpoint
from kennel.data.packed import PackedSet
from kennel.data.room import room_on
from kennel.data.stream import Stream
from kennel.errors import WeightsError
from kennel.features.classifier import Classifier
from kennel.monitor import Tally
from kennel.networks.counting import parameter_count
from kennel.recipe import Recipe
from kennel.run_folder import RunFolder
from kennel.step import Step
from kennel.trainer import Batches, Plan
from kennel.wiring.building import build_step, sampling_generator
from kennel.wiring.failures import failures_told
from kennel.wiring.forecasting.advice import advice
from kennel.wiring.forecasting.counting import StateBytes, all_living, counted, state_bytes
from kennel.wiring.forecasting.free import free_disk, free_memory
from kennel.wiring.forecasting.results import Disk, Forecast, Memory, Times
from kennel.wiring.forecasting.rounds import (
    EXTRA_TURNS,
    Player,
    Rounds,
    rounds_of,
    wait_for,
)
from kennel.wiring.forecasting.speed import Speed, measured_speed, product_rate
from kennel.wiring.forecasting.ticks import (
    Ticks,
    Validation,
    Writing,
    measured_validation,
    measured_writing,
    ticks_of,
)
from kennel.wiring.overseeing import DIVERSITY_IMAGES
from kennel.wiring.rolling_back import of_ticks_to_keep, rolls_back
from kennel.wiring.speeding import PRECISIONS, settle_the_process
from kennel.wiring.training import changes_since, portions, settled
from kennel.wiring.validating import Validator

Say = Callable[[str], None]
FIRST_PARTS = (8, 4)
"""Rounds of these parts of a batch are counted first, so that one that does not fit is never played."""
LEAST = (2, 4)
"""Before them, rounds of so many images, and then of twice as many as long as these say that it fits."""
SURELY = 2 / 3
"""Of what is free so much is counted on for a part."""


def forecast(
    recipe: Recipe,
    data: Path,
    *,
    out: Path | None = None,
    device: torch.device | None = None,
    weights: Path | None = None,
    resident_bytes: int | None = None,
    seconds: float = 10.0,
    say: Say = lambda doing: None,
) -> Forecast:
    """What `train` with the same arguments would take: parameters, operations, memory, disk and time.

    `seconds` is for how long rounds are timed. Where a run is in `out`, the forecast is of what is left of
    it. Refuses what `train` refuses; writes nothing and downloads nothing. `say` is told what is being done.
    """
    device = device or torch.device("cpu")
    with failures_told(recipe, device, ""):
        return _forecast(recipe, data, out, device, weights, resident_bytes, seconds, say)


def _forecast(
    recipe: Recipe,
    data: Path,
    out: Path | None,
    device: torch.device,
    weights: Path | None,
    resident_bytes: int | None,
    seconds: float,
    say: Say,
) -> Forecast:
    began = time.perf_counter()
    settle_the_process()
    free = free_memory(device)
    packed = PackedSet(data)
    folder = RunFolder(data if out is None else out)
    recipe = settled(recipe, packed, folder, weights, device)
    seen = 0
    if folder.exists():
        changes_since(folder, recipe, packed)
        seen = max((int(path.stem) for path in checkpoint.in_folder(folder.checkpoints)), default=0)
    elif out is not None:
        folder.refuse_other_content()
    step = build_step(recipe, device)
    validator, notes = _validator(recipe, packed, step, weights)
    plan = portions(recipe, recipe.budget.in_images(len(packed)), device)
    rounds = rounds_of(plan, {name: one.every for name, one in step.terms.items()}, seen)
    ticks = ticks_of(plan, recipe.validation.every_ticks, seen)
    start = time.perf_counter() - began

    say("counting operations and bytes")
    bench = _Bench(step, recipe, plan, rounds, packed, free)
    flops, held, state = bench.small()
    shares = bench.term_shares()
    writing = measured_writing(step, bench.tally, recipe, bench.look_batch(state))
    judging = 0 if validator is None else _held_for_judging(validator, recipe, packed)
    room = room_on(device) if resident_bytes is None else resident_bytes
    resident = packed.images.nbytes if packed.images.nbytes <= room else 0
    copied = writing.checkpoint_bytes if device.type == "cpu" else 0
    memory = Memory(state, held, resident, judging, copied, free)
    memory = replace(memory, batch_that_fits=bench.batch_that_fits(memory))
    speed, validation = None, None
    if memory.fits:
        began = time.perf_counter()
        with Stream(packed, recipe.batch, recipe.seed, device, resident_bytes) as stream:
            start += time.perf_counter() - began
            flops, held = bench.whole(stream)
            memory = replace(memory, round=held)
            say(f"timing rounds for {seconds:g} s")
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            speed = bench.timed(stream, device, seconds)
        if device.type == "cuda":
            memory = replace(memory, measured=torch.cuda.max_memory_allocated(device))
        if validator is not None and ticks.validations:
            say("timing a validation's parts")
            validation = measured_validation(validator, recipe, step, packed)
    say("timing bare products")
    found = Forecast(
        recipe=recipe.name,
        data=packed.name,
        device=str(device),
        precision=recipe.speed.precision,
        batch=recipe.batch,
        set_size=len(packed),
        shape=packed.shape,
        parameters=_parameters(step),
        images_left=rounds.images,
        images_seen=seen,
        rounds_left=rounds.count,
        round_images=_round_images(rounds, plan),
        flops=flops,
        kinds=len(rounds.numbers),
        term_shares=shares,
        products={name: product_rate(device, dtype) for name, dtype in PRECISIONS.items()},
        speed=speed,
        memory=memory,
        writing=writing,
        disk=_disk(recipe, ticks, writing, out, seen),
        ticks=ticks,
        validation=validation,
        validation_every=recipe.validation.every_ticks,
        times=None if speed is None else _times(rounds, speed, ticks, validation, writing, start, seen),
        notes=notes,
    )
    return replace(found, advice=advice(found))


def _validator(
    recipe: Recipe, packed: PackedSet, step: Step, weights: Path | None
) -> tuple[Validator | None, tuple[str, ...]]:
    """The run's validator; None, and why, where its extractor would have to be downloaded first."""
    try:
        made = Validator.for_recipe(
            recipe, packed, sampling_generator(step), weights, lambda sentence: None, download=False
        )
    except WeightsError as error:
        if weights is not None or recipe.validation.extractor == Classifier.name:
            raise
        return None, (f"Validation is left out of memory and time: {error}.",)
    return made, ()


def _round_images(rounds: Rounds, plan: Plan) -> float:
    """Images of a mean round; of a usual one where none is left."""
    return rounds.images / rounds.count if rounds.count else float(plan.batch * plan.turns.discriminator)


def _parameters(step: Step) -> dict[str, int]:
    return {
        "generator": parameter_count(step.players.generator),
        "discriminator": parameter_count(step.players.discriminator),
        **{name: parameter_count(one.network) for name, one in step.companions.items()},
    }


def _held_for_judging(validator: Validator, recipe: Recipe, packed: PackedSet) -> int:
    """The extractor's weights and the features of both sides."""
    extractor = validator.judge.extractor
    network = getattr(extractor, "network", None)
    weights = 0 if network is None else sum(one.nbytes for one in network.parameters())
    return weights + 4 * extractor.dimension * (recipe.validation.count + len(packed))


def _disk(recipe: Recipe, ticks: Ticks, writing: Writing, out: Path | None, seen: int) -> Disk:
    best = 1 if ticks.validations else 0
    first = 1 if rolls_back(recipe) and not seen else 0  # before any tick
    newest = min(of_ticks_to_keep(recipe), ticks.count + first)
    staying = max(0, ticks.count - newest) // recipe.keep_every_ticks if recipe.keep_every_ticks else 0
    return Disk(
        checkpoints=newest + staying + best + 1,
        checkpoint_bytes=writing.checkpoint_bytes,
        grids=ticks.count + (0 if seen else 1),
        grid_bytes=writing.grid_bytes,
        log_bytes=ticks.count * writing.line_bytes,
        spectra_bytes=(ticks.count + (0 if seen else 1)) * writing.spectra_bytes,
        free=free_disk(out or Path.cwd()),
    )


def _times(
    rounds: Rounds,
    speed: Speed,
    ticks: Ticks,
    validation: Validation | None,
    writing: Writing,
    start: float,
    seen: int,
) -> Times:
    # Every validation may find a new best, which is a checkpoint of its own.
    checkpoints = ticks.count + ticks.validations
    grids = ticks.count + (0 if seen else 1)
    return Times(
        training=rounds.count * speed.seconds + rounds.extra_turns * (speed.extra_turn or 0.0),
        validations=0 if validation is None else ticks.validations,
        validation=0.0 if validation is None else ticks.validations * validation.seconds,
        reference=0.0 if validation is None else validation.reference,
        looks=ticks.count * writing.look_seconds,
        writing=grids * writing.grid_seconds + checkpoints * writing.checkpoint_seconds,
        start=start,
    )


class _Bench:
    """One step on which rounds are counted and timed: of parts of a batch first, then of whole ones."""

    def __init__(
        self, step: Step, recipe: Recipe, plan: Plan, rounds: Rounds, packed: PackedSet, free: int | None
    ) -> None:
        self.step, self.recipe, self.plan, self.rounds, self.packed = step, recipe, plan, rounds, packed
        self._free = free
        self._size = recipe.batch
        """Of the smaller part that the line goes through."""
        self._growth = 0.0
        """Bytes that a round holds more for one more image in its batch."""
        self._held = 0.0
        self.tally = Tally()
        """The statistics of the first rounds."""

    def small(self) -> tuple[float, int, StateBytes]:
        """(operations of a round, bytes that it holds, state): a line through two parts of a batch."""
        batch = self.recipe.batch
        sizes: tuple[int, ...] = LEAST if batch >= LEAST[-1] else (batch,)
        with self._part(sizes[0]) as first:
            for kind in self.rounds.numbers:
                first.play(kind)  # gradients, the optimisers' state and averages come to be
            wait_for(self.plan.device)
            self.tally = first.tally
        state = state_bytes(self.step)
        flops = self._line(sizes, state)
        wanted = tuple(batch // part for part in FIRST_PARTS)
        while wanted[0] > sizes[0]:
            sizes = wanted if self._fits(wanted[-1], state, SURELY) else (sizes[-1], 2 * sizes[-1])
            if sizes[-1] > wanted[-1] or not self._fits(sizes[-1], state, SURELY):
                break
            flops = self._line(sizes, state)
        return flops, round(self._held), state

    def _line(self, sizes: tuple[int, ...], state: StateBytes) -> float:
        """Operations of a round of the whole batch; what it holds, and its growth, are remembered."""
        flops, held = [], []
        for size in sizes:
            with self._part(size) as player:
                operations, most = self._count(player)
            flops.append(operations)
            held.append(max(0, most - state.total))
        self._size, more = sizes[0], self.recipe.batch - sizes[-1]
        if len(sizes) == 1:
            self._growth, self._held = held[0] / sizes[0], float(held[0])
            return flops[0]
        self._growth = max(0.0, held[1] - held[0]) / (sizes[1] - sizes[0])
        self._held = held[1] + self._growth * more
        return flops[1] + (flops[1] - flops[0]) / (sizes[1] - sizes[0]) * more

    def _fits(self, size: int, state: StateBytes, share: float = 1.0) -> bool:
        """Whether a round of so many images takes at most this share of what is free, by the line."""
        held = self._held - self._growth * (self.recipe.batch - size)
        return self._free is None or state.total + held <= share * self._free

    def look_batch(self, state: StateBytes) -> int:
        """How many images can be drawn at once: the whole batch, where a round of it fits."""
        return (
            self.recipe.batch if self._fits(self.recipe.batch, state) else min(self._size, DIVERSITY_IMAGES)
        )

    def term_shares(self) -> dict[str, float]:
        """Which part of a round's operations each term takes that differentiates images at every turn."""
        with self._part(self._size) as player:
            return self._term_shares(player)

    def _term_shares(self, player: Player) -> dict[str, float]:
        kind = max(self.rounds.numbers, key=self.rounds.share)
        shares = {}
        whole = counted(lambda: player.play(kind)).flops
        for name, one in list(self.step.terms.items()):
            if one.every == 1 and one.gradients_of and whole:
                terms = self.step.terms
                self.step.terms = {other: term for other, term in terms.items() if other != name}
                try:
                    shares[name] = 1 - counted(lambda: player.play(kind)).flops / whole
                finally:
                    self.step.terms = terms
        return shares

    def batch_that_fits(self, memory: Memory) -> int | None:
        """The largest even batch whose rounds fit, by the line; None where none does, or all of it fits."""
        if memory.fits or memory.free is None or not self._growth:
            return None
        room = memory.free - (memory.total - max(memory.round, memory.checkpoint))
        batch = self.recipe.batch + int((room - self._held) / self._growth)
        if memory.checkpoint > room or batch < 2:
            return None
        return batch - batch % 2

    def whole(self, stream: Batches) -> tuple[float, int]:
        """(operations of a mean round, most bytes that a round holds), of whole batches."""
        flops, most = self._count(self._player(stream, self.recipe.batch))
        return flops, max(0, most - state_bytes(self.step).total)

    def timed(self, stream: Batches, device: torch.device, seconds: float) -> Speed:
        """How fast whole rounds are."""
        return measured_speed(self._player(stream, self.recipe.batch), self.rounds, device, seconds)

    @contextmanager
    def _part(self, size: int) -> Iterator[Player]:
        """Plays rounds of so many images, which are streamed."""
        plan = self.plan
        with Stream(self.packed, size, plan.seed, plan.device, resident_bytes=0) as stream:
            yield self._player(stream, size)

    def _player(self, stream: Batches, size: int) -> Player:
        plan = replace(self.plan, batch=size)
        return Player(self.step, stream, self.recipe, plan, self.rounds)

    def _count(self, player: Player) -> tuple[float, int]:
        """(operations of a mean round, most living bytes of any): each kind once, by its share."""

        living = partial(all_living, self.step)
        found = {kind: counted(partial(player.play, kind), living) for kind in self.rounds.numbers}
        flops = sum(self.rounds.share(kind) * one.flops for kind, one in found.items())
        most = max(one.bytes for one in found.values())
        if self.rounds.extra_turns and self.rounds.count:
            longer = counted(player.play_longer, living)
            each = (longer.flops - flops) / EXTRA_TURNS
            flops += each * self.rounds.extra_turns / self.rounds.count
            most = max(most, longer.bytes)
        return flops, most
