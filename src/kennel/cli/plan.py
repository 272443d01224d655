"""`kennel plan`: what a run will take, before anyone commits a night to it. No run is begun."""

import shlex
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from kennel.cli import options
from kennel.cli.checks import refuse_unwritable
from kennel.cli.train import BY_SIGNAL, budget_of


def plan(
    first: options.PlannedRecipe = None,
    second: options.PlannedData = None,
    recipe: options.RecipeOption = None,
    data: options.DataOption = None,
    out: Path | None = typer.Option(None, help="A run's folder: the plan is of what is left of it."),
    settings: options.Settings = [],  # noqa: B006 - typer makes a new list of it
    images: options.Images = None,
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    compute: options.Compute = "auto",
    weights: options.Weights = None,
    device_cache: options.DeviceCache = "auto",
    seconds: float = typer.Option(20.0, min=0, max=3600, help="How long measuring may take at most."),
    json_file: Path | None = typer.Option(None, "--json", help="Write all figures to this file."),
) -> None:
    """Estimate what a run takes: parameters, operations, memory, disk and time.

    Example: kennel plan dcgan sets/mine --images 500k
    """
    import json

    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from kennel.cli.console import console, error_console
    from kennel.cli.recipe_and_data import recipe_and_data
    from kennel.config.compute import preset
    from kennel.config.recipe import override
    from kennel.data.memory_budget import parse_memory
    from kennel.engine.builder import pick_device
    from kennel.errors import RecipeError
    from kennel.planning import forecast
    from kennel.recipes import load_recipe
    from kennel.storage.atomic_io import write_text
    from kennel.training.auto_recipe import AUTO

    if json_file is not None:
        refuse_unwritable(json_file, "--json")
    name, source = recipe_and_data("kennel plan", (first, second), recipe, data)
    if name == AUTO:
        raise RecipeError(f"a plan needs a recipe's name: `kennel plan dcgan {shlex.quote(str(source))}`")
    chosen = override(
        load_recipe(name),
        [*preset(compute), *options.seed_settings(seed), *settings, *budget_of(images, epochs)],
    )
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    live = error_console.is_terminal
    try:
        with Progress(*columns, console=error_console, transient=True, disable=not live) as progress:
            task = progress.add_task("planning", total=None)

            def say(doing: str) -> None:
                progress.update(task, description=f"planning: {doing}")
                if not live:
                    error_console.print(f"planning: {doing}", soft_wrap=True)

            found = forecast(
                chosen,
                source,
                out=out,
                device=pick_device(device),
                weights=weights,
                resident_bytes=parse_memory(device_cache),
                seconds=seconds,
                log=say,
            )
    except KeyboardInterrupt:
        raise typer.Exit(BY_SIGNAL + signal.SIGINT) from None
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for what, how_much in rows(found, datetime.now()):
        table.add_row(what, how_much)
    console.print(_heading(found), soft_wrap=True)
    console.print(table)
    for line in found.notes:
        console.print(f"- {line}", soft_wrap=True)
    if json_file is not None:
        write_text(json_file, json.dumps(found.to_json(), indent=2) + "\n")


def _heading(found: Any) -> str:
    """What would be trained on what."""
    channels, height, width = found.shape
    kind = "gray" if channels == 1 else "color"
    return (
        f"{found.recipe} on {found.data} ({found.set_size:,} images, {width}x{height}, {kind}), "
        f"{found.device}, {found.precision}, batch {found.batch}"
    )


def rows(found: Any, now: datetime) -> Iterator[tuple[str, str]]:
    """A `Forecast` as (what, how much); a row without a name goes on with the one before."""
    yield "parameters", ", ".join(f"{name} {count:,}" for name, count in found.parameters.items())
    if found.operations is not None:
        due = f", with every lazy term due ({', '.join(found.lazy)})" if found.lazy else ""
        image = found.operations / found.iteration_images
        yield "operations", f"{_count(found.operations)}FLOP an iteration, {_count(image)}FLOP an image{due}"
    yield from _memory(found)
    wanted = f"{size_words(found.disk)} for {found.checkpoints} checkpoints of "
    short = ", less than that" if found.disk > found.disk_free else ""
    yield (
        "disk",
        f"{wanted}{size_words(found.checkpoint_bytes)}; {size_words(found.disk_free)} free{short}",
    )
    yield from _time(found, now)


def _memory(found: Any) -> Iterator[tuple[str, str]]:
    least = "" if found.peak is not None else "more than "
    free = "how much is free is not known"
    if found.memory_free is not None:
        free = f"{size_words(found.memory_free)} free"
    yield "memory", f"{least}{size_words(found.memory)}; {free}"
    parts = {
        "weights, gradients, optimizers, averages": found.state,
        "an iteration's activations": (found.peak or found.state) - found.state,
        "the set": found.resident,
    }
    yield "", ", ".join(f"{name} {size_words(count)}" for name, count in parts.items() if count)


def _time(found: Any, now: datetime) -> Iterator[tuple[str, str]]:
    if found.stopped == "memory":
        yield (
            "time",
            "not measured: an iteration needs more memory than is free; give a smaller --set batch_size=...",
        )
        return
    if found.stopped:
        yield (
            "time",
            f"not measured: one iteration takes longer than the {found.bound:g} s that measuring may take; "
            f"give --seconds {max(120, 4 * found.bound):g}, say",
        )
        return
    rate, seconds = found.images_per_second, found.training_seconds
    if rate is None or seconds is None:
        return
    how = f"mean of {found.timed:,} iterations" if found.timed > 1 else "of one iteration"
    if not found.timed:
        how = "of the first iteration alone, which is slower than the others: there was no time for a second"
    yield "speed", f"{_rate(rate)} images/s ({how})"
    left = f" left of {found.images_seen + found.images_left:,}" if found.images_seen else ""
    epochs = epoch_words(found.images_left / found.set_size)
    images = f"{found.images_left:,} images{left} ({epochs})"
    yield "training", f"{clock(seconds)} for {images}; begun now it {_end(seconds, now)}"
    more = f"grids and checkpoints of {found.ticks:,} ticks"
    if found.validations:
        more = f"{found.validations:,} validations, {more}"
    yield "", f"{more} come on top"


def epoch_words(epochs: float) -> str:
    """Passes over a set: 0.05, 4.2 or 1,953 epochs."""
    if epochs >= 100:
        return f"{epochs:,.0f} epochs"
    return f"{epochs:.1f} epochs" if epochs >= 1 or epochs == 0 else f"{epochs:.2g} epochs"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _count(operations: int | float) -> str:
    """With the prefix of its size: 5.4 G, 163 M, 2.1 T."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if operations >= size:
            value = operations / size
            return f"{value:,.0f} {prefix}" if value >= 100 else f"{value:.1f} {prefix}"
    return f"{operations:,.0f} "


def clock(seconds: float) -> str:
    """Seconds as 3 d 4:05:06, 4:05:06 or 5:06."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours >= 48:
        return f"{hours // 24:,} d {hours % 24}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size_words(count: int) -> str:
    """Bytes as 12 kB, 3.4 MB or 5.6 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.{0 if count >= 100 * size else 1}f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _end(seconds: float, now: datetime) -> str:
    """The hour today, the day this year, the year later on."""
    try:
        ends = now + timedelta(seconds=seconds)
    except OverflowError:
        return "would end after the year 9999"
    if ends.date() == now.date():
        return f"ends {ends:%H:%M}"
    return f"ends {ends:%a %d %b %H:%M}" if ends.year == now.year else f"ends {ends:%a %d %b %Y}"
