"""The `kennel` command: one file per subcommand."""

import sys
from collections.abc import Callable

import typer

from kennel.cli import data, extractor
from kennel.cli.commands import SECTIONS, Command, new_app
from kennel.cli.compare import compare
from kennel.cli.components import losses, metrics, techniques
from kennel.cli.demo import demo
from kennel.cli.expand import expand
from kennel.cli.export import export
from kennel.cli.fetch import fetch
from kennel.cli.imports import Imports, import_all
from kennel.cli.judge import judge
from kennel.cli.networks import networks
from kennel.cli.plan import plan
from kennel.cli.recipes import recipes
from kennel.cli.report import report
from kennel.cli.sample import sample
from kennel.cli.study import study
from kennel.cli.timelapse import timelapse
from kennel.cli.train import train
from kennel.cli.tune import tune
from kennel.errors import KennelError

app = new_app(name="kennel")


@app.callback(invoke_without_command=True)
def version(
    show: bool = typer.Option(False, "--version", help="Print the version and exit."),
    imports: Imports = [],  # noqa: B006 - typer passes a new list
) -> None:
    """Train GANs on your images, sample from them, and measure how good they are.

    Example: kennel train photos/ --hours 1
    """
    if show:
        from kennel import __version__

        typer.echo(f"kennel {__version__}")
        raise typer.Exit
    import_all(imports)


COMMANDS: tuple[tuple[Callable[..., None] | typer.Typer, ...], ...] = (
    (data.app, expand),
    (train, tune, plan),
    (sample, timelapse, report),
    (judge, compare, study, extractor.app),
    (export, fetch),
    (demo, recipes, networks, techniques, losses, metrics),
)
"""Commands by section, in the order of `SECTIONS`."""

for panel, commands in zip(SECTIONS, COMMANDS, strict=True):
    for command in commands:
        if isinstance(command, typer.Typer):
            app.add_typer(command, rich_help_panel=panel)
        else:
            app.command(cls=Command, rich_help_panel=panel)(command)


def main() -> None:
    """Runs the command; a `KennelError` or `OSError` becomes one line on standard error and exit code 2."""
    try:
        try:
            app(prog_name="kennel")
        except SystemExit:
            module = sys.modules.get("kennel.cli.console")  # importing it would double the time of `--help`
            if module is not None and module.console.write_error is not None:
                raise module.console.write_error from None
            raise
    except (KennelError, OSError) as error:
        from kennel.cli.console import report_error

        report_error(error)
        sys.exit(2)
