"""Setup of the command line: help in sections, and suggestions for misspelled commands and options."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from kennel.cli.imports import with_imports
from kennel.registry import did_you_mean

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
"""Click settings; sub-commands inherit `-h`. Help is as wide as the terminal, up to 120 columns."""


SECTIONS = ("Data", "Train", "Look", "Measure", "Share", "Learn")
"""Sections of `kennel --help` in order. Without it typer lists groups such as `kennel data` last."""
SYNONYMS = {
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
"""Suggestions for option names whose spelling does not resemble ours; only options of the command count."""


class App(typer.Typer):
    """A command group that adds the option `--import` to every command."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Like `typer.Typer.command`; returns the decorated function unchanged."""
        register = super().command(name, **settings)

        def add(command: Any) -> Any:
            register(with_imports(command))
            return command

        return add


def new_app(**settings: Any) -> typer.Typer:
    """Creates a command group; `settings` are those of `typer.Typer`.

    Help is plain text with a section for each `rich_help_panel`. Typer's rich tables cut off options in a
    narrow terminal, and importing them takes a third of the time of `--help`.
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
    """A command that lists its options in sections and suggests an option for an unknown one."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments, then options by `rich_help_panel`; options without one come first."""
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
        """Parses as typer does; the error for an unknown option suggests the closest one."""
        with _suggesting_options(self, ctx):
            return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A group that suggests commands and options, and lists commands with their whole first sentence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses as typer does; the error for an unknown option suggests the closest one."""
        with _suggesting_options(self, ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolves as typer does; the error for an unknown command suggests the closest one."""
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            if hasattr(error, "message") and args and args[0] not in self.commands:
                _set_message(error, f"there is no command '{args[0]}'", args[0], list(self.commands))
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Lists commands by `rich_help_panel`, each with the first sentence of its help."""
        _write_sections(
            formatter,
            (
                (_panel_of(command) or "Commands", (name, first_sentence(command.help or "")))
                for name, command in self.commands.items()
            ),
            first=SECTIONS,
        )


def _panel_of(part: Any) -> str:
    panel = getattr(part, "rich_help_panel", None)
    if isinstance(panel, str):
        return panel
    kind = getattr(part, "param_type_name", "")
    return {"argument": "Arguments", "option": "Options"}.get(kind, "")


def _write_sections(
    formatter: Any, lines: Iterable[tuple[str, tuple[str, str]]], first: Sequence[str] = ()
) -> None:
    """Writes (section, (name, help)) by section: first those in `first`, then in order of occurrence."""
    sections: dict[str, list[tuple[str, str]]] = {name: [] for name in first}
    for section, line in lines:
        sections.setdefault(section, []).append(line)
    for section, records in sections.items():
        if records:
            with formatter.section(section):
                formatter.write_dl(records)


@contextmanager
def _suggesting_options(command: Any, ctx: Any) -> Iterator[None]:
    """In the block, the error for an unknown option suggests the closest option of the command."""
    try:
        yield
    except Exception as error:
        name = getattr(error, "option_name", "")
        if name and hasattr(error, "possibilities"):
            names = [one for part in command.get_params(ctx) for one in (*part.opts, *part.secondary_opts)]
            options = [one for one in names if one.startswith("--")]
            meant = [one for one in SYNONYMS.get(name, ()) if one in options][:1]
            _set_message(error, f"there is no option {name}", meant[0] if meant else name, meant or options)
            error.possibilities = None
        raise


def _set_message(error: Any, problem: str, name: str, known: list[str]) -> None:
    error.message = f"{problem}: {did_you_mean(name, known) or 'known: ' + ', '.join(known) + '.'}"


def first_sentence(text: str) -> str:
    """Returns the first sentence of the first paragraph, on one line."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.]) (?=[A-Z])", paragraph)[0]
