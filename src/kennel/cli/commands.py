"""How the command line is set up: plain help, and misspelt commands and options answered with the nearest."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from kennel.cli.imports import with_imports
from kennel.registry import did_you_mean

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
"""Settings of the whole command: sub-commands take `-h` from it; lines as wide as the terminal, up to 120."""


class App(typer.Typer):
    """A group of commands that all have the option `--import`."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """As `typer.Typer.command`; the decorated function stays as it is."""
        register = super().command(name, **settings)

        def add(command: Any) -> Any:
            register(with_imports(command))
            return command

        return add


def new_app(**settings: Any) -> typer.Typer:
    """A group of commands; `settings` are those of `typer.Typer`.

    Its help is plain text: the tables that typer draws with rich cut options in a narrow terminal.
    """
    return App(
        cls=Group,
        context_settings=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        suggest_commands=False,
        **settings,
    )


class Command(TyperCommand):
    """A command that knows its options when one is misspelt."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does; an unknown option is answered with the nearest."""
        with _options_named(self, ctx):
            return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A group that knows its commands and options when one is misspelt, and lists commands with all words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does; an unknown option is answered with the nearest."""
        with _options_named(self, ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer does; an unknown command is answered with the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            if hasattr(error, "message") and args and args[0] not in self.commands:
                _ask(error, f"there is no command '{args[0]}'", args[0], list(self.commands))
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each with the first sentence of its help, which typer would cut."""
        lines = [(name, first_sentence(command.help or "")) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(lines)


@contextmanager
def _options_named(command: Any, ctx: Any) -> Iterator[None]:
    """In the block an unknown option is answered with the nearest of the command's."""
    try:
        yield
    except Exception as error:
        name = getattr(error, "option_name", "")
        if name and hasattr(error, "possibilities"):
            named = [one for part in command.get_params(ctx) for one in (*part.opts, *part.secondary_opts)]
            _ask(error, f"there is no option {name}", name, [one for one in named if one.startswith("--")])
            error.possibilities = None
        raise


def _ask(error: Any, said: str, name: str, known: list[str]) -> None:
    error.message = f"{said}: {did_you_mean(name, known) or 'known: ' + ', '.join(known) + '.'}"


def first_sentence(text: str) -> str:
    """Of the first paragraph, on one line."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.]) (?=[A-Z])", paragraph)[0]
