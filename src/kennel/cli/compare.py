"""`kennel compare`: checkpoints of one run side by side, as before and after a collapse."""

import json
import re
from pathlib import Path
from typing import Any

import typer

from kennel.cli.checks import refuse_unwritable
from kennel.cli.newest import or_newest
from kennel.errors import RunError


def compare(
    words: list[str] = typer.Argument(
        ...,
        metavar="[RUN] CHECKPOINT...",
        help="A run's folder (the newest in runs/), and at least two of its checkpoints: epoch:N, a count of "
        "images, best, newest.",
    ),
    reference: Path | None = typer.Option(
        None, "--reference", help="The reference: a packed set, a folder or an archive (the run's own set)."
    ),
    metrics: str | None = typer.Option(None, help="Comma-separated names or groups (default: the usual)."),
    extractor: str = typer.Option("auto", help="A name of `kennel extractor list`, or auto."),
    weights: Path | None = typer.Option(None, help="A file or folder with the extractor's weights."),
    count: int | None = typer.Option(
        None, min=2, help="Samples of each checkpoint to judge (as many as `kennel judge` takes)."
    ),
    seed: int = typer.Option(0, min=0, help="The first seed; the same seeds for every checkpoint."),
    shown: int = typer.Option(64, min=1, help="So many of the samples in the picture."),
    truncation: float | None = typer.Option(None, help="As in `kennel sample`."),
    out: Path | None = typer.Option(None, help="The picture, a .png (in the run's samples folder)."),
    json_file: Path | None = typer.Option(None, "--json", help="Write all figures as JSON."),
    batch: int = typer.Option(64, min=1, help="Images at a time; it changes no score."),
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:1, mps."),
) -> None:
    """Compare checkpoints of one run: the same seeds side by side, scores, diversity, singular values.

    Example: kennel compare best newest
    """
    from kennel.cli.console import console, progress_bar
    from kennel.comparison.checkpoints import (
        ComparisonSettings,
        check_png_name,
        evaluate_checkpoint,
        load_checkpoints,
        write_picture,
    )
    from kennel.data.image_files import open_images
    from kennel.engine.builder import pick_device
    from kennel.evaluation.judge import DEFAULT_COUNT, Evaluator
    from kennel.evaluation.metrics.base import metric_names
    from kennel.evaluation.metrics.context import MetricSettings
    from kennel.evaluation.score import RECOMMENDED_COUNT
    from kennel.features.factory import better_extractor_note, open_extractor
    from kennel.runs.run_dir import RunDir
    from kennel.training.oom import explain_oom

    for file, option in ((out, "--out"), (json_file, "--json")):
        if file is not None:
            refuse_unwritable(file, option)
    if out is not None:
        check_png_name(out)
    run, checkpoints = _run_and_checkpoints(words)
    names = metric_names(name for name in (metrics or "").split(",") if name.strip()) or None
    place = pick_device(device)
    with explain_oom(f"{batch:,} images at a time", place, "give a smaller --batch or a smaller --count"):
        both = load_checkpoints(run, checkpoints, place)
        real = open_images(reference or Path(RunDir(run).about()["data"]["path"]))
        judging = open_extractor(
            extractor, weights, device=place, fingerprint=real.fingerprint, teacher=both[0][0].teacher
        )
        if extractor == "auto" and (note := better_extractor_note(judging.name)):
            console.print(note, style="yellow" if judging.caution else "", soft_wrap=True)
        court = Evaluator(real, judging, batch=batch)
        with progress_bar("reference") as report:
            court.prepare(report)
        number = count or min(DEFAULT_COUNT, max(len(real), RECOMMENDED_COUNT))
        wanted = ComparisonSettings(
            court, names, number, shown, MetricSettings(seed=seed, device=place), truncation
        )
        found = []
        for loaded, networks in both:
            with progress_bar(f"{loaded.images_seen:,} images") as report:
                found.append(evaluate_checkpoint(loaded, networks, wanted, report))
    _tell(found, wanted)
    newest = both[-1][0]
    middle = "-".join(str(one.images_seen) for one in found)
    picture = out or newest.folder.samples / f"compare-{middle}.png"
    write_picture(picture, found, newest, seed)
    console.print(f"Picture, oldest left, the same seeds at the same places: {picture}", soft_wrap=True)
    if json_file is not None:
        from kennel.storage.atomic_io import write_text

        write_text(json_file, json.dumps([one.to_json() for one in found], indent=2) + "\n")
        console.print(f"JSON: {json_file}", soft_wrap=True)


def _run_and_checkpoints(words: list[str]) -> tuple[Path, list[str]]:
    """The first word is the run, unless it names a checkpoint and no folder."""
    if re.fullmatch(r"newest|best|epoch:.+|[\d,_]+", words[0]) and not Path(words[0]).is_dir():
        return or_newest(None), words
    if len(words) == 1:
        raise RunError(
            f"{words[0]} is a run alone: name at least two of its checkpoints, such as best newest"
        )
    return Path(words[0]), words[1:]


def _tell(found: list[Any], wanted: Any) -> None:
    """The table: a row a figure, a column a checkpoint; what was measured stands under it."""
    from rich.table import Table

    from kennel.cli.console import console
    from kennel.comparison.checkpoints import fastest_growing, mean_nearest_distance
    from kennel.evaluation.metrics.base import METRICS
    from kennel.evaluation.score import warnings_about

    table = Table(title="Checkpoints of one run", title_justify="left")
    table.add_column("")
    for one in found:
        table.add_column(one.title().replace(" (", "\n("), justify="right", no_wrap=True)
    table.add_column("better")
    for number, judgement in enumerate(found[0].judgements):
        metric = METRICS[judgement.metric]
        values = [_number(one.judgements[number].value) for one in found]
        table.add_row(metric.label, *values, "" if metric.direction == "neither" else metric.direction)
    table.add_row("distance to nearest other sample", *(_number(one.distance) for one in found), "")
    # Distances of gray and of color images differ in scale.
    if wanted.evaluator.reference.shape[0] == found[0].grid.shape[1]:
        real = mean_nearest_distance(wanted.evaluator.reference, wanted.measured, wanted.settings.seed)
        shares = [f"{one.distance / real:.0%}" if real else "" for one in found]
        table.add_row("as a share of real images'", *shares, "100%")
    for player in ("generator", "discriminator"):
        largest = [max(one.singular_values[player].values()) for one in found]
        table.add_row(f"largest singular value, {player}", *map(_number, largest), "")
    console.print(table)
    for player in ("generator", "discriminator"):
        layers = fastest_growing(found[0], found[-1], player)
        words = ", ".join(f"{layer} {_number(old)} to {_number(new)}" for layer, old, new in layers)
        console.print(f"Grew most in the {player}: {words}.", soft_wrap=True)
    console.print(found[-1].judgements[-1].protocol.words() if found[-1].judgements else "", soft_wrap=True)
    what = "Singular values are of the weights that training moves, before spectral normalization."
    console.print(what, soft_wrap=True)
    warnings = [text for one in found for each in one.judgements for text in warnings_about(each)]
    for warning in dict.fromkeys(warnings):
        console.print(f"Warning: {warning}", style="yellow", soft_wrap=True)


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}"
