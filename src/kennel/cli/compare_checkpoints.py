"""`kennel compare RUN CHECKPOINT ...`: checkpoints of one run, as before and after a collapse."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kennel.cli.checks import refuse_unwritable
from kennel.cli.newest import or_newest
from kennel.errors import RunError


def compare_checkpoints(
    words: Sequence[str],
    out: Path | None,
    json_file: Path | None,
    *,
    reference: Path | None,
    metrics: list[str] | None,
    extractor: str,
    weights: Path | None,
    count: int | None,
    seed: int,
    shown: int,
    truncation: float | None,
    batch: int,
    device: Any,
) -> None:
    """Judges and draws the checkpoints, prints the table, and writes the picture and the JSON."""
    from kennel.cli.console import console, progress_bar
    from kennel.comparison.checkpoints import (
        ComparisonSettings,
        check_png_name,
        evaluate_checkpoint,
        load_checkpoints,
        write_picture,
    )
    from kennel.data.image_files import open_images
    from kennel.evaluation.judge import Evaluator
    from kennel.evaluation.metrics.context import MetricSettings
    from kennel.features.factory import better_extractor_note, open_extractor
    from kennel.runs.run_dir import RunDir
    from kennel.sampling.loaded_generator import default_sample_count
    from kennel.storage.atomic_io import write_text

    refuse_unwritable(out, "--out")
    refuse_unwritable(json_file, "--json")
    if out is not None:
        check_png_name(out)
    run, checkpoints = _run_and_checkpoints(words)
    loaded_all = load_checkpoints(run, checkpoints, device)
    real = open_images(reference or Path(RunDir(run).about()["data"]["path"]))
    network = open_extractor(
        extractor, weights, device=device, fingerprint=real.fingerprint, teacher=loaded_all[0][0].teacher
    )
    if extractor == "auto" and (note := better_extractor_note(network.name)):
        console.message(note, "yellow" if network.caution else "")
    evaluator = Evaluator(real, network, batch=batch)
    with progress_bar("reference") as report:
        evaluator.prepare(report)
    number = count or default_sample_count(len(real))
    wanted = ComparisonSettings(
        evaluator, metrics, number, shown, MetricSettings(seed=seed, device=device), truncation
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


def _run_and_checkpoints(words: Sequence[str]) -> tuple[Path, list[str]]:
    """Splits the arguments; the first one is the run unless it names a checkpoint and is not a folder."""
    if re.fullmatch(r"newest|best|epoch:.+|[\d,_]+", words[0]) and not Path(words[0]).is_dir():
        return or_newest(None), list(words)
    if len(words) == 1:
        raise RunError(
            f"{words[0]} is a run without checkpoints: name at least two of them, such as best newest"
        )
    return Path(words[0]), list(words[1:])


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
