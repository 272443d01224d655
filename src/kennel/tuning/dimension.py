"""One number (or choice) of a recipe that a search varies: its key and its possible values."""

import json
import math
from dataclasses import dataclass
from typing import Any

from kennel.config.recipe import parse_value
from kennel.errors import RecipeError

Value = float | int | str | bool
"""A value of a dimension; lists of a recipe (the widths of an MLP) are JSON text."""


@dataclass(frozen=True)
class Dimension:
    """The setting `key` is searched between `low` and `high`, both included, or among `choices`.

    `key` is one of `--set`; a number at its end is a place in a list (`generator_optimizer.betas.0`). With
    two `int` bounds it is a whole number; `log` searches its logarithm uniformly.
    """

    key: str
    low: float | int = 0
    high: float | int = 0
    log: bool = False
    choices: tuple[Value, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values to check before a search: both bounds, or all choices."""
        return self.choices or (self.low, self.high)

    @property
    def words(self) -> str:
        """The possible values for a table, such as "5e-05 to 0.005, log"."""
        if self.choices:
            return ", ".join(map(value_words, self.choices))
        scale = ", log" if self.log else ""
        return f"{value_words(self.low)} to {value_words(self.high)}{scale}"

    def contains(self, value: Any) -> bool:
        """Whether the search can reach `value`."""
        if self.choices:
            return any(
                value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.choices
            )
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high and not (self.is_whole and value != int(value))

    def about(self) -> dict[str, Any]:
        """Plain values that are equal for equal dimensions."""
        found: dict[str, Any] = {"key": self.key}
        if self.choices:
            return {**found, "choices": list(self.choices)}
        return {**found, "low": self.low, "high": self.high, "log": self.log}


def value_words(value: Any) -> str:
    """A value for a table: numbers with at most four significant digits."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)


def plain_value(value: Any) -> Any:
    """A recipe's value as a value of a dimension: lists and groups become JSON text."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def parse_dimension(text: str) -> Dimension:
    """Parses `key=low:high`, `key=low:high:log` or `key=a,b,c`. Raises `RecipeError` for anything else.

    Numbers are those of `--set`, so 5e-4, 500k and 2M are allowed; a `[...]` among choices is one choice.
    """
    key, equals, given = text.partition("=")
    key, given = key.strip(), given.strip()
    if not (equals and key and given):
        raise RecipeError(
            f"'{text}' is not a range: write --space key=low:high, key=low:high:log or key=a,b,c"
        )
    if ":" not in given:
        return _choices(key, given, text)
    low, high, *rest = (part.strip() for part in given.split(":"))
    if rest not in ([], ["log"]):
        raise RecipeError(f"'{text}': after low:high only :log may follow")
    bounds = parse_value(low), parse_value(high)
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
            raise RecipeError(f"'{text}': {bound} is not a number; for words write {key}=a,b,c")
    if bounds[0] >= bounds[1]:
        raise RecipeError(
            f"'{text}': {low} is not below {high}: give the lower bound first, or fix the value with "
            f"--set {key}={low}"
        )
    if rest and bounds[0] <= 0:
        raise RecipeError(f"'{text}': a logarithmic range must begin above 0, not at {low}")
    if not all(isinstance(bound, int) for bound in bounds):
        bounds = float(bounds[0]), float(bounds[1])
    return Dimension(key, *bounds, log=bool(rest))


def _choices(key: str, given: str, text: str) -> Dimension:
    found = [plain_value(parse_value(part)) for part in _split(given)]
    if any(value is None for value in found):
        raise RecipeError(f"'{text}': an empty choice; write --space {key}=a,b,c")
    if len(set(map(repr, found))) != len(found):
        raise RecipeError(f"'{text}': a choice is given twice")
    if len(found) < 2:
        raise RecipeError(
            f"'{text}' has one value: fix it with --set {key}={given}, or give several, or low:high"
        )
    if any(isinstance(value, float) for value in found) and not any(
        isinstance(value, str | bool) for value in found
    ):
        found = [float(value) for value in found]
    return Dimension(key, choices=tuple(found))


def _split(text: str) -> list[str]:
    """Splits at commas outside of brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
