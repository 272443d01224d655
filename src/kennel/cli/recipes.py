"""`kennel recipes`: list the built-in recipes, or print one in full."""

import re

import typer


def recipes(
    name: str | None = typer.Argument(None, help="The recipe to print in full, with its paper."),
) -> None:
    """List the built-in recipes, or print one in full.

    Example: kennel recipes dcgan
    """
    from rich.syntax import Syntax

    from kennel.cli.console import console, print_list
    from kennel.recipes import RECIPES, get_recipe, recipe_doc

    if name is not None:
        recipe = get_recipe(name)
        console.print(f"{reflowed(recipe_doc(name))}\n")
        console.print(Syntax(recipe.to_yaml(), "yaml", background_color="default"))
        return
    rows = [(one, reflowed(recipe_doc(one)).splitlines()[0]) for one in RECIPES]
    print_list(("recipe", "description"), rows)
    console.print("\n`kennel recipes NAME` prints one in full; `kennel train NAME DATA` trains it.")


def reflowed(text: str) -> str:
    """Joins the lines of a docstring; keeps paragraphs and lines such as `Word: ...`."""
    joined = re.sub(r"(?<!\n)\n(?!\n|[A-Z][\w. ]*: )", " ", text)
    return re.sub(r" {2,}", " ", joined)
