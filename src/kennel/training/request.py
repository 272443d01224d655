"""Resolves the arguments of `kennel train` to a recipe and a packed set.

It prepares pictures, chooses a recipe if none is named, and converts hours to images.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kennel.config.recipe import Recipe, override, parse_count
from kennel.data.dataset import ImageDataset
from kennel.data.prepare.cached import is_known, is_plain, look, place_of, prepared, source_name
from kennel.data.sources.catalog import KNOWN_SETS, fetch
from kennel.distributed import rank_zero_first
from kennel.engine.builder import resolve
from kennel.errors import DataError, RecipeError
from kennel.recipes import RECIPES, load_recipe
from kennel.registry import unknown_name
from kennel.runs.newest import RUNS
from kennel.runs.run_dir import RunDir
from kennel.training.auto_recipe import AUTO, choose, facts_of, refuse_few, side_for
from kennel.training.time_budget import check_hours, images_of, measured_speed, speed_words

FILES = (".yaml", ".yml", ".json")
TITLES = ("Recipe:  ", "Pictures:", "Sizes:   ", "Budget:  ")
Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""A progress bar with a name: `with bar("preparing") as report: report(done, total)`."""
Log = Callable[[str], None]


@dataclass(frozen=True)
class TrainRequest:
    """The arguments of `kennel train`.

    `recipe` is a name, a file, `auto` or a recipe; `run` is the run's folder, `parent` the run to start from.
    `settings` are applied to the recipe, then `budget`, which are the settings for `--images` or `--epochs`.
    `by_class`: a chosen recipe must draw images of a given class.
    """

    recipe: str | Recipe
    data: Path
    run: Path
    parent: Path | None
    settings: Sequence[str]
    budget: Sequence[str]
    hours: float | None
    device: torch.device
    weights: Path | None = None
    resident_bytes: int | None = None
    by_class: bool = False

    @property
    def is_auto(self) -> bool:
        """Whether kennel chooses the recipe."""
        return self.recipe == AUTO

    def existing_run(self) -> RunDir | None:
        """The run to continue, else the run to start from; None for an entirely new run."""
        folders = [RunDir(path) for path in (self.run, self.parent) if path is not None]
        return next((folder for folder in folders if folder.exists()), None)


def default_run_dir(recipe_name: str, data: Path) -> Path:
    """`runs/RECIPE-SET`, from the name or file of the recipe and the folder, archive or known set."""
    recipe = Path(recipe_name).stem if recipe_name.endswith(FILES) else recipe_name
    return RUNS / re.sub(r"[^\w.-]+", "-", f"{recipe}-{source_name(data)}")


def budget_settings(images: str | int | None, epochs: float | None, hours: float | None = None) -> list[str]:
    """The settings for a budget in images (500000, "500k") or epochs; none for hours.

    Raises `RecipeError` if more than one of them is given.
    """
    given = {"--images": images, "--epochs": epochs, "--hours": hours}
    if len(names := [name for name, value in given.items() if value is not None]) > 1:
        raise RecipeError(f"{' and '.join(names)} each set the length of the run: give one of them")
    if images is not None:
        return [f"budget.images={parse_count(str(images))}"]
    return [] if epochs is None else [f"budget.epochs={epochs}"]


def resolve_request(request: TrainRequest, log: Log, bar: Bar) -> tuple[Recipe, Path]:
    """The recipe and the packed set to train on.

    An existing run keeps its recipe if none is named, and its budget if `hours` are given. Raises
    `KennelError` for contradictions. It writes nothing except the packed set in the cache.
    """
    check_hours(request.hours)
    if request.hours is not None and (given := _budgets(request.settings)):
        raise RecipeError(f"--hours and --set {given[-1]} each set the length of the run: give one of them")
    if request.parent is not None and not RunDir(request.run).exists():
        RunDir(request.parent).recipe()  # raises its error before anything is prepared or measured
    existing = request.existing_run()
    settings = [*request.settings, *request.budget]
    named = None if request.is_auto else override(_find(request.recipe), settings)
    data = _packed(request, named, existing, log, bar)
    if named is not None:
        recipe = named
    elif existing is not None:
        recipe = override(existing.recipe(), settings)
        log(f"Using the recipe of the run in {existing.path} ({recipe.name}).")
    else:
        return _chosen(request, ImageDataset(data), log), data
    if request.hours is not None:
        recipe = _with_hours(request, recipe, data, log)
    return recipe, data


def _budgets(settings: Sequence[str]) -> list[str]:
    return [one for one in settings if one.partition("=")[0].partition(".")[0] == "budget"]


def _find(recipe: str | Recipe) -> Recipe:
    if isinstance(recipe, Recipe):
        return recipe
    if Path(recipe).suffix not in FILES and recipe not in RECIPES:
        raise unknown_name("recipe", recipe, [*RECIPES, AUTO])
    return load_recipe(recipe)


