"""The main functions: prepare, train, load, judge, compare, report, plan."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from kennel.api.display import Scores
from kennel.api.images import (
    Data,
    Images,
    PathLike,
    device_of,
    evaluated,
    generator_at,
    in_memory,
    packed_from_memory,
    path_of,
)
from kennel.api.run import Run, TrainedGenerator
from kennel.comparison.result import Comparison, compare_runs
from kennel.comparison.scores import JudgeOptions
from kennel.config.compute import preset
from kennel.config.recipe import ComponentConfig, Recipe, override
from kennel.data.dataset import ImageDataset
from kennel.data.memory_budget import parse_memory
from kennel.data.prepare.cached import prepared
from kennel.data.prepare.pipeline import prepare as prepare_to
from kennel.data.sources.options import PrepareOptions
from kennel.distributed.devices import training_device
from kennel.engine.callback import Callback
from kennel.engine.observer import Entry, TrainObserver
from kennel.errors import DataError, RecipeError
from kennel.evaluation.metrics.base import metric_names
from kennel.networks.user_modules import Plain, register_pair
from kennel.planning import Forecast, forecast
from kennel.recipes import RECIPES, load_recipe
from kennel.registry import unknown_name
from kennel.reporting import write_report
from kennel.runs.run_dir import RunDir
from kennel.sampling.resolve import exported_file
from kennel.training.request import (
    FILES,
    TrainRequest,
    budget_settings,
    default_run_dir,
    resolve_request,
)
from kennel.training.run import train as train_run

Settings = Sequence[str] | Mapping[str, Any]
"""Changes of a recipe: `["batch_size=32", "techniques.ema=off"]` or `{"batch_size": 32}`."""


def prepare(
    source: Data,
    destination: PathLike | None = None,
    *,
    size: int | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> ImageDataset:
    """Cleans images, packs them as `size` x `size` pixels, and opens the packed set.

    `source` is a folder, zip or tar of images, the name of a known set, an array or tensor (N, C, H, W) of
    uint8, or a PyTorch data set whose items are images or (image, label). Without a `destination` the set is
    kept in the cache, and a second call with the same content reuses it. `size` None is 64 for photographs,
    and the images' own size for small known sets. `options` are those of `kennel data prepare`
    (`PrepareOptions`). A packed set is opened without changes. Raises `DataError`.
    """
    known = [one.name for one in fields(PrepareOptions)]
    for name in options:
        if name not in known:
            raise DataError(str(unknown_name("option of prepare", name, known)))
    place = None if destination is None else Path(destination)
    if in_memory(source):
        if options:
            raise DataError(
                f"{next(iter(options))} is for image files: for images in memory give only a size"
            )
        return packed_from_memory(source, size, place)
    if isinstance(source, ImageDataset):
        return source
    if not isinstance(source, str | Path):
        raise DataError(
            f"{type(source).__name__} cannot be prepared: give a path, a known set's name, an array "
            "(N, C, H, W) of uint8 or a PyTorch data set"
        )
    if place is None and (Path(source) / "dataset.json").is_file():
        return ImageDataset(Path(source))
    chosen = PrepareOptions(size=size, **options)
    if place is None:
        return prepared(source, size, on_progress, chosen)[0]
    return prepare_to(source, place, chosen, on_progress, overwrite=overwrite)


def train(
    recipe: PathLike | Recipe,
    data: Data,
    out: PathLike | None = None,
    *,
    images: int | str | None = None,
    epochs: float | None = None,
    hours: float | None = None,
    seed: int | None = None,
    device: str | torch.device = "auto",
    settings: Settings = (),
    compute: str = "auto",
    networks: tuple[Plain, Plain] | None = None,
    size: int | None = None,
    parent: PathLike | Run | None = None,
    weights: PathLike | None = None,
    resident: str = "auto",
    quiet: bool = False,
    observer: TrainObserver | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Trains a recipe on images and returns the run; the same call again resumes.

    `recipe` is a name, a file, a `Recipe`, or "auto". `data`: see `prepare`; images are first prepared into
    the cache, at `size` or the recipe's size. `out` is the run's folder, by default `runs/RECIPE-SET`. One of
    `images` (500_000, "500k"), `epochs` and `hours` is the budget, by default the recipe's. `settings` change
    the recipe; `compute` is a preset of precision and speed. `networks` are your own generator and
    discriminator, as in `register_network`, instead of the recipe's; give them again to resume. `parent` is a
    run whose weights a new run starts with. A line is printed at each tick unless `quiet`; an `observer` gets
    more events, and `callbacks` run after each iteration and at each tick. Ctrl-C writes a checkpoint and
    returns a run that is not `finished`. Raises `KennelError`.
    """
    listener = observer or listener_of(quiet)
    place = training_device(device_of(device))
    chosen = _recipe(recipe, networks)
    changes = recipe_settings(settings, seed, compute)
    recipe_size = image_size(chosen, changes)
    path = path_of(data if size is None else prepare(data, size=size), recipe_size)
    name = chosen.name if isinstance(chosen, Recipe) else Path(chosen).stem if _is_file(chosen) else chosen
    run = default_run_dir(name, path) if out is None else Path(out)
    parent_path = parent.path if isinstance(parent, Run) else None if parent is None else Path(parent)
    request = TrainRequest(
        chosen,
        path,
        run,
        parent_path,
        changes,
        budget_settings(images, epochs, hours),
        hours,
        place,
        None if weights is None else Path(weights),
        parse_memory(resident),
    )
    return train_request(request, listener, callbacks)


