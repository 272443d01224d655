"""Which of the words `[RECIPE] DATA` is the recipe and which the data."""

import shlex
from pathlib import Path

from kennel.errors import DataError, KennelError, RecipeError

WHAT_DATA_IS = "a folder, zip or tar of images, a known set (`kennel data list`) or a packed set"


def recipe_and_data(
    command: str, words: tuple[str | None, str | None], recipe: str | None, data: Path | None
) -> tuple[str, Path]:
    """The recipe (`auto` where none is named) and the data.

    `words` are the positional arguments, `recipe` and `data` the options; `command` begins the examples in
    messages. One word alone is the data. Raises `KennelError` where something is missing, given twice, or
    could be a recipe as well as data.
    """
    from kennel.training.auto_recipe import AUTO

    given = [word for word in words if word is not None]
    expected = (recipe is None) + (data is None)
    if len(given) > expected:
        option = "--data" if data is not None else "--recipe"
        raise RecipeError(f"{given[-1]} is one word too many beside {option}: give `{command} [RECIPE] DATA`")
    if data is None and not given:
        raise DataError(f"DATA is missing: give {WHAT_DATA_IS}, such as `{command} photos/`")
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
    """Whether a word names a recipe or a file of one."""
    from kennel.recipes import RECIPES
    from kennel.training.auto_recipe import AUTO
    from kennel.training.request import FILES

    return word in RECIPES or word == AUTO or Path(word).suffix in FILES


def _check_single(command: str, word: str) -> None:
    """Raises `KennelError` where the only word is a recipe, or could be one, or is near to one."""
    from kennel.data.sources.catalog import KNOWN_SETS
    from kennel.recipes import RECIPES
    from kennel.registry import unknown_name

    path = Path(word)
    is_path = path.exists()
    if _is_recipe(word):
        what = [
            *(["a known set"] if word in KNOWN_SETS else []),
            *(["a folder or file here"] if is_path else []),
        ]
        quoted = shlex.quote(word)
        if what and path.suffix not in (".yaml", ".yml", ".json"):
            itself = f"./{quoted}" if is_path else quoted
            raise RecipeError(
                f"'{word}' is a recipe and also {' and '.join(what)}: `{command} auto {itself}` takes it as "
                f"the data, `{command} {quoted} DATA` as the recipe"
            )
        raise DataError(f"{word} is a recipe, and DATA is missing: `{command} {quoted} DATA`")
    if not is_path and "/" not in word and not path.suffix and word not in KNOWN_SETS:
        error: KennelError = unknown_name(
            "folder, archive, known set or recipe", word, [*KNOWN_SETS, *RECIPES]
        )
        if "known: " in str(error):  # the list of all of them helps nobody
            error = DataError(f"there is no {word}: give {WHAT_DATA_IS}")
        raise error
