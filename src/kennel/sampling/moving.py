"""Moving pictures of a loaded generator: walks through seeds or classes, truncation sweeps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kennel.config.recipe import ClassSampling, SamplingConfig
from kennel.errors import RunError
from kennel.sampling.animation import Animation, Array, length_there_and_back, there_and_back
from kennel.sampling.loaded_generator import LoadedGenerator
from kennel.sampling.pictures import composed
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.sampler import DEFAULT_BATCH, label_weights, labels_of, refuse_labels
from kennel.sampling.sweep import TruncationSweep
from kennel.sampling.walk import Stop, Walk

MAX_FRAMES = 100_000
"""Frames of one moving picture: almost an hour."""


@dataclass(frozen=True)
class MovieOptions:
    """Options of moving pictures.

    `frames` are those from one stop of a walk to the next (default 30), or of a sweep in one direction
    (default 60); `fps` is frames per second; `loop` leads back to the first frame. `count` cells are drawn as
    a grid of `columns` (default: as square as possible). `truncation` is that of `LoadedGenerator.samples`,
    or the threshold at which a sweep ends; `classes` is the distribution of drawn classes. `batch` images are
    drawn at a time.
    """

    frames: int | None = None
    fps: int = 30
    loop: bool = True
    count: int = 1
    columns: int | None = None
    truncation: float | None = None
    classes: ClassSampling | None = None
    batch: int = DEFAULT_BATCH


def interpolation(
    loaded: LoadedGenerator,
    seeds: Sequence[int],
    label: int | None = None,
    options: MovieOptions | None = None,
) -> Animation:
    """A walk from seed to seed, all of class `label` if it is given.

    Otherwise each seed has the class or instance that it has in `LoadedGenerator.samples`, and both are
    mixed between seeds. Of several cells, cell k walks through `seeds` + k times their range, so that 4 cells
    of the seeds 0 to 9 show 0 to 39.
    """
    options = options or MovieOptions()
    span = max(seeds) - min(seeds) + 1
    sampling = _sampling(loaded, options, label)
    weights = label_weights(loaded.generator, sampling.classes)
    refuse_labels(loaded.generator, () if label is None else (label,))
    stops = []
    for seed in seeds:
        row = tuple(seed + cell * span for cell in range(options.count))
        drawn = labels_of(row, weights) if weights and label is None else None
        stops.append(Stop(row, drawn if label is None else (label,) * len(row)))
    return _walk(loaded, stops, sampling, options)


def morph(
    loaded: LoadedGenerator, labels: Sequence[int], seed: int = 0, options: MovieOptions | None = None
) -> Animation:
    """A walk from class to class with the same seeds, `seed` to `seed + count - 1`, one per cell."""
    loaded.require_classes("--morph")
    options = options or MovieOptions()
    refuse_labels(loaded.generator, labels)
    row = tuple(range(seed, seed + options.count))
    stops = [Stop(row, (label,) * len(row)) for label in labels]
    return _walk(loaded, stops, loaded.recipe.sampling, options)


def truncation_sweep(
    loaded: LoadedGenerator, seed: int = 0, label: int | None = None, options: MovieOptions | None = None
) -> Animation:
    """The same seeds at decreasing truncation, written under the grid; a loop leads back. See `sweep`."""
    options = options or MovieOptions()
    _check(options)
    seeds = tuple(range(seed, seed + options.count))
    sampling = _sampling(loaded, options, label)
    weights = label_weights(loaded.generator, sampling.classes)
    refuse_labels(loaded.generator, () if label is None else (label,))
    labels = (label,) * len(seeds) if label is not None else labels_of(seeds, weights) if weights else None
    frames = 60 if options.frames is None else options.frames
    sweep = TruncationSweep(
        loaded.generator,
        loaded.recipe.latent,
        seeds,
        labels,
        frames,
        options.truncation,
        sampling,
        options.batch,
    )

    def forward() -> Iterator[Array]:
        for threshold, cells in sweep:
            yield composed(cells, options.columns, f"truncation {threshold:.2f}")

    def draw() -> Iterator[Array]:
        return there_and_back(forward()) if options.loop else forward()

    text = grid_text(loaded.fingerprint, loaded.images_seen, seeds, loaded.teacher)
    count = length_there_and_back(frames) if options.loop else frames
    return Animation(draw, count, text, fps=options.fps, loop=options.loop)


def _walk(
    loaded: LoadedGenerator, stops: Sequence[Stop], sampling: SamplingConfig, options: MovieOptions
) -> Animation:
    _check(options)
    walk = Walk(
        loaded.generator,
        loaded.recipe.latent,
        stops,
        30 if options.frames is None else options.frames,
        options.loop,
        loaded.truncation if options.truncation is None else options.truncation,
        sampling,
        options.batch,
    )
    if len(walk) > MAX_FRAMES:
        raise RunError(
            f"the walk has {len(walk):,} frames: give fewer seeds or --frames, {MAX_FRAMES:,} in all"
        )

    def draw() -> Iterator[Array]:
        return (composed(cells, options.columns) for cells in walk)

    seeds = sorted(seed for stop in stops for seed in stop.seeds)
    text = grid_text(loaded.fingerprint, loaded.images_seen, seeds, loaded.teacher)
    return Animation(draw, len(walk), text, fps=options.fps, loop=options.loop)


def _check(options: MovieOptions) -> None:
    for name, value in (("frames", options.frames), ("count", options.count), ("columns", options.columns)):
        if value is not None and value < 1:
            raise RunError(f"{name} is {value}: give at least 1")


def _sampling(loaded: LoadedGenerator, options: MovieOptions, label: int | None) -> SamplingConfig:
    """The run's sampling with the distribution of classes of the options."""
    sampling = loaded.recipe.sampling
    if options.classes is None:
        return sampling
    loaded.require_classes("--classes")
    if label is not None:
        raise RunError("--class draws one class and --classes a class per seed: give one of the two")
    return sampling.model_copy(update={"classes": options.classes})