def _packed(request: TrainRequest, named: Recipe | None, existing: RunDir | None, log: Log, bar: Bar) -> Path:
    """The packed set to train on; other pictures are prepared first."""
    source = request.data
    known = is_known(source)
    if not source.exists() and not known:
        raise DataError(
            f"there is no {source}: give a folder, zip or tar of images, a known set (`kennel data list`) or "
            "a packed set"
        )
    if (run := RunDir(source)).exists():
        data = shlex.quote(run.about()["data"]["path"])
        raise DataError(
            f"{source} is a run, not a set of images: `kennel train {data} --out {shlex.quote(str(source))}` "
            "continues it"
        )
    if not is_plain(source) and not known:
        return source
    if str(source) in KNOWN_SETS and not known:
        source = source.absolute()  # a folder with the name of a known set
    for folder in (request.run, request.parent):
        if folder is not None and folder.resolve().is_relative_to(source.resolve()):
            raise DataError(
                f"the run's folder {folder} is inside {source}, so its samples would become training "
                "pictures: give a folder outside"
            )
    try:
        size = existing.recipe().image.size if existing is not None else named.image.size if named else None
        if size is None:
            if known:
                _download(source, bar)
            seen = look(source)
            if named is None:
                refuse_few(seen.count)
            size = side_for(seen.side, request.device.type, request.hours)
        if known and not (place_of(source, size) / "dataset.json").is_file():
            _download(source, bar)
        dataset, is_new = rank_zero_first(lambda: _prepared(source, size, bar))
    except DataError as error:
        raise DataError(
            f"{error}; `kennel data prepare {shlex.quote(str(source))} DEST` has options for this"
        ) from None
    log(_prepared_message(source, dataset, is_new))
    return dataset.path


def _download(source: Path, bar: Bar) -> None:
    """Downloads a known set's missing files into the cache."""

    def download() -> None:
        with bar(f"downloading {source} (bytes)") as report:
            fetch(KNOWN_SETS[str(source)], None, report)

    rank_zero_first(download)


def _prepared(source: Path, size: int, bar: Bar) -> tuple[ImageDataset, bool]:
    with bar("preparing") as report:
        return prepared(source, size, report)


def _prepared_message(source: Path, dataset: ImageDataset, is_new: bool) -> str:
    channels, side, _ = dataset.shape
    dropped = dataset.about.get("report", {}).get("dropped", {})
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
    return (
        f"{source}: {len(dataset):,} pictures {'prepared' if is_new else 'prepared earlier'} at "
        f"{side}x{side} in {'color' if channels == 3 else 'gray'}: {dataset.path}"
        f"{f' (left out: {left_out}; see dropped.jsonl there)' if left_out else ''}."
    )


def _chosen(request: TrainRequest, dataset: ImageDataset, log: Log) -> Recipe:
    budget = None
    if given := [*_budgets(request.settings), *request.budget]:
        budget = override(load_recipe("projected"), given).budget.in_images(len(dataset))
    facts = facts_of(dataset, request.device.type, request.hours, budget)
    facts = replace(facts, by_class=request.by_class)
    choice = choose(facts)
    recipe = override(choice.recipe, request.settings)
    resolve(recipe, dataset)  # raises its errors before the choice is explained
    if request.hours is not None:
        speed = _speed(request, recipe, dataset.path, log)
        choice = choose(replace(facts, images_per_second=speed))
    for title, reason in zip(TITLES, choice.reasons, strict=True):
        log(f"{title} {reason}.")
    if request.settings:
        log(f"Your settings override these lines: {', '.join(request.settings)}.")
    return override(choice.recipe, [*request.settings, *request.budget])


def _speed(request: TrainRequest, recipe: Recipe, data: Path, log: Log) -> float:
    log("Measuring the speed, which takes up to a minute.")
    return measured_speed(recipe, data, request.device, request.weights, request.resident_bytes)


def _with_hours(request: TrainRequest, recipe: Recipe, data: Path, log: Log) -> Recipe:
    """The recipe with a budget for the hours; an existing run keeps its budget."""
    assert request.hours is not None
    run = RunDir(request.run)
    if run.exists():
        budget = run.recipe().budget
        count = f"{budget.images:,} images" if budget.images else f"{budget.epochs:g} epochs"
        log(f"--hours is for new runs: the run in {run.path} keeps its {count}; --images changes them.")
        return recipe.model_copy(update={"budget": budget})
    speed = _speed(request, recipe, data, log)
    images = images_of(request.hours, speed, recipe.batch_size)
    log(f"{TITLES[3]} {images:,} images ({speed_words(request.hours, speed)}).")
    return override(recipe, [f"budget.images={images}"])
