"""`kennel plan`: estimate time, memory and disk of a run without starting it."""

import json
import shlex
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from kennel.cli import options
from kennel.cli.checks import refuse_unwritable
from kennel.cli.train import BY_SIGNAL, clock


def plan(
    first: options.PlannedRecipe = None,
    second: options.PlannedData = None,
    recipe: options.RecipeOption = None,
    data: options.DataOption = None,
    out: Path | None = typer.Option(None, help="A run's folder: plan only what is left of the run."),
    settings: options.Settings = [],  # noqa: B006 - typer passes a new list
    images: options.Images = None,
    epochs: options.Epochs = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    compute: options.Compute = "auto",
    weights: options.Weights = None,
    device_cache: options.DeviceCache = "auto",
    seconds: float = typer.Option(20.0, min=0, max=3600, help="Maximum duration of the measurement."),
    json_file: Path | None = typer.Option(None, "--json", help="Write all figures as JSON."),
) -> None:
    """Estimate what a run takes: parameters, operations, memory, disk and time.

    Example: kennel plan dcgan sets/mine --images 500k
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from kennel.cli.console import error_console
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
    from kennel.training.request import budget_settings

    refuse_unwritable(json_file, "--json")
    name, source = recipe_and_data("kennel plan", (first, second), recipe, data)
    if name == AUTO:
        raise RecipeError(f"a plan needs a recipe's name: `kennel plan dcgan {shlex.quote(str(source))}`")
    budget = budget_settings(images, epochs)
    chosen = override(load_recipe(name), [*preset(compute), *options.seed_settings(seed), *settings, *budget])
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    live = error_console.is_terminal
    try:
        with Progress(*columns, console=error_console, transient=True, disable=not live) as progress:
            task = progress.add_task("planning", total=None)

            def report(stage: str) -> None:
                progress.update(task, description=f"planning: {stage}")
                if not live:
                    error_console.message(f"planning: {stage}")

            found = forecast(
                chosen,
                source,
                out=out,
                device=pick_device(device),
                weights=weights,
                resident_bytes=parse_memory(device_cache),
                seconds=seconds,
                log=report,
            )
    except KeyboardInterrupt:
        raise typer.Exit(BY_SIGNAL + signal.SIGINT) from None
    _print_forecast(found)
    if json_file is not None:
        write_text(json_file, json.dumps(found.to_json(), indent=2) + "\n")


def _print_forecast(found: Any) -> None:
    from rich.table import Table

    from kennel.cli.console import console

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for row in rows(found, datetime.now()):
        table.add_row(*row)
    channels, height, width = found.shape
    color = "gray" if channels == 1 else "color"
    console.message(
        f"{found.recipe} on {found.data} ({found.set_size:,} images, {width}x{height}, {color}), "
        f"{found.device}, {found.precision}, batch {found.batch}"
    )
    console.print(table)
    for line in found.notes:
        console.message(f"- {line}")


def rows(found: Any, now: datetime) -> Iterator[tuple[str, str]]:
    """Yields a `Forecast` as (name, value); a row without a name continues the one above."""
    yield "parameters", ", ".join(f"{name} {count:,}" for name, count in found.parameters.items())
    if found.operations is not None:
        lazy = f", with every lazy term ({', '.join(found.lazy)})" if found.lazy else ""
        per_image = found.operations / found.iteration_images
        yield (
            "operations",
            f"{_count(found.operations)}FLOP per iteration, {_count(per_image)}FLOP per image{lazy}",
        )
    yield from _memory(found)
    disk, each, free = map(size_words, (found.disk, found.checkpoint_bytes, found.disk_free))
    short = ", which is not enough" if found.disk > found.disk_free else ""
    yield "disk", f"{disk} for {found.checkpoints} checkpoints of {each}; {free} free{short}"
    yield from _time(found, now)


def _memory(found: Any) -> Iterator[tuple[str, str]]:
    least = "" if found.peak is not None else "more than "
    free = "free memory unknown"
    if found.memory_free is not None:
        free = f"{size_words(found.memory_free)} free"
    yield "memory", f"{least}{size_words(found.memory)}; {free}"
    parts = {
        "weights, gradients, optimizers, averages": found.state,
        "activations of an iteration": (found.peak or found.state) - found.state,
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
            f"not measured: one iteration takes longer than the limit of {found.bound:g} s; "
            f"give --seconds {max(120, 4 * found.bound):g}, for example",
        )
        return
    rate, seconds = found.images_per_second, found.training_seconds
    if rate is None or seconds is None:
        return
    how = f"mean of {found.timed:,} iterations" if found.timed > 1 else "one iteration"
    if not found.timed:
        how = "the first iteration only, which is slower than the others; there was no time for a second one"
    yield "speed", f"{_rate(rate)} images/s ({how})"
    left = f" left of {found.images_seen + found.images_left:,}" if found.images_seen else ""
    epochs = epoch_words(found.images_left / found.set_size)
    images = f"{found.images_left:,} images{left} ({epochs})"
    yield "training", f"{clock(seconds)} for {images}; started now it {_end(seconds, now)}"
    more = f"grids and checkpoints of {found.ticks:,} ticks"
    if found.validations:
        more = f"{found.validations:,} validations, {more}"
    yield "", f"not included: {more}"


def epoch_words(epochs: float) -> str:
    """Formats passes over a set: 0.05, 4.2 or 1,953 epochs."""
    if epochs >= 100:
        return f"{epochs:,.0f} epochs"
    return f"{epochs:.1f} epochs" if epochs >= 1 or epochs == 0 else f"{epochs:.2g} epochs"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _count(operations: int | float) -> str:
    """Formats a number with an SI prefix: 5.4 G, 163 M, 2.1 T."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if operations >= size:
            value = operations / size
            return f"{value:,.0f} {prefix}" if value >= 100 else f"{value:.1f} {prefix}"
    return f"{operations:,.0f} "


def size_words(count: int) -> str:
    """Formats bytes as 12 kB, 3.4 MB or 5.6 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.{0 if count >= 100 * size else 1}f} {unit}"
    return f"{count / 1e3:.0f} kB"


def _end(seconds: float, now: datetime) -> str:
    """Formats the end: the time if it is today, the day and time this year, else the date."""
    try:
        end = now + timedelta(seconds=seconds)
    except OverflowError:
        return "would end after the year 9999"
    if end.date() == now.date():
        return f"ends {end:%H:%M}"
    return f"ends {end:%a %d %b %H:%M}" if end.year == now.year else f"ends {end:%a %d %b %Y}"