def train_request(request: TrainRequest, listener: TrainObserver, callbacks: Sequence[Callback] = ()) -> Run:
    """Trains or resumes what is requested; see `train`."""
    recipe, packed = resolve_request(request, listener.log, no_bar)
    finished = train_run(
        recipe,
        packed,
        request.run,
        device=request.device,
        weights=request.weights,
        observer=listener,
        resident_bytes=request.resident_bytes,
        parent=request.parent,
        callbacks=callbacks,
    )
    return Run(request.run, request.device, finished=finished)


def listener_of(quiet: bool) -> TrainObserver:
    """An observer that prints a line at each tick, unless `quiet`."""
    return TrainObserver() if quiet else _Printer()


def load(path: PathLike, *, device: str | torch.device = "auto", averaged: bool = True) -> TrainedGenerator:
    """Loads a run (as a `Run`), an exported .safetensors file, or a fetched generator by its name.

    `averaged` False uses a run's trained weights instead of their average (EMA). Raises `RunError` if there
    is no such run or generator.
    """
    target, place = Path(path), device_of(device)
    if exported_file(target) is not None:
        return TrainedGenerator(target, place, averaged=averaged)
    if not RunDir(target).exists():
        TrainedGenerator(target, place).loaded()  # raises an error with the reason
    return Run(target, place, averaged=averaged)


def judge(
    images: Images | TrainedGenerator,
    data: Images,
    metrics: str | Iterable[str] | None = None,
    *,
    checkpoint: str = "newest",
    device: str | torch.device = "auto",
    **settings: Any,
) -> Scores:
    """Scores images, or a generator's samples, against the real images `data`.

    `images` and `data` are paths (`images` also of a run or an exported file), sets, or arrays (N, C, H, W)
    of uint8. `metrics` are names, such as ["fid", "recall"]; None for the usual ones, "all" for all possible
    ones. `settings`: `extractor` ("auto"), its `weights`, `count` of images, `seed`, `truncation` of samples,
    `size` and `fit` to resize all images first, `held_out` real images, `precision`, `batch_size`, and
    `settings`, a mapping of `MetricSettings`. Raises `JudgementError`, `DataError`, `UnknownNameError`.
    """
    place = device_of(device)
    if isinstance(images, TrainedGenerator):
        return images.judge(data, metrics, checkpoint=checkpoint, **settings)
    if isinstance(images, str | Path) and (loaded := generator_at(images, checkpoint, place)) is not None:
        return evaluated(loaded, data, metrics, device=place, **settings)
    return evaluated(images, data, metrics, device=place, **settings)


