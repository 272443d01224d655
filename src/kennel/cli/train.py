"""`kennel train`: train a recipe on images, or resume a run."""

import signal
import time
from pathlib import Path
from typing import Any

import typer

from kennel.cli import options
from kennel.engine.observer import VALIDATIONS_SINCE_BEST, Entry, TrainObserver

BY_SIGNAL = 128
"""Exit code of a command ended by a signal, to which the signal's number is added: 130 for Ctrl-C."""

CHECKED_AFTER = 0.04
"""Share of a run after which its speed is compared with the speed that `--hours` assumed."""
OFF_BY = 1.5
"""Factor by which the duration may differ from `--hours` without a message."""


def train(
    first: options.FirstWord = None,
    second: options.SecondWord = None,
    recipe: options.RecipeOption = None,
    data: options.DataOption = None,
    out: Path | None = typer.Option(
        None, help="The run's folder (runs/RECIPE-DATA); an existing run is resumed."
    ),
    settings: options.Settings = [],  # noqa: B006 - typer passes a new list
    images: options.Images = None,
    epochs: options.Epochs = None,
    hours: options.Hours = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    compute: options.Compute = "auto",
    weights: options.Weights = None,
    device_cache: options.DeviceCache = "auto",
    init_from: Path | None = typer.Option(
        None,
        metavar="RUN",
        help="Start a new run, in --out, from the weights of RUN; layers that do not match are initialized.",
    ),
) -> None:
    """Train on images. The same command again resumes.

    Example: kennel train photos/ --hours 1

    Under `torchrun --nproc-per-node N -m kennel train ...` N processes share every batch.
    """
    from kennel.cli.console import be_silent, error_sentence, report_error
    from kennel.cli.recipe_and_data import recipe_and_data
    from kennel.config.compute import preset
    from kennel.data.memory_budget import parse_memory
    from kennel.distributed import rank, ranks_together
    from kennel.distributed.devices import training_device
    from kennel.engine.builder import pick_device
    from kennel.training.request import TrainRequest, budget_settings, default_run_dir

    with ranks_together(report_error, error_sentence):
        if rank():
            be_silent()
        name, source = recipe_and_data("kennel train", (first, second), recipe, data)
        request = TrainRequest(
            name,
            source,
            out or default_run_dir(name, source),
            init_from,
            [*preset(compute), *options.seed_settings(seed), *settings],
            budget_settings(images, epochs, hours),
            hours,
            training_device(pick_device(device)),
            weights,
            parse_memory(device_cache),
        )
        stopped_by = train_request(request)
    if stopped_by is not None:
        raise typer.Exit(BY_SIGNAL + stopped_by)


def train_request(request: Any) -> int | None:
    """Trains a `TrainRequest` and prints the outcome; returns the signal that stopped it, else None."""
    from kennel.cli.console import error_console, progress_bar
    from kennel.distributed import rank
    from kennel.errors import AlarmError
    from kennel.reporting import write_report
    from kennel.runs.run_dir import RunDir
    from kennel.training.request import resolve_request
    from kennel.training.run import train

    folder = RunDir(request.run)
    try:
        recipe, dataset = resolve_request(request, error_console.message, progress_bar)
    except KeyboardInterrupt:
        return signal.SIGINT
    try:
        with TrainProgress(None if folder.exists() else request.hours, f"Run: {request.run}") as progress:
            finished = train(
                recipe,
                dataset,
                request.run,
                device=request.device,
                weights=request.weights,
                observer=progress,
                resident_bytes=request.resident_bytes,
                parent=request.parent,
            )
    except AlarmError:
        if rank() == 0:
            write_report(folder)  # its curves show the cause
        raise
    if rank() == 0:
        _print_outcome(folder, finished)
        if finished and request.is_auto:
            _draw_nearest(folder, dataset, request.device)
    return None if finished else progress.stopped_by or signal.SIGINT


def _print_outcome(folder: Any, finished: bool) -> None:
    """Writes the report; prints the paths of the report and the newest grid."""
    from kennel.cli.console import console
    from kennel.reporting import progress_grids, write_report

    report = write_report(folder)
    last = (folder.log() or [{}])[-1]
    if not finished:
        console.print("Stopped with a checkpoint. The same command again resumes from it.")
    elif "seconds" in last:
        console.print(f"Done: {last['images']:,} images in {clock(last['seconds'])}.")
    else:
        console.print(f"Done; {folder.log_file} is missing or damaged.")
    if grids := progress_grids(folder):
        console.message(f"Newest grid: {grids[-1]}")
    console.message(f"Report:      {report}")


