"""What `kennel train` is asked for becomes a recipe and a packed set: pictures are prepared, a recipe that
is not named is chosen, hours become images."""

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
"""A progress bar under a name: `with bar("preparing") as report: report(done, total)`."""


@dataclass(frozen=True)
class Asked:
    """What `kennel train` was told.

    `recipe` is a name, a file, `auto` or a recipe itself; `run` the folder that the run is in or will be,
    `parent` the one of which it takes the weights. `settings` are applied to the recipe, `budget` after them:
    what `--images` or `--epochs` stand for; `hours` is the third way to say it.
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

    @property
    def is_open(self) -> bool:
        """Whether the recipe is left open."""
        return self.recipe == AUTO

    def begun(self) -> RunDir | None:
        """The run that is gone on with, or the one whose weights begin a new one; None for a new run."""
        folders = [RunDir(path) for path in (self.run, self.parent) if path is not None]
        return next((folder for folder in folders if folder.exists()), None)


def default_run_dir(recipe_name: str, data: Path) -> Path:
    """Where a run goes that is given no folder: `runs/RECIPE-SET`, from the recipe's name or file, and the
    folder, archive or known set."""
    recipe = Path(recipe_name).stem if recipe_name.endswith(FILES) else recipe_name
    return RUNS / re.sub(r"[^\w.-]+", "-", f"{recipe}-{source_name(data)}")


def budget_settings(images: str | int | None, epochs: float | None, hours: float | None = None) -> list[str]:
    """The settings that a budget in images (500000, "500k") or epochs stands for; hours have none yet.

    Raises `RecipeError` where two of them are given.
    """
    given = {"--images": images, "--epochs": epochs, "--hours": hours}
    if len(ways := [name for name, value in given.items() if value is not None]) > 1:
        raise RecipeError(f"{' and '.join(ways)} are ways to say how long: give one of them")
    if images is not None:
        return [f"budget.images={parse_count(str(images))}"]
    return [] if epochs is None else [f"budget.epochs={epochs}"]


def settle(asked: Asked, say: Callable[[str], None], bar: Bar) -> tuple[Recipe, Path]:
    """The recipe to train, and the packed set to train it on.

    A run that has begun keeps its recipe where none is named, and its budget where `hours` are given: those
    were counted when it began. Raises `KennelError` for what cannot be meant; nothing is written but the
    packed set in the cache.
    """
    check_hours(asked.hours)
    _refuse_two_budgets(asked)
    if asked.parent is not None and not RunDir(asked.run).exists():
        RunDir(asked.parent).recipe()  # refused before anything is prepared or measured for it
    begun = asked.begun()
    settings = [*asked.settings, *asked.budget]
    named = None if asked.is_open else override(_find(asked.recipe), settings)
    data = _as_packed(asked, named, begun, say, bar)
    if named is not None:
        recipe = named
    elif begun is not None:
        recipe = override(begun.recipe(), settings)
        say(f"The run in {begun.path} has its recipe ({recipe.name}), which is taken.")
    else:
        return _chosen(asked, ImageDataset(data), say), data
    if asked.hours is not None:
        recipe = _with_hours(asked, recipe, data, say)
    return recipe, data


def _refuse_two_budgets(asked: Asked) -> None:
    """One of two would be left out in silence."""
    if asked.hours is not None and (given := _budgets(asked.settings)):
        raise RecipeError(f"--hours and --set {given[-1]} are two ways to say how long: give one of them")


def _budgets(settings: Sequence[str]) -> list[str]:
    """Those of the settings that say how long the run is."""
    return [one for one in settings if one.partition("=")[0].partition(".")[0] == "budget"]


def _find(recipe: str | Recipe) -> Recipe:
    """A recipe by name or file; a name that is none is answered with the nearest, `auto` among them."""
    if isinstance(recipe, Recipe):
        return recipe
    if Path(recipe).suffix not in FILES and recipe not in RECIPES:
        raise unknown_name("recipe", recipe, [*RECIPES, AUTO])
    return load_recipe(recipe)


def _as_packed(
    asked: Asked, named: Recipe | None, begun: RunDir | None, say: Callable[[str], None], bar: Bar
) -> Path:
    """The set to train on; pictures as they lie are prepared first."""
    source = asked.data
    known = is_known(source)
    if not source.exists() and not known:
        raise DataError(
            f"there is no {source}: give a folder, zip or tar of images, a known set (`kennel data list`) or "
            "a packed set"
        )
    _refuse_run(source)
    if not is_plain(source) and not known:
        return source
    if str(source) in KNOWN_SETS and not known:
        source = source.absolute()  # a folder here, which its name alone would not tell from the known set
    for folder in (asked.run, asked.parent):
        if folder is not None and folder.resolve().is_relative_to(source.resolve()):
            raise DataError(
                f"the run's folder {folder} lies inside {source}, and its samples would become "
                "training pictures: give a folder outside of it"
            )
    try:
        size = begun.recipe().image.size if begun is not None else named.image.size if named else None
        if size is None:
            if known:
                _fetched(source, bar)
            seen = look(source)
            if named is None:
                refuse_few(seen.count)
            size = side_for(seen.side, asked.device.type, asked.hours)
        if known and not (place_of(source, size) / "dataset.json").is_file():
            _fetched(source, bar)
        dataset, is_new = rank_zero_first(lambda: _prepared(source, size, bar))
    except DataError as error:
        raise DataError(
            f"{error}; `kennel data prepare {shlex.quote(str(source))} DEST` has options for what is kept"
        ) from None
    say(_in_words(source, dataset, is_new))
    return dataset.path


def _refuse_run(source: Path) -> None:
    """A run in the place of data is answered with the command that resumes it."""
    run = RunDir(source)
    if run.exists():
        data = shlex.quote(run.about()["data"]["path"])
        raise DataError(
            f"{source} is a run and no set of images: `kennel train {data} --out {shlex.quote(str(source))}` "
            "resumes it"
        )


def _fetched(source: Path, bar: Bar) -> None:
    """Downloads a known set's files into the cache where they are missing."""

    def download() -> None:
        with bar(f"downloading {source} (bytes)") as report:
            fetch(KNOWN_SETS[str(source)], None, report)

    rank_zero_first(download)


