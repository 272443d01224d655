"""`kennel compare`: checkpoints of one run side by side."""

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
        help="A run's folder (default: the newest in runs/), and at least two of its checkpoints: epoch:N, a "
        "number of images, best, newest.",
    ),
    reference: Path | None = typer.Option(
        None,
        "--reference",
        help="The reference: a packed set, a folder or an archive (default: the run's training set).",
    ),
    metrics: str | None = typer.Option(
        None, help="Comma-separated names or groups (default: the usual ones)."
    ),
    extractor: str = typer.Option("auto", help="A name of `kennel extractor list`, or auto."),
    weights: Path | None = typer.Option(None, help="A file or folder with the extractor's weights."),
    count: int | None = typer.Option(
        None, min=2, help="Samples of each checkpoint to judge (default: as `kennel judge`)."
    ),
    seed: int = typer.Option(0, min=0, help="The first seed; all checkpoints use the same seeds."),
    shown: int = typer.Option(64, min=1, help="Number of samples in the picture."),
    truncation: float | None = typer.Option(None, help="As in `kennel sample`."),
    out: Path | None = typer.Option(None, help="The picture, a .png (default: in the run's samples folder)."),
    json_file: Path | None = typer.Option(None, "--json", help="Write all figures as JSON."),
    batch: int = typer.Option(64, min=1, help="Images per batch; does not change scores."),
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
    from kennel.evaluation.judge import Evaluator
    from kennel.evaluation.metrics.base import metric_names
    from kennel.evaluation.metrics.context import MetricSettings
    from kennel.features.factory import better_extractor_note, open_extractor
    from kennel.runs.run_dir import RunDir
    from kennel.sampling.loaded import default_sample_count
    from kennel.storage.atomic_io import write_text
    from kennel.training.oom import explain_oom

    refuse_unwritable(out, "--out")
    refuse_unwritable(json_file, "--json")
    if out is not None:
        check_png_name(out)
    run, checkpoints = _run_and_checkpoints(words)
    names = metric_names(name for name in (metrics or "").split(",") if name.strip()) or None
    place = pick_device(device)
    with explain_oom(f"{batch:,} images at a time", place, "give a smaller --batch or a smaller --count"):
        loaded_all = load_checkpoints(run, checkpoints, place)
        real = open_images(reference or Path(RunDir(run).about()["data"]["path"]))
        network = open_extractor(
            extractor, weights, device=place, fingerprint=real.fingerprint, teacher=loaded_all[0][0].teacher
        )
        if extractor == "auto" and (note := better_extractor_note(network.name)):
            console.message(note, "yellow" if network.caution else "")
        evaluator = Evaluator(real, network, batch=batch)
        with progress_bar("reference") as report:
            evaluator.prepare(report)
        number = count or default_sample_count(len(real))
        wanted = ComparisonSettings(
            evaluator, names, number, shown, MetricSettings(seed=seed, device=place), truncation
        )
        results = []
        for loaded, networks in loaded_all:
            with progress_bar(f"{loaded.images_seen:,} images") as report:
                results.append(evaluate_checkpoint(loaded, networks, wanted, report))
    _print_results(results, wanted)
    newest = loaded_all[-1][0]
    counts = "-".join(str(one.images_seen) for one in results)
    picture = out or newest.folder.samples / f"compare-{counts}.png"
    write_picture(picture, results, newest, seed)
    console.message(f"Picture, oldest checkpoint left, one seed per position: {picture}")
    if json_file is not None:
        write_text(json_file, json.dumps([one.to_json() for one in results], indent=2) + "\n")
        console.message(f"JSON: {json_file}")


def _run_and_checkpoints(words: list[str]) -> tuple[Path, list[str]]:
    """Splits the arguments; the first one is the run unless it names a checkpoint and is not a folder."""
    if re.fullmatch(r"newest|best|epoch:.+|[\d,_]+", words[0]) and not Path(words[0]).is_dir():
        return or_newest(None), words
    if len(words) == 1:
        raise RunError(
            f"{words[0]} is a run without checkpoints: name at least two of them, such as best newest"
        )
    return Path(words[0]), words[1:]


def _print_results(results: list[Any], wanted: Any) -> None:
    """Prints a table with a column per checkpoint, the protocol, and warnings."""
    from rich.table import Table

    from kennel.cli.console import console, print_warnings
    from kennel.cli.score_output import direction, number
    from kennel.comparison.checkpoints import fastest_growing, mean_nearest_distance
    from kennel.evaluation.metrics.base import METRICS

    table = Table(title="Checkpoints of one run", title_justify="left")
    table.add_column("")
    for one in results:
        table.add_column(one.title().replace(" (", "\n("), justify="right", no_wrap=True)
    table.add_column("better")
    for row, judgement in enumerate(results[0].judgements):
        metric = METRICS[judgement.metric]
        values = [number(one.judgements[row].value) for one in results]
        table.add_row(metric.label, *values, direction(metric))
    table.add_row("distance to nearest other sample", *(number(one.distance) for one in results), "")
    if wanted.evaluator.reference.shape[0] == results[0].grid.shape[1]:  # gray and color differ in scale
        real = mean_nearest_distance(wanted.evaluator.reference, wanted.measured, wanted.settings.seed)
        shares = [f"{one.distance / real:.0%}" if real else "" for one in results]
        table.add_row("as a share of real images'", *shares, "100%")
    for network in ("generator", "discriminator"):
        largest = [max(one.singular_values[network].values()) for one in results]
        table.add_row(f"largest singular value, {network}", *map(number, largest), "")
    console.print(table)
    for network in ("generator", "discriminator"):
        layers = fastest_growing(results[0], results[-1], network)
        words = ", ".join(f"{layer} {number(old)} to {number(new)}" for layer, old, new in layers)
        console.message(f"Grew most in the {network}: {words}.")
    judgements = [judgement for one in results for judgement in one.judgements]
    console.message(judgements[-1].protocol.words() if judgements else "")
    console.message("Singular values are those of the trained weights, before spectral normalization.")
    print_warnings(judgements)
