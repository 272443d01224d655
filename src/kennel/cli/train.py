"""`kennel train`: a recipe, named or chosen, on a set, in a run folder; the same command again resumes."""

import signal
import time
from pathlib import Path
from typing import Any

import typer

from kennel.cli import options
from kennel.engine.observer import VALIDATIONS_SINCE_BEST, Entry, TrainObserver

BY_SIGNAL = 128
"""What a signal ended has this exit code plus the signal's number: 130 for Ctrl-C, 143 for SIGTERM."""

CHECKED_AFTER = 0.04
"""The share of a run after which its speed is compared with the one that `--hours` was counted by."""
OFF_BY = 1.5
"""The factor by which the time may differ from `--hours` without a message."""


def train(
    first: options.FirstWord = None,
    second: options.SecondWord = None,
    recipe: options.RecipeOption = None,
    data: options.DataOption = None,
    out: Path | None = typer.Option(
        None, help="The run's folder (runs/RECIPE-DATA); a run that is there already is resumed."
    ),
    settings: options.Settings = [],  # noqa: B006 - typer makes a new list of it
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
        help="Begin a new run, in --out, from the weights of RUN; layers that do not fit are new.",
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
    from kennel.training.request import TrainRequest, default_run_dir

    with ranks_together(report_error, error_sentence):
        if rank():
            be_silent()
        name, source = recipe_and_data("kennel train", (first, second), recipe, data)
        asked = TrainRequest(
            name,
            source,
            out or default_run_dir(name, source),
            init_from,
            [*preset(compute), *options.seed_settings(seed), *settings],
            budget_of(images, epochs, hours),
            hours,
            training_device(pick_device(device)),
            weights,
            parse_memory(device_cache),
        )
        stopped_by = _train(asked)
    if stopped_by is not None:
        raise typer.Exit(BY_SIGNAL + stopped_by)


def _train(asked: Any) -> int | None:
    """Trains, and says what came of it; the signal that stopped the run, None for one that is finished."""
    from kennel.cli.console import error_console, progress_bar
    from kennel.distributed import rank
    from kennel.errors import AlarmError
    from kennel.reporting import write_report
    from kennel.runs.run_dir import RunDir
    from kennel.training.request import resolve_request
    from kennel.training.run import train

    folder = RunDir(asked.run)
    try:
        chosen, dataset = resolve_request(
            asked, lambda sentence: error_console.print(sentence, soft_wrap=True), progress_bar
        )
    except KeyboardInterrupt:
        return signal.SIGINT
    try:
        with Watching(None if folder.exists() else asked.hours, f"Run: {asked.run}") as watching:
            finished = train(
                chosen,
                dataset,
                asked.run,
                device=asked.device,
                weights=asked.weights,
                observer=watching,
                resident_bytes=asked.resident_bytes,
                parent=asked.parent,
            )
    except AlarmError:
        if rank() == 0:
            write_report(folder)  # what led to it is on its curves
        raise
    if rank() == 0:
        _say_what_came_of_it(folder, finished)
        if finished and asked.is_auto:
            _show_the_nearest(folder, dataset, asked)
    return None if finished else watching.stopped_by or signal.SIGINT


def _say_what_came_of_it(folder: Any, finished: bool) -> None:
    """Writes the report, and says where it and the newest grid are."""
    from kennel.cli.console import console
    from kennel.reporting import progress_grids, write_report

    report = write_report(folder)
    if finished:
        last = (folder.log() or [{}])[-1]
        if "seconds" in last:
            console.print(f"Done: {last['images']:,} images in {clock(last['seconds'])}.")
        else:
            console.print(f"Done; {folder.log_file} is gone or damaged, and tells nothing of it.")
    else:
        console.print("Stopped with a checkpoint. The same command again goes on from there.")
    if grids := progress_grids(folder):
        console.print(f"Newest grid: {grids[-1]}", soft_wrap=True)
    console.print(f"Report:      {report}", soft_wrap=True)


def _show_the_nearest(folder: Any, dataset: Path, asked: Any) -> None:
    """Draws samples beside the training pictures that are nearest, and says where that is."""
    from kennel.cli.console import console, error_console
    from kennel.errors import KennelError
    from kennel.training.nearest_images import draw_nearest

    try:
        found = draw_nearest(folder, dataset, asked.device)
    except KennelError as error:  # the run is whole without it
        error_console.print(f"The nearest pictures could not be drawn: {error}", soft_wrap=True)
        return
    console.print(
        f"Nearest:     {folder.nearest} ({found.count} samples, each left of the training picture that is "
        f"nearest by {found.extractor}{found.among}: a copy would be seen there)",
        soft_wrap=True,
    )


def budget_of(images: str | None, epochs: float | None, hours: float | None = None) -> list[str]:
    """The settings that `--images` and `--epochs` stand for; with `--hours` there are none yet."""
    from kennel.training.request import budget_settings

    return budget_settings(images, epochs, hours)


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Watching(TrainObserver):
    """An observer with a live bar with images/s and the time left, and a line for every tick.

    The first line that is printed has the `heading` before it, so that a refusal stays one sentence.
    Where the run was to take some `hours` and its first ticks show that it will not, it says so once.
    """

    def __init__(self, hours: float | None = None, heading: str = "") -> None:
        """The bar appears on entering."""
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
        self._started: tuple[float, int] | None = None
        self._total = 0
        self._hours = hours
        self._heading = heading
        self.stopped_by: int | None = None

    def __enter__(self) -> "Watching":
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
        if by == getattr(signal, "SIGHUP", None):  # the terminal is gone, and writing to it would fail
            be_silent()
        again = "Ctrl-C again" if by == signal.SIGINT else "a second signal"
        self.log(f"Stopping with a checkpoint ({again}: at once, without).")

    def on_iteration(self, images_seen: int, total: int) -> None:
        now = time.monotonic()
        if self._started is None:
            self._started = (now, images_seen)
        self._total = total
        began, images_before = self._started
        speed = (images_seen - images_before) / (now - began) if now > began else 0.0
        left = f"{clock((total - images_seen) / speed)} left" if speed > 0 else ""
        self._progress.update(
            self._task,
            total=total,
            completed=images_seen,
            images=f"{images_seen:,}/{total:,}",
            speed=f"{speed:,.0f} images/s" if speed else "",
            left=left,
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
        if self._hours is not None and self._started is not None:
            began, images_before = self._started
            seen = int(entry["images"] or 0) - images_before
            if seen >= self._total * CHECKED_AFTER:
                whole = (time.monotonic() - began) / seen * self._total
                if sentence := other_than_asked(self._hours, whole, self._total):
                    self.log(sentence)
                self._hours = None


def other_than_asked(hours: float, whole: float, images: int) -> str | None:
    """The message about a run of `images` images that takes `whole` seconds where `hours` were asked for.

    None where that is near enough.
    """
    from kennel.reporting.format import duration

    asked = hours * 3600
    if asked / OFF_BY < whole < asked * OFF_BY:
        return None
    fits = float(f"{images * asked / whole:.2g}")  # no more digits than are known
    return (
        f"At this speed the run takes {duration(whole)}, not {duration(asked)}: to change that, stop it "
        f"(Ctrl-C) and give the same command with --images {fits:.0f} in place of --hours."
    )


def scores(entry: Entry) -> str:
    """What a validation measured, the deciding metric first, and how long ago its best was."""
    from kennel.evaluation.metrics.base import METRICS
    from kennel.reporting.format import figure, label

    words = "".join(f"  {label(name)} {figure(value)}" for name, value in entry.items() if name in METRICS)
    since = entry.get(VALIDATIONS_SINCE_BEST)
    return f"{words}  ({since} since the best)" if since else words
