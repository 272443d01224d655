"""Splits the arguments `[RECIPE] DATA` of `kennel train` and `kennel plan`."""

import shlex
from pathlib import Path

from kennel.errors import DataError, KennelError, RecipeError

DATA_KINDS = "a folder, zip or tar of images, a known set (`kennel data list`) or a packed set"


def recipe_and_data(
    command: str, words: tuple[str | None, str | None], recipe: str | None, data: Path | None
) -> tuple[str, Path]:
    """Returns the recipe (`auto` if none is given) and the data.

    `words` are the positional arguments, `recipe` and `data` the options; messages show examples of
    `command`. A single argument is the data. Raises `KennelError` if something is missing, is given twice,
    or can be both a recipe and data.
    """
    from kennel.training.auto_recipe import AUTO

    given = [word for word in words if word is not None]
    expected = (recipe is None) + (data is None)
    if len(given) > expected:
        option = "--data" if data is not None else "--recipe"
        raise RecipeError(f"{given[-1]} is one argument too many with {option}: `{command} [RECIPE] DATA`")
    if data is None and not given:
        raise DataError(f"DATA is missing: give {DATA_KINDS}, such as `{command} photos/`")
    if data is not None:
        return (recipe or (given[0] if given else AUTO)), data
    if len(given) == 1:
        if recipe is None:
            _check_single(command, given[0])
        return recipe or AUTO, Path(given[0])
    name, source = given
    if not _is_recipe(name) and _is_recipe(source) and not Path(source).exists():
        raise RecipeError(f"the recipe comes first: `{command} {shlex.quote(source)} {shlex.quote(name)}`")
    return name, Path(source)


def _is_recipe(word: str) -> bool:
    """Returns whether a word is a recipe's name or has the suffix of a recipe file."""
    from kennel.recipes import RECIPES
    from kennel.training.auto_recipe import AUTO
    from kennel.training.request import FILES

    return word in RECIPES or word == AUTO or Path(word).suffix in FILES


def _check_single(command: str, word: str) -> None:
    """Raises `KennelError` if the only argument is a recipe, or is no data and may be a misspelled name."""
    from kennel.data.sources.catalog import KNOWN_SETS
    from kennel.recipes import RECIPES
    from kennel.registry import unknown_name

    path = Path(word)
    is_path = path.exists()
    if _is_recipe(word):
        kinds = ["a known set"] * (word in KNOWN_SETS) + ["a folder or file here"] * is_path
        quoted = shlex.quote(word)
        if kinds and path.suffix not in (".yaml", ".yml", ".json"):
            as_data = f"./{quoted}" if is_path else quoted
            raise RecipeError(
                f"'{word}' is a recipe and also {' and '.join(kinds)}: `{command} auto {as_data}` uses it as "
                f"the data, `{command} {quoted} DATA` as the recipe"
            )
        raise DataError(f"{word} is a recipe, and DATA is missing: `{command} {quoted} DATA`")
    if not is_path and "/" not in word and not path.suffix and word not in KNOWN_SETS:
        error: KennelError = unknown_name(
            "folder, archive, known set or recipe", word, [*KNOWN_SETS, *RECIPES]
        )
        if "known: " in str(error):  # no name is similar, and the list of all is too long
            error = DataError(f"there is no {word}: give {DATA_KINDS}")
        raise error
