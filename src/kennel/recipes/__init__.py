"""The built-in recipes: functions whose docstrings name the paper, the command and the cost."""

import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from kennel.config.recipe import Recipe, from_yaml
from kennel.errors import RecipeError
from kennel.recipes.registry import RECIPES
from kennel.storage.untrusted import MAX_YAML_BYTES, UntrustedError, read_text

__all__ = ["RECIPES", "get_recipe", "load_recipe", "recipe_doc"]

for _module in iter_modules(__path__):  # each module registers its recipes on import
    import_module(f"{__name__}.{_module.name}")


def get_recipe(name: str) -> Recipe:
    """The built-in recipe of this name. Raises `UnknownNameError` that suggests the nearest name."""
    return RECIPES[name]()


def recipe_doc(name: str) -> str:
    """The recipe's docstring: paper, data, command, cost."""
    return inspect.getdoc(RECIPES[name]) or ""


def load_recipe(name_or_file: str) -> Recipe:
    """A recipe from a .yaml or .json file, or a built-in recipe by its name."""
    file = Path(name_or_file)
    if file.suffix not in (".yaml", ".yml", ".json"):
        return get_recipe(name_or_file)
    if not file.is_file():
        raise RecipeError(
            f"there is no recipe file {file}: give an existing file, or the name of a built-in recipe"
        )
    try:
        text = read_text(file, MAX_YAML_BYTES, named=True)
    except UntrustedError as error:
        raise RecipeError(f"{file} {str(error).removeprefix('it ')}: save it as UTF-8 text") from None
    return from_yaml(text, name_or_file)
