"""How the command line is set up: help in sections, and the nearest name for one that is unknown."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from kennel.cli.imports import with_imports
from kennel.registry import did_you_mean

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
"""Settings of the whole command: sub-commands take `-h` from it; lines as wide as the terminal, up to 120."""


SECTIONS = ("Data", "Train", "Look", "Measure", "Share", "Learn")
"""The sections of `kennel --help`, in their order: typer lists groups such as `kennel data` last."""
OTHER_WORDS = {
    "--data": ("--reference",),
    "--floor": ("--reference-split",),
    "--resident": ("--device-cache",),
    "--speed": ("--compute",),
    "--precision": ("--compute",),
    "--fork": ("--init-from",),
    "--resume": ("--out",),
    "--output": ("--out",),
    "--number": ("--count",),
    "--batch-size": ("--batch", "--set"),
    "--lr": ("--set",),
}
"""Words for an option whose letters do not lead to its name; a command is offered those that it has."""


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

    Its help is plain text, with a section for each `rich_help_panel`: the tables that typer draws with rich
    cut options in a narrow terminal, and importing rich's part of them takes a third of the time of `--help`.
    """
    return App(
        cls=Group,
        context_settings=HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        suggest_commands=False,
        **settings,
    )


class Command(TyperCommand):
    """A command with its options in sections, which knows them when one is misspelt."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the options by `rich_help_panel`, those without one first."""
        _write_sections(
            formatter,
            (
                (_panel_of(parameter), record)
                for parameter in self.get_params(ctx)
                if (record := parameter.get_help_record(ctx)) is not None
            ),
            first=("Arguments", "Options"),
        )

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
        """By `rich_help_panel`, each with the first sentence of its help, which typer would cut."""
        _write_sections(
            formatter,
            (
                (_panel_of(command) or "Commands", (name, first_sentence(command.help or "")))
                for name, command in self.commands.items()
            ),
            first=SECTIONS,
        )


def _panel_of(part: Any) -> str:
    """The section of a command or parameter."""
    panel = getattr(part, "rich_help_panel", None)
    if isinstance(panel, str):
        return panel
    kind = getattr(part, "param_type_name", "")
    return {"argument": "Arguments", "option": "Options"}.get(kind, "")


def _write_sections(
    formatter: Any, lines: Iterable[tuple[str, tuple[str, str]]], first: Sequence[str] = ()
) -> None:
    """Writes (section, (name, help)) by section, in the order in which sections occur, `first` ones first."""
    sections: dict[str, list[tuple[str, str]]] = {name: [] for name in first}
    for section, line in lines:
        sections.setdefault(section, []).append(line)
    for section, records in sections.items():
        if records:
            with formatter.section(section):
                formatter.write_dl(records)


@contextmanager
def _options_named(command: Any, ctx: Any) -> Iterator[None]:
    """In the block an unknown option is answered with the nearest of the command's."""
    try:
        yield
    except Exception as error:
        name = getattr(error, "option_name", "")
        if name and hasattr(error, "possibilities"):
            named = [one for part in command.get_params(ctx) for one in (*part.opts, *part.secondary_opts)]
            options = [one for one in named if one.startswith("--")]
            meant = [one for one in OTHER_WORDS.get(name, ()) if one in options][:1]
            _ask(error, f"there is no option {name}", meant[0] if meant else name, meant or options)
            error.possibilities = None
        raise


def _ask(error: Any, said: str, name: str, known: list[str]) -> None:
    error.message = f"{said}: {did_you_mean(name, known) or 'known: ' + ', '.join(known) + '.'}"


def first_sentence(text: str) -> str:
    """Of the first paragraph, on one line."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.]) (?=[A-Z])", paragraph)[0]
