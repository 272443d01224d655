"""The search space: which numbers of a recipe vary, and recipes with other values of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from kennel.config.recipe import Recipe, override
from kennel.data.dataset import ImageDataset
from kennel.engine.builder import resolve
from kennel.errors import KennelError, RecipeError
from kennel.registry import unknown_name
from kennel.tuning.default_space import default_dimensions
from kennel.tuning.dimension import Dimension, Value, parse_dimension, plain_value, value_words


@dataclass(frozen=True)
class Space:
    """The dimensions of a search over a `recipe`, with all options written out (`engine.builder.resolve`)."""

    recipe: Recipe
    dimensions: tuple[Dimension, ...]

    @property
    def own(self) -> dict[str, Any]:
        """The recipe's own values by key; None for what it does not have."""
        return {one.key: own_value(self.recipe, one.key) for one in self.dimensions}

    @property
    def contains_own(self) -> bool:
        """Whether the search can reach the recipe's own values."""
        own = self.own
        return all(one.contains(own[one.key]) for one in self.dimensions)

    def settings(self, values: Mapping[str, Value]) -> list[str]:
        """Settings, as of `--set`, that give a recipe these values."""
        return settings_of(self.recipe, values)


def make_space(
    recipe: Recipe,
    dataset: ImageDataset,
    given: Sequence[str] = (),
    fixed: Sequence[str] = (),
    only: str | None = None,
) -> Space:
    """The default dimensions of `recipe`, changed by `given` (`--space`), without those that `fixed` sets.

    `fixed` are settings, which `recipe` has already; `only` are comma-separated keys, their last words, or
    patterns with `*`: all other default dimensions are left out. Raises `RecipeError` if a value of a given
    dimension does not fit the recipe, or if nothing is left to search.
    """
    resolved = resolve(recipe, dataset)
    largest_batch = min(len(dataset), recipe.budget.in_images(len(dataset)))
    keys_fixed = [one.partition("=")[0] for one in fixed]
    mine = {one.key: one for one in map(parse_dimension, given)}
    for key, dimension in mine.items():
        if any(_covers(one, key) for one in keys_fixed):
            raise RecipeError(f"--space {key} and --set {key} contradict each other: give one of them")
        _check(resolved, dataset, dimension)
    found = {
        one.key: one
        for one in default_dimensions(resolved, largest_batch)
        if not any(_covers(key, one.key) for key in keys_fixed)
    }
    if only is not None:
        chosen = _chosen(only, [*found, *mine])
        found = {key: one for key, one in found.items() if key in chosen}
    for key in mine:  # a list as a whole replaces its places, and the other way round
        found = {
            other: one for other, one in found.items() if not (_covers(key, other) or _covers(other, key))
        }
    found |= mine
    if not found:
        raise RecipeError("nothing is left to search: give --space key=low:high, or fewer --set")
    return Space(resolved, tuple(found.values()))


def settings_of(recipe: Recipe, values: Mapping[str, Value]) -> list[str]:
    """Settings with these values; keys that are places in a list of `recipe` become one setting."""
    settings: dict[str, str] = {}
    lists: dict[str, list[Any]] = {}
    for key, value in values.items():
        parent, _, place = key.rpartition(".")
        if not place.isdecimal():
            settings[key] = _text(value)
            continue
        if parent not in lists:
            whole = _look_up(recipe, parent)
            if not isinstance(whole, list):
                raise RecipeError(f"{key}: {parent} is not a list in this recipe: give {parent} itself")
            lists[parent] = [*whole]
        if int(place) >= len(lists[parent]):
            raise RecipeError(f"{key}: {parent} has {len(lists[parent])} values, counted from 0")
        lists[parent][int(place)] = value
    return [f"{key}={text}" for key, text in settings.items()] + [
        f"{key}={json.dumps(whole)}" for key, whole in lists.items()
    ]


def own_value(recipe: Recipe, key: str) -> Any:
    """The recipe's value at a key of `--set`, as a value of a dimension; None if it has none.

    `techniques.NAME` is whether the technique is on, `loss` the name of the loss.
    """
    path = key.split(".")
    if path[0] == "techniques" and len(path) == 2:
        return any(one.name == path[1] for one in recipe.techniques)
    found = _look_up(recipe, key)
    if isinstance(found, dict) and "name" in found:
        found = found["name"]
    return plain_value(found)


def _look_up(recipe: Recipe, key: str) -> Any:
    found: Any = recipe.model_dump(mode="json")
    found["techniques"] = {part["name"]: part for part in found["techniques"]}
    for part in key.split("."):
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict):
            found = found.get(part)
        else:
            return None
    return found


def _text(value: Value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _covers(key: str, other: str) -> bool:
    """Whether a setting of `key` sets `other`: the same key, or one below it."""
    return other == key or other.startswith(f"{key}.")


def _chosen(only: str, keys: Sequence[str]) -> set[str]:
    """The keys that `--only` means; raises `UnknownNameError` for a word that means none."""
    chosen: set[str] = set()
    for word in (part.strip() for part in only.split(",")):
        meant = {key for key in keys if fnmatchcase(key, word) or f".{word}." in f".{key}."}
        if not meant:
            raise unknown_name("searched key", word, keys)
        chosen |= meant
    return chosen


def _check(recipe: Recipe, dataset: ImageDataset, dimension: Dimension) -> None:
    """Raises `RecipeError` if a bound or a choice alone does not fit the recipe."""
    if dimension.key.startswith(("budget.", "num_ticks", "validation.", "keep_", "seed")):
        raise RecipeError(
            f"{dimension.key} cannot be searched: all trials are measured alike; fix it with "
            f"--set {dimension.key}=..."
        )
    for value in dimension.ends:
        try:
            resolve(override(recipe, settings_of(recipe, {dimension.key: value})), dataset)
        except KennelError as error:
            raise RecipeError(f"--space {dimension.key}, value {value_words(value)}: {error}") from None
