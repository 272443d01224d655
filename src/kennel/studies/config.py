"""A study as a file: which recipes on which data with which seeds, for how long, and what is judged."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, field_validator, model_validator

from kennel.config.base import Config, validated
from kennel.config.recipe import Recipe, override, parse_count
from kennel.errors import RecipeError, UnknownNameError
from kennel.recipes import load_recipe
from kennel.registry import Registry, unknown_name
from kennel.storage.untrusted import MAX_YAML_BYTES, UntrustedError, parse_yaml, read_bytes

FILES = (".yaml", ".yml", ".json")
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""Names are parts of paths."""


KINDS: Registry[type[Config]] = Registry("kind of study")
"""The settings of each kind of study, by the key `kind` of its file; without the key it is "recipes"."""


def count_of_seeds(value: Any) -> Any:
    """A number of seeds stands for these seeds from 0 on; for a validator."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000:
        return tuple(range(value))
    return value


def count_in_words(value: Any) -> Any:
    """A count such as "50k" as a number; for a validator."""
    if isinstance(value, str):
        try:
            return parse_count(value)
        except RecipeError as error:
            raise ValueError(str(error)) from None
    return value


class RowConfig(Config):
    """One row of the matrix: a recipe (a name or a file) and the settings that change it."""

    recipe: str
    settings: tuple[str, ...] = ()


class JudgeConfig(Config):
    """How every run is judged: `count` samples of its `checkpoint`, by `extractor`.

    `metrics` None: the usual ones. `count` None: as many as `kennel judge` takes. `checkpoint` "best" is the
    newest of a run that was not validated.
    """

    extractor: str = "auto"
    metrics: tuple[str, ...] | None = None
    count: Annotated[int, Field(ge=2)] | None = None
    checkpoint: str = "best"
    seed: Annotated[int, Field(ge=0)] = 0


@KINDS.register("recipes")
class StudyConfig(Config):
    """Every row of `recipes` is trained on every set of `data` with every seed.

    `recipes` maps the name of a row to a recipe, or to `{recipe: ..., settings: [...]}`. `data` maps the name
    of a set to a folder, an archive, a known set or a prepared set; empty: `--data` is needed. `seeds` is a
    list, or how many from 0 on. One of `images` and `hours` is the budget of each run, by default its
    recipe's. `settings` change every recipe, before those of the row.
    """

    name: Name
    description: str = ""
    paper: str = ""
    data: dict[Name, str] = Field(default_factory=dict)
    recipes: dict[Name, RowConfig] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0,)
    images: int | None = None
    hours: Annotated[float, Field(gt=0)] | None = None
    settings: tuple[str, ...] = ()
    judge: JudgeConfig = JudgeConfig()

    @field_validator("recipes", mode="before")
    @classmethod
    def _plain_names(cls, value: Any) -> Any:
        """A recipe's name alone is a row without settings."""
        if not isinstance(value, Mapping):
            return value
        return {name: {"recipe": row} if isinstance(row, str) else row for name, row in value.items()}

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_of_seeds(cls, value: Any) -> Any:
        return count_of_seeds(value)

    @field_validator("images", mode="before")
    @classmethod
    def _count_in_words(cls, value: Any) -> Any:
        return count_in_words(value)

    @model_validator(mode="after")
    def _is_consistent(self) -> "StudyConfig":
        if self.images is not None and self.hours is not None:
            raise ValueError("images and hours are both given: give one budget")
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ValueError("seeds must be different, and at least one")
        return self

    @property
    def run_count(self) -> int:
        """The number of runs; with no set given, those of one set."""
        return len(self.recipes) * len(self.seeds) * max(1, len(self.data))

    def recipe_of(self, row: str, seed: int) -> Recipe:
        """The recipe of a row with all its settings, named after the row; raises `RecipeError`."""
        one = self.recipes[row]
        budget = [] if self.images is None else [f"budget.images={self.images}"]
        settings = [*self.settings, *one.settings, *budget, f"seed={seed}"]
        try:
            return override(load_recipe(one.recipe), settings).model_copy(update={"name": row})
        except (RecipeError, UnknownNameError) as error:
            raise type(error)(f"the row {row} of the study {self.name}: {error}") from None

    def to_yaml(self) -> str:
        """The study as YAML that `load_study` reads back."""
        content = self.model_dump(mode="json", exclude_none=True)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


STUDIES: Registry[Callable[[], Any]] = Registry("study")
"""Built-in studies by name; each returns the settings of its kind."""


def load_study(name_or_file: str) -> Any:
    """A built-in study by name, or one from a YAML or JSON file: a `StudyConfig`, or another kind of `KINDS`.

    Raises `RecipeError`, or `UnknownNameError` for a name.
    """
    import kennel.studies.builtin  # noqa: F401 (registers the studies and the kinds)

    if Path(name_or_file).suffix not in FILES:
        if name_or_file not in STUDIES:
            raise unknown_name("study", name_or_file, [*STUDIES])
        return STUDIES[name_or_file]()
    file = Path(name_or_file)
    if not file.is_file():
        raise RecipeError(f"there is no file {file}: give a study's file, or a built-in study's name")
    try:
        content = parse_yaml(read_bytes(file, MAX_YAML_BYTES, named=True).decode())
    except (UntrustedError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} cannot be read as a study ({error})") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{file} is not a study: it needs at least `recipes:`")
    kind = content.get("kind", "recipes")
    if kind not in KINDS:
        raise unknown_name("kind of study", str(kind), [*KINDS])
    rest = {key: value for key, value in content.items() if key != "kind"}
    return validated(KINDS[kind], {"name": file.stem, **rest}, "study")