def _draw_nearest(folder: Any, dataset: Path, device: Any) -> None:
    """Draws samples next to their nearest training images."""
    from kennel.cli.console import console, error_console
    from kennel.errors import KennelError
    from kennel.training.nearest_images import draw_nearest

    try:
        found = draw_nearest(folder, dataset, device)
    except KennelError as error:  # the run itself is complete
        error_console.message(f"The nearest training images could not be drawn: {error}")
        return
    console.message(
        f"Nearest:     {folder.nearest} ({found.count} samples, each left of its nearest training image by "
        f"{found.extractor}{found.among}: it shows copies, if there are any)"
    )


def clock(seconds: float) -> str:
    """Formats seconds as 3 d 4:05:06, 4:05:06 or 5:06."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours >= 48:
        return f"{hours // 24:,} d {hours % 24}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class TrainProgress(TrainObserver):
    """Shows a progress bar with images/s and the time left, and prints a line per tick.

    Prints `heading` before the first line, so that an early error stays one sentence. If the first ticks
    show that the run will not take the given `hours`, it prints a message once.
    """

    def __init__(self, hours: float | None = None, heading: str = "") -> None:
        """The bar appears on entering the context."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        from kennel.cli.console import error_console

        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.fields[images]} images"),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=error_console,
            transient=True,
            disable=not error_console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=None, images="0", speed="", left="")
        self._start: tuple[float, int] | None = None
        self._total = 0
        self._hours = hours
        self._heading = heading
        self.stopped_by: int | None = None

    def __enter__(self) -> "TrainProgress":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def log(self, sentence: str) -> None:
        if self._heading:
            self._progress.console.print(self._heading, soft_wrap=True)
            self._heading = ""
        self._progress.console.print(sentence, soft_wrap=True)

    def on_stop_requested(self, by: int) -> None:
        from kennel.cli.console import be_silent

        self.stopped_by = by
        if by == getattr(signal, "SIGHUP", None):  # the terminal is gone; writing to it would fail
            be_silent()
        again = "Ctrl-C again" if by == signal.SIGINT else "a second signal"
        self.log(f"Stopping with a checkpoint ({again}: stop immediately, without one).")

    def on_iteration(self, images_seen: int, total: int) -> None:
        now = time.monotonic()
        if self._start is None:
            self._start = (now, images_seen)
        self._total = total
        start, images_before = self._start
        speed = (images_seen - images_before) / (now - start) if now > start else 0.0
        self._progress.update(
            self._task,
            total=total,
            completed=images_seen,
            images=f"{images_seen:,}/{total:,}",
            speed=f"{speed:,.0f} images/s" if speed else "",
            left=f"{clock((total - images_seen) / speed)} left" if speed > 0 else "",
        )

    def on_tick(self, entry: Entry) -> None:
        def number(name: str, form: str) -> str:
            value = entry.get(name)
            return format(value, form) if isinstance(value, int | float) else "-"

        line = (
            f"{number('images', '>11,')} images  {number('images_per_second', '7.1f')}/s  "
            f"loss D {number('discriminator_loss', '6.3f')} G {number('generator_loss', '6.3f')}  "
            f"D(x) {number('real_probability', '.2f')}  D(G(z)) {number('fake_probability', '.2f')}"
        )
        self.log(line + scores(entry))
        if self._hours is None or self._start is None:
            return
        start, images_before = self._start
        seen = int(entry["images"] or 0) - images_before
        if seen >= self._total * CHECKED_AFTER:
            expected = (time.monotonic() - start) / seen * self._total
            if sentence := duration_message(self._hours, expected, self._total):
                self.log(sentence)
            self._hours = None


def duration_message(hours: float, expected: float, images: int) -> str | None:
    """Returns a message if a run of `images` images takes `expected` seconds instead of `hours`.

    None if the two are within the factor `OFF_BY`.
    """
    from kennel.reporting.format import duration

    given = hours * 3600
    if given / OFF_BY < expected < given * OFF_BY:
        return None
    fits = float(f"{images * given / expected:.2g}")  # the speed is not known to more digits
    return (
        f"At this speed the run takes {duration(expected)}, not {duration(given)}: to change that, stop it "
        f"(Ctrl-C) and give the same command with --images {fits:.0f} in place of --hours."
    )


def scores(entry: Entry) -> str:
    """Formats the metrics of a validation, the deciding one first, and the validations since the best."""
    from kennel.evaluation.metrics.base import METRICS
    from kennel.reporting.format import figure, label

    words = "".join(f"  {label(name)} {figure(value)}" for name, value in entry.items() if name in METRICS)
    since = entry.get(VALIDATIONS_SINCE_BEST)
    return f"{words}  ({since} since the best)" if since else words