def compare(
    *runs: PathLike | Run,
    metrics: str | Iterable[str] | None = None,
    stored: bool = False,
    checkpoint: str = "best",
    data: PathLike | None = None,
    extractor: str = "auto",
    weights: PathLike | None = None,
    count: int | None = None,
    shown: int = 16,
    seed: int = 0,
    truncation: float | None = None,
    half_samples: int = 16,
    device: str | torch.device = "auto",
) -> Comparison:
    """Compares runs: samples of the same seeds, curves, scores of one protocol, costs, settings that differ.

    All runs are judged by one protocol, against their training set or `data`; with `stored` the scores that
    they have are taken instead. `checkpoint` is "best" (of a run without one the newest), "newest",
    "epoch:70" or a count of images. `half_samples` are drawn for the intervals of differences; 0 for none.
    The `Comparison` prints its tables; `save("page.html")` writes it, also as .md, .csv, .tex, .json or .png.
    Raises `RunError`, `JudgementError`, `UnknownNameError`.
    """
    names = [metrics] if isinstance(metrics, str) else metrics
    judging = JudgeOptions(
        None if data is None else Path(data),
        None if names is None else metric_names(names),
        extractor,
        None if weights is None else Path(weights),
        count,
        half_samples=half_samples,
    )
    return compare_runs(
        [run.path if isinstance(run, Run) else Path(run) for run in runs],
        checkpoint=checkpoint,
        shown=shown,
        seed=seed,
        truncation=truncation,
        device=device_of(device),
        judge=None if stored else judging,
    )


def report(run: PathLike | Run) -> Path:
    """Writes a run's `report.html` and `curves.png`; returns the path of the page."""
    return write_report(RunDir(run.path if isinstance(run, Run) else run))


def plan(
    recipe: PathLike | Recipe,
    data: Data,
    *,
    out: PathLike | None = None,
    images: int | str | None = None,
    epochs: float | None = None,
    seed: int | None = None,
    device: str | torch.device = "auto",
    settings: Settings = (),
    compute: str = "auto",
    seconds: float = 20.0,
) -> Forecast:
    """Estimates what `train` with the same arguments takes; measures for at most `seconds`, starts no run.

    The `Forecast` has `parameters`, `memory` and `disk` in bytes, `images_per_second`, `training_seconds`.
    With `out`, a run's folder, it covers what is left of the run.
    """
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(str(recipe))
    chosen = override(chosen, [*recipe_settings(settings, seed, compute), *budget_settings(images, epochs)])
    path = path_of(data, chosen.image.size)
    if not (path / "dataset.json").is_file():
        path = prepare(path, size=chosen.image.size).path
    folder = None if out is None else Path(out)
    return forecast(chosen, path, out=folder, device=device_of(device), seconds=seconds)


class _Printer(TrainObserver):
    """Prints messages, and a line at each tick."""

    def log(self, sentence: str) -> None:
        print(sentence, flush=True)

    def on_tick(self, entry: Entry) -> None:
        names = {"images_per_second": "images/s", "discriminator_loss": "loss D", "generator_loss": "loss G"}
        parts = [f"{title} {entry[name]:.4g}" for name, title in names.items() if name in entry]
        print(f"{entry['images']:>11,} images  {'  '.join(parts)}", flush=True)


@contextmanager
def no_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that shows nothing."""
    yield lambda done, total: None


def _recipe(recipe: PathLike | Recipe, networks: tuple[Plain, Plain] | None) -> str | Recipe:
    """Returns the recipe, with user-defined networks if they are given."""
    if networks is None:
        return recipe if isinstance(recipe, Recipe) else str(recipe)
    if not isinstance(networks, tuple) or len(networks) != 2:
        raise RecipeError("networks is not a pair: give networks=(generator, discriminator)")
    names = register_pair(*networks)
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(str(recipe))
    parts = {"generator": ComponentConfig(name=names[0]), "discriminator": ComponentConfig(name=names[1])}
    return chosen.model_copy(update=parts)


def image_size(recipe: str | Recipe, settings: Sequence[str]) -> int | None:
    """Returns the recipe's image size with these settings; None if it takes any size."""
    if isinstance(recipe, str):
        if not (_is_file(recipe) or recipe in RECIPES):
            return None
        recipe = load_recipe(recipe)
    return override(recipe, settings).image.size


def _is_file(recipe: str) -> bool:
    return Path(recipe).suffix in FILES


def recipe_settings(settings: Settings, seed: int | None = None, compute: str = "auto") -> list[str]:
    """The settings as a list of KEY=VALUE, those of the compute preset and the seed first."""
    if isinstance(settings, str):
        raise RecipeError(f"settings is the string '{settings}': give a list of settings, or a dictionary")
    if isinstance(settings, Mapping):
        settings = [f"{key}={_as_text(value)}" for key, value in settings.items()]
    return [*preset(compute), *([] if seed is None else [f"seed={seed}"]), *settings]


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
