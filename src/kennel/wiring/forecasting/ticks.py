"""What a run does between its rounds: looks, validations, grids, checkpoints. Measured without writing."""

import hashlib
import io
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, pi

import numpy as np
import torch
from safetensors.torch import save

from kennel import checkpoint
from kennel.data.image_set import ArraySet
from kennel.data.packed import PackedSet
from kennel.features.contract import Extracted, Extractor
from kennel.features.passes import BATCH, HELD_BYTES
from kennel.features.store import is_kept
from kennel.judge import Judge
from kennel.monitor import DIVERSITY, Tally
from kennel.monitor.diversity import nearest_distance
from kennel.monitor.spectra import Spectra
from kennel.pictures import png_text, tile, to_pillow
from kennel.recipe import Recipe, Sampling
from kennel.sampler import DEFAULT_BATCH, Samples, class_weights, draw_latents, labels_of
from kennel.shapes import Pixels
from kennel.step import Step
from kennel.trainer import Plan
from kennel.watch import VALIDATIONS_SINCE_BEST
from kennel.wiring.building import sampling_generator
from kennel.wiring.forecasting.speed import median_seconds, timed
from kennel.wiring.keeping import grid_of
from kennel.wiring.overseeing import DIVERSITY_IMAGES
from kennel.wiring.provenance import grid_text
from kennel.wiring.validating import VALIDATION_SEED, Validator

PART_SECONDS = 1.0
"""For so long, at least, each part of a validation is measured."""


@dataclass(frozen=True)
class Ticks:
    """How many ticks a run has left, and how many of them validate."""

    count: int
    validations: int


