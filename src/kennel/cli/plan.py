"""`kennel plan`: what a run will take, before anyone commits a night to it. Nothing is written."""

import signal
from datetime import datetime
from pathlib import Path

import typer

from kennel.cli import words
from kennel.cli.outputs import refuse_unwritable
from kennel.cli.train import BY_SIGNAL, budget_of


def plan(
    recipe: words.RecipeName,
    data: words.Data,
    out: Path | None = typer.Option(None, help="A run's folder: the forecast is of what is left of it."),
    settings: words.Settings = [],  # noqa: B006 - typer makes a new list of it
    images: words.Images = None,
    epochs: words.Epochs = None,
    device: words.Device = "auto",
    speed: words.Speed = "auto",
    weights: words.Weights = None,
    resident: words.Resident = "auto",
    seconds: float = typer.Option(10.0, min=0, max=3600, help="For how long rounds are timed."),
    json_file: Path | None = typer.Option(None, "--json", help="Write all figures to this file."),
) -> None:
    """Tell what a run will take: parameters, operations, memory, disk and time."""
    import json

    from rich.table import Table

    from kennel.atomic import write_text
    from kennel.cli.console import console, error_console
    from kennel.data.room import parse_room
    from kennel.recipe import override
    from kennel.recipes import find
    from kennel.speed import preset
    from kennel.wiring import forecast, pick_device
    from kennel.wiring.forecasting.telling import heading, rows

    if json_file is not None:
        refuse_unwritable(json_file, "--json")
    chosen = override(find(recipe), [*preset(speed), *settings, *budget_of(images, epochs)])
    try:
        with error_console.status("planning") as status:
            found = forecast(
                chosen,
                data,
                out=out,
                device=pick_device(device),
                weights=weights,
                resident_bytes=parse_room(resident),
                seconds=seconds,
                say=lambda doing: status.update(f"planning: {doing}"),
            )
    except KeyboardInterrupt:
        raise typer.Exit(BY_SIGNAL + signal.SIGINT) from None
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for what, how_much in rows(found, datetime.now()):
        table.add_row(what, how_much)
    console.print(heading(found), soft_wrap=True)
    console.print(table)
    for line in (*found.notes, *found.advice):
        console.print(f"- {line}", soft_wrap=True)
    if json_file is not None:
        write_text(json_file, json.dumps(found.to_json(), indent=2) + "\n")
