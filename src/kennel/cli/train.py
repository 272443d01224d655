"""`kennel train`: a recipe on a packed set, in a run folder; the same command again resumes."""

import signal
import time
from pathlib import Path

import typer

from kennel.cli import words
from kennel.cli.console import be_silent
from kennel.watch import VALIDATIONS_SINCE_BEST, Entry, Watch

BY_SIGNAL = 128
"""What a signal ended has this exit code plus the signal's number: 130 for Ctrl-C, 143 for SIGTERM."""


def train(
    recipe: words.RecipeName,
    data: words.Data,
    out: Path = typer.Option(..., help="The run's folder; where it holds this run already, it goes on."),
    settings: words.Settings = [],  # noqa: B006 - typer makes a new list of it
    images: words.Images = None,
    epochs: words.Epochs = None,
    device: words.Device = "auto",
    speed: words.Speed = "auto",
    weights: words.Weights = None,
    resident: words.Resident = "auto",
    fork: Path | None = typer.Option(
        None,
        metavar="NEW",
        help="Begin a new run in NEW from the weights of the one in --out; those that do not fit are new.",
    ),
) -> None:
    """Train a recipe on a packed set. The same command again goes on where the run stopped.

    Under `torchrun --nproc-per-node N -m kennel train ...` N processes share every batch.
    """
    from kennel.cli.console import console, error_sentence, report_error
    from kennel.data.room import parse_room
    from kennel.distributed import rank, ranks_together
    from kennel.errors import AlarmError
    from kennel.recipe import override
    from kennel.recipes import find
    from kennel.report import progress_grids, write_report
    from kennel.run_folder import RunFolder
    from kennel.speed import preset
    from kennel.wiring import pick_device, train, training_device

    with ranks_together(report_error, error_sentence):
        if rank():
            be_silent()
        chosen = override(find(recipe), [*preset(speed), *settings, *budget_of(images, epochs)])
        run, parent = (out, None) if fork is None else (fork, out)
        folder = RunFolder(run)
        try:
            with Watching() as watching:
                finished = train(
                    chosen,
                    data,
                    run,
                    device=training_device(pick_device(device)),
                    weights=weights,
                    watch=watching,
                    resident_bytes=parse_room(resident),
                    parent=parent,
                )
        except AlarmError:
            if rank() == 0:
                write_report(folder)  # what led to it is on its curves
            raise
        if rank() == 0:
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
    if not finished:
        raise typer.Exit(BY_SIGNAL + (watching.stopped_by or signal.SIGINT))


def budget_of(images: str | None, epochs: float | None) -> list[str]:
    """The settings that `--images` and `--epochs` stand for."""
    from kennel.errors import RecipeError
    from kennel.recipe import parse_count

    if images is not None and epochs is not None:
        raise RecipeError("--images and --epochs are two ways to say how long: give one of them")
    if images is not None:
        return [f"budget.images={parse_count(images)}"]
    return [] if epochs is None else [f"budget.epochs={epochs}"]


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Watching(Watch):
    """A `Watch` with a live bar with images/s and the time left, and a line for every tick."""

    def __init__(self) -> None:
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
        self.stopped_by: int | None = None

    def __enter__(self) -> "Watching":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        self._progress.console.print(sentence, soft_wrap=True)

    def stopping(self, by: int) -> None:
        self.stopped_by = by
        if by == getattr(signal, "SIGHUP", None):  # the terminal is gone, and writing to it would fail
            be_silent()
        again = "Ctrl-C again" if by == signal.SIGINT else "a second signal"
        self.say(f"Stopping with a checkpoint ({again}: at once, without).")

    def at_round(self, images_seen: int, total: int) -> None:
        now = time.monotonic()
        if self._started is None:
            self._started = (now, images_seen)
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

    def at_tick(self, entry: Entry) -> None:
        def number(name: str, form: str) -> str:
            value = entry.get(name)
            return format(value, form) if isinstance(value, int | float) else "-"

        line = (
            f"{number('images', '>11,')} images  {number('images_per_second', '7.1f')}/s  "
            f"loss D {number('discriminator_loss', '6.3f')} G {number('generator_loss', '6.3f')}  "
            f"D(x) {number('real_probability', '.2f')}  D(G(z)) {number('fake_probability', '.2f')}"
        )
        self.say(line + scores(entry))


def scores(entry: Entry) -> str:
    """What a validation measured, the deciding metric first, and how long ago its best was."""
    from kennel.metrics.contract import METRICS
    from kennel.report.wording import figure, label

    words = "".join(f"  {label(name)} {figure(value)}" for name, value in entry.items() if name in METRICS)
    since = entry.get(VALIDATIONS_SINCE_BEST)
    return f"{words}  ({since} since the best)" if since else words
