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
    from rich.table import Table

    from kennel.cli.console import console
    from kennel.recipes import RECIPES, get_recipe, recipe_doc

    if name is not None:
        recipe = get_recipe(name)
        console.print(f"{reflowed(recipe_doc(name))}\n")
        console.print(Syntax(recipe.to_yaml(), "yaml", background_color="default"))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    table.add_column("description", overflow="fold")
    for one in RECIPES:
        table.add_row(one, reflowed(recipe_doc(one)).splitlines()[0])
    console.print(table)
    console.print("\n`kennel recipes NAME` prints one in full; `kennel train NAME DATA` trains it.")


def reflowed(text: str) -> str:
    """Joins the lines of a docstring; keeps paragraphs and lines such as `Word: ...`."""
    joined = re.sub(r"(?<!\n)\n(?!\n|[A-Z][\w. ]*: )", " ", text)
    return re.sub(r" {2,}", " ", joined)
