"""`kennel recipes`: the built-in recipes, and one in full."""

import re

import typer


def recipes(
    name: str | None = typer.Argument(None, help="A recipe to print in full, with its paper."),
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
        console.print(reflowed(recipe_doc(name)))
        console.print()
        console.print(Syntax(recipe.to_yaml(), "yaml", background_color="default"))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for one in RECIPES:
        table.add_row(one, reflowed(recipe_doc(one)).splitlines()[0])
    console.print(table)
    console.print("\n`kennel recipes NAME` prints one in full; `kennel train NAME DATA` trains it.")


def reflowed(text: str) -> str:
    """A docstring for a terminal of any width: its lines joined, but for paragraphs and `Word: ...` lines."""
    joined = re.sub(r"(?<!\n)\n(?!\n|[A-Z][\w. ]*: )", " ", text)
    return re.sub(r" {2,}", " ", joined)
