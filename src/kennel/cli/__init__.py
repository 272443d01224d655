"""The `kennel` command: one file per command, each a thin door to the rooms below."""

import sys

import typer

from kennel.cli import data, extractor
from kennel.cli.commands import Command, new_app
from kennel.cli.compare import compare
from kennel.cli.components import losses, metrics, techniques
from kennel.cli.console import console, report_error
from kennel.cli.demo import demo
from kennel.cli.export import export
from kennel.cli.fetch import fetch
from kennel.cli.imports import Imports, import_all
from kennel.cli.judge import judge
from kennel.cli.networks import networks
from kennel.cli.plan import plan
from kennel.cli.recipes import recipes
from kennel.cli.report import report
from kennel.cli.sample import sample
from kennel.cli.train import train
from kennel.errors import KennelError

app = new_app(
    name="kennel",
    help="A toolkit for GANs: prepare images, train, sample, judge honestly, and see the comparison.",
)


@app.callback(invoke_without_command=True)
def version(
    show: bool = typer.Option(False, "--version", help="Print the version and leave."),
    imports: Imports = [],  # noqa: B006 - typer makes a new list of it
) -> None:
    """A toolkit for GANs: prepare images, train, sample, judge honestly, and see the comparison."""
    if show:
        from kennel import __version__

        typer.echo(f"kennel {__version__}")
        raise typer.Exit
    import_all(imports)


for command in (
    plan,
    train,
    sample,
    judge,
    compare,
    report,
    export,
    fetch,
    recipes,
    networks,
    techniques,
    losses,
    metrics,
    demo,
):
    app.command(cls=Command)(command)
app.add_typer(data.app, name="data")
app.add_typer(extractor.app, name="extractor")


def main() -> None:
    """Runs the command; a `KennelError` becomes one line on standard error and exit code 2.

    So does what the system refuses: a full disk, a folder that may not be written, output that is lost.
    """
    try:
        try:
            app(prog_name="kennel")
        except SystemExit:
            if console.lost is not None:
                raise console.lost from None
            raise
    except (KennelError, OSError) as error:
        report_error(error)
        sys.exit(2)
