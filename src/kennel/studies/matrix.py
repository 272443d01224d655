"""The runs of a study: one for each row, set and seed, each with its folder and recipe."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kennel.config.recipe import Recipe
from kennel.data.prepare.cached import is_known, is_plain, prepared
from kennel.errors import DataError, RecipeError
from kennel.runs.progress import Progress, progress_of
from kennel.runs.run_dir import RunDir
from kennel.storage.atomic_io import write_text
from kennel.studies.config import StudyConfig


@dataclass(frozen=True)
class StudyRun:
    """One run: `row`, `data` (the name of the set) and `seed` say which; `path` is its folder.

    `recipe_file` is where its recipe lies while it trains; `set_path` the prepared set. `hours` is its
    budget; None: the recipe's.
    """

    row: str
    data: str
    seed: int
    path: Path
    recipe: Recipe
    recipe_file: Path
    set_path: Path
    hours: float | None = None

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.data}/{self.row}/seed-{self.seed}"

    @property
    def folder(self) -> RunDir:
        """The run's folder."""
        return RunDir(self.path)

    def progress(self) -> Progress | None:
        """How far it has come, of the budget that it has now; None before it has begun."""
        if not self.folder.exists():
            return None
        recipe = self.folder.recipe()
        if self.hours is None:
            recipe = recipe.model_copy(update={"budget": self.recipe.budget})
        return progress_of(recipe, self.folder.about(), self.folder.log())


def matrix(
    study: StudyConfig,
    out: Path,
    data: Mapping[str, str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[StudyRun]:
    """All runs of the study, in the order of sets, then seeds, then rows: a study that is stopped has whole
    comparisons.

    Sets that are not prepared yet are prepared into the cache. `data` takes the place of the study's sets.
    Raises `RecipeError` and `DataError`.
    """
    sets = dict(data) if data else dict(study.data)
    if not sets:
        raise RecipeError(f"the study {study.name} names no data: give --data")
    runs = []
    for name, source in sets.items():
        for seed in study.seeds:
            for row in study.recipes:
                recipe = study.recipe_of(row, seed)
                runs.append(
                    StudyRun(
                        row,
                        name,
                        seed,
                        out / "runs" / name / row / f"seed-{seed}",
                        recipe,
                        out / "recipes" / f"{row}-seed-{seed}.yaml",
                        prepared_set(source, recipe.image.size, on_progress),
                        study.hours,
                    )
                )
    return runs


def prepared_set(source: str, size: int | None, on_progress: Callable[[int, int], None] | None) -> Path:
    """The prepared set: `source` itself, or what is made of it at this size. Raises `DataError`."""
    path = Path(source)
    if (path / "dataset.json").is_file():
        return path
    if not is_known(path) and not is_plain(path):
        raise DataError(
            f"there is no set {source}: give a prepared set, a folder, zip or tar of images, or a known set "
            "(`kennel data list`)"
        )
    return prepared(source, size, on_progress)[0].path


def write_recipes(runs: Sequence[StudyRun]) -> None:
    """Writes every run's recipe to its `recipe_file`."""
    for run in runs:
        run.recipe_file.parent.mkdir(parents=True, exist_ok=True)
        write_text(run.recipe_file, run.recipe.to_yaml())