def ticks_of(plan: Plan, every: int, images_seen: int = 0) -> Ticks:
    """The ticks after `images_seen` images; `every` is that of the validation, 0 for none."""
    turns, batch, numbers = plan.turns, plan.batch, []
    last_round = turns.round_after(ceil(plan.total_images / batch))
    final = turns.discriminator_before(last_round) * batch
    seen = images_seen
    while seen < plan.total_images:
        # The round that crosses the next tick's beginning ends there or later, by its several turns.
        wanted = (seen // plan.tick_images + 1) * plan.tick_images
        ends = turns.discriminator_before(turns.round_after(ceil(wanted / batch))) * batch
        seen = min(ends, final)
        numbers.append(seen // plan.tick_images)
    if not numbers:
        return Ticks(0, 0)
    # The last one is validated whatever its number is.
    validations = sum(1 for number in numbers[:-1] if every and number % every == 0) + (1 if every else 0)
    return Ticks(len(numbers), validations)


@dataclass(frozen=True)
class Validation:
    """Seconds of one validation by its parts, and those of the set's own features, which are needed once."""

    extractor: str
    metrics: tuple[str, ...]
    count: int
    sampling: float
    features: float
    metric: float
    reference: float

    @property
    def seconds(self) -> float:
        """Of one validation."""
        return self.sampling + self.features + self.metric


def measured_validation(validator: Validator, recipe: Recipe, step: Step, packed: PackedSet) -> Validation:
    """Sampling and features: some batches, scaled to the count. Metrics: at full size, on random features."""
    wanted, extractor = recipe.validation, validator.judge.extractor
    device = next(step.players.generator.parameters()).device
    sampling, pixels = _sampling_seconds(recipe, step)
    weights = class_weights(step.players.generator.setting, recipe.sampling.classes)
    found = extractor.extract(pixels)
    batch = median_seconds(lambda: extractor.extract(pixels), device, PART_SECONDS)
    stand_in = StandIn(extractor, None if found.logits is None else found.logits.shape[1])
    reading, metric = _metric_seconds(validator, recipe, packed, stand_in, weights)
    share = batch / len(pixels)
    once = 0.0 if is_kept(packed, extractor) else share * len(packed) + reading
    return Validation(
        extractor.name,
        (wanted.metric, *wanted.also),
        wanted.count,
        sampling,
        share * wanted.count,
        metric,
        once,
    )


def _sampling_seconds(recipe: Recipe, step: Step) -> tuple[float, Pixels]:
    """Seconds of a validation's samples, and a batch of them."""
    count, passes = recipe.validation.count, recipe.sampling.standing_passes
    seeds = range(VALIDATION_SEED, VALIDATION_SEED + count)
    # Standing statistics are measured once for all samples: their passes are added below.
    samples = Samples(
        sampling_generator(step), recipe.latent, seeds, sampling=Sampling(classes=recipe.sampling.classes)
    )
    batches = samples.in_batches(BATCH)
    pixels = torch.from_numpy(next(batches).pixels)
    times: list[float] = []
    for size, seconds in _timed_batches(samples.in_batches(BATCH)):
        times.append(seconds / size)
        if sum(times) * BATCH >= PART_SECONDS and len(times) > 1:
            break
    each = statistics.median(times)
    return each * (count + passes * DEFAULT_BATCH), pixels


def _timed_batches(batches: Iterator[object]) -> Iterator[tuple[int, float]]:
    began = time.perf_counter()
    for batch in batches:
        yield len(batch.seeds), time.perf_counter() - began  # type: ignore[attr-defined]
        began = time.perf_counter()


def _metric_seconds(
    validator: Validator,
    recipe: Recipe,
    packed: PackedSet,
    stand_in: "StandIn",
    weights: tuple[int, ...],
) -> tuple[float, float]:
    """(seconds of going through the set, seconds of the metrics of one validation); `weights` of classes."""
    wanted = recipe.validation
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (wanted.count, *packed.shape), dtype=np.uint8)
    seeds = range(VALIDATION_SEED, VALIDATION_SEED + wanted.count)
    labels = np.array(labels_of(seeds, weights), np.int64) if weights else None
    samples = ArraySet(images, "random", labels, packed.classes if weights else ())
    rows = min(len(packed), max(wanted.count, HELD_BYTES // (4 * stand_in.dimension)))
    reference = packed if rows == len(packed) else _beginning(packed, rows)
    judge = Judge(reference, stand_in, cached=False)
    reading = timed(judge.prepare, torch.device("cpu"))
    metrics = (wanted.metric, *wanted.also)

    def once() -> None:
        judge.judge(samples, metrics, count=wanted.count, settings=validator.settings)

    passing = timed(lambda: stand_in.extract(torch.from_numpy(images[:BATCH])), torch.device("cpu"))
    seconds = timed(once, torch.device("cpu"))
    if seconds < 2 * PART_SECONDS:  # the first call of a process brings its libraries
        seconds = timed(once, torch.device("cpu"))
    scale = len(packed) / rows
    return reading * scale, max(0.0, seconds - passing * wanted.count / BATCH) * scale


def _beginning(packed: PackedSet, rows: int) -> ArraySet:
    """The first images of a set whose features would be too many for memory."""
    labels = None if packed.labels is None else np.asarray(packed.labels[:rows])
    return ArraySet(packed.images[:rows], packed.name, labels, packed.classes)


class StandIn(Extractor):
    """Random features of another extractor's shape, at no cost: what metrics take can be timed with them."""

    def __init__(self, like: Extractor, classes: int | None) -> None:
        """`classes` of its logits; None for none."""
        self.name, self.dimension, self.channels = like.name, like.dimension, like.channels
        self.resize, self.logits, self.precision = like.resize, like.logits, like.precision
        self._classes = classes
        self._random = torch.Generator().manual_seed(0)

    def extract(self, pixels: Pixels) -> Extracted:
        """Rectified normal features, as a network's are; see `Extractor.extract`."""
        count, classes = len(pixels), self._classes
        features = torch.randn(count, self.dimension, generator=self._random).relu_()
        return Extracted(
            features, None if classes is None else torch.randn(count, classes, generator=self._random)
        )


@dataclass(frozen=True)
class Writing:
    """What is measured and written at a tick: seconds of the look at spectra and diversity, seconds and bytes
    of a grid and a checkpoint, bytes of a line of the log and of one of the spectra."""

    look_seconds: float
    grid_seconds: float
    grid_bytes: int
    checkpoint_seconds: float
    checkpoint_bytes: int
    line_bytes: int
    spectra_bytes: int


def measured_writing(step: Step, tally: Tally, recipe: Recipe, look_batch: int) -> Writing:
    """Draws a grid and packs a checkpoint in memory; the disk's own time is not in it.

    Images are looked at `look_batch` at a time.
    """
    cpu = torch.device("cpu")
    sizes: dict[str, int] = {}
    players = {"generator": step.players.generator, "discriminator": step.players.discriminator}
    spectra = Spectra(players, recipe.seed, recipe.alarms.spectra_iterations)
    measured = spectra.measure() if recipe.alarms.spectra else {}
    left = {f"spectra.{name}": value for name, value in spectra.state_dict().items()}

    def grid() -> None:
        seeds, labels, columns = grid_of(recipe.classes or 0)
        samples = Samples(
            sampling_generator(step), recipe.latent, seeds, labels=labels, sampling=recipe.sampling
        )
        buffer = io.BytesIO()
        text = png_text(grid_text("0" * 16, 0, seeds))
        to_pillow(tile(samples.pixels(), columns)).save(buffer, format="PNG", pnginfo=text)
        sizes["grid"] = buffer.tell()

    def packed() -> None:
        tensors = {
            name: value.detach().cpu().contiguous().clone()
            for name, value in (checkpoint.collect(step, tally) | left).items()
        }
        content = save(tensors)
        hashlib.blake2b(content, digest_size=16).hexdigest()
        sizes["checkpoint"] = len(content)

    grid()
    grid_seconds, checkpoint_seconds = timed(grid, cpu), timed(packed, cpu)
    names = (recipe.validation.metric, *recipe.validation.also, VALIDATIONS_SINCE_BEST)
    validated = dict.fromkeys(names if recipe.validation.every_ticks else (), pi) | {DIVERSITY: pi / 10}
    entry = {"images": 10**6, "seconds": 1000.123, "images_per_second": 100.12, **tally.means(), **validated}
    line = len(json.dumps(entry)) + 1
    of_spectra = len(json.dumps({"images": 10**6, **measured})) + 1 if measured else 0
    look = _look_seconds(step, recipe, spectra, look_batch)
    return Writing(
        look, grid_seconds, sizes["grid"], checkpoint_seconds, sizes["checkpoint"], line, of_spectra
    )


def _look_seconds(step: Step, recipe: Recipe, spectra: Spectra, batch: int) -> float:
    """Of what the overseer measures at a tick."""
    device = next(step.players.generator.parameters()).device
    random = torch.Generator(device).manual_seed(0)
    labels = torch.zeros(batch, dtype=torch.int64, device=device) if recipe.classes else None

    @torch.no_grad()
    def look() -> None:
        if recipe.alarms.spectra:
            spectra.measure()
        for _ in range(ceil(DIVERSITY_IMAGES / batch)):
            with step.passes.autocast(device):
                fake = step.players.generator(draw_latents(recipe.latent, batch, random), labels)
            for _ in ("fake", "real"):
                nearest_distance(fake)

    return median_seconds(look, device, 0.0)