def _prepared(source: Path, size: int, bar: Bar) -> tuple[ImageDataset, bool]:
    with bar("preparing") as report:
        return prepared(source, size, report)


def _in_words(source: Path, dataset: ImageDataset, is_new: bool) -> str:
    """What became of the pictures."""
    channels, side, _ = dataset.shape
    dropped = dataset.about.get("report", {}).get("dropped", {})
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
    return (
        f"{source}: {len(dataset):,} pictures "
        f"{'prepared' if is_new else 'as they were prepared before'} at {side}x{side} in "
        f"{'color' if channels == 3 else 'gray'}: {dataset.path}"
        f"{f' (left out: {left_out}; see dropped.jsonl there)' if left_out else ''}."
    )


def _chosen(asked: Asked, dataset: ImageDataset, say: Callable[[str], None]) -> Recipe:
    budget = None
    if given := [*_budgets(asked.settings), *asked.budget]:
        budget = override(load_recipe("projected"), given).budget.in_images(len(dataset))
    facts = facts_of(dataset, asked.device.type, asked.hours, budget)
    choice = choose(facts)
    resolve(
        override(choice.recipe, asked.settings), dataset
    )  # what does not fit is refused before it is praised
    if asked.hours is not None:
        speed = _speed(asked, override(choice.recipe, asked.settings), dataset.path, say)
        choice = choose(replace(facts, images_per_second=speed))
    for title, reason in zip(TITLES, choice.reasons, strict=True):
        say(f"{title} {reason}.")
    if asked.settings:
        say(f"As asked: {', '.join(asked.settings)}, in place of what the lines above say of it.")
    return override(choice.recipe, [*asked.settings, *asked.budget])


def _speed(asked: Asked, recipe: Recipe, data: Path, say: Callable[[str], None]) -> float:
    say("Measuring the speed by some iterations, which takes up to a minute.")
    return measured_speed(recipe, data, asked.device, asked.weights, asked.resident_bytes)


def _with_hours(asked: Asked, recipe: Recipe, data: Path, say: Callable[[str], None]) -> Recipe:
    """The recipe with the images that the hours come to; a run that has begun has counted them already."""
    assert asked.hours is not None
    run = RunDir(asked.run)
    if run.exists():
        budget = run.recipe().budget
        count = f"{budget.images:,} images" if budget.images else f"{budget.epochs:g} epochs"
        say(f"--hours counts when a run begins: that in {run.path} keeps its {count}; --images changes them.")
        return recipe.model_copy(update={"budget": budget})
    speed = _speed(asked, recipe, data, say)
    images = images_of(asked.hours, speed, recipe.batch_size)
    say(f"{TITLES[3]} {images:,} images ({speed_words(asked.hours, speed)}).")
    return override(recipe, [f"budget.images={images}"])
