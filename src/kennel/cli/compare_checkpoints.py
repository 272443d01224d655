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
    from kennel.comparison.checkpoints import Wanted, compared, load_all, refuse_other_kinds, write_picture
    from kennel.data.image_files import open_images
    from kennel.evaluation.judge import DEFAULT_COUNT, Evaluator
    from kennel.evaluation.metrics.context import MetricSettings
    from kennel.evaluation.score import ENOUGH
    from kennel.features.factory import better_extractor_note, open_extractor
    from kennel.runs.run_dir import RunDir

    for file, option in ((out, "--out"), (json_file, "--json")):
        if file is not None:
            refuse_unwritable(file, option)
    if out is not None:
        refuse_other_kinds(out)
    run, checkpoints = _run_and_checkpoints(words)
    both = load_all(run, checkpoints, device)
    real = open_images(reference or Path(RunDir(run).about()["data"]["path"]))
    judging = open_extractor(
        extractor, weights, device=device, of_set=real.fingerprint, teacher=both[0][0].teacher
    )
    if extractor == "auto" and (note := better_extractor_note(judging.name)):
        console.print(note, style="yellow" if judging.caution else "", soft_wrap=True)
    court = Evaluator(real, judging, batch=batch)
    with progress_bar("reference") as report:
        court.prepare(report)
    number = count or min(DEFAULT_COUNT, max(len(real), ENOUGH))
    wanted = Wanted(court, metrics, number, shown, MetricSettings(seed=seed, device=device), truncation)
    found = []
    for loaded, networks in both:
        with progress_bar(f"{loaded.images_seen:,} images") as report:
            found.append(compared(loaded, networks, wanted, report))
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


def _run_and_checkpoints(words: Sequence[str]) -> tuple[Path, list[str]]:
    """The first word is the run, unless it names a checkpoint and no folder."""
    if re.fullmatch(r"newest|best|epoch:.+|[\d,_]+", words[0]) and not Path(words[0]).is_dir():
        return or_newest(None), list(words)
    if len(words) == 1:
        raise RunError(
            f"{words[0]} is a run alone: name at least two of its checkpoints, such as best newest"
        )
    return Path(words[0]), list(words[1:])


def _tell(found: list[Any], wanted: Any) -> None:
    """The table: a row a figure, a column a checkpoint; what was measured stands under it."""
    from rich.table import Table

    from kennel.cli.console import console
    from kennel.comparison.checkpoints import grown, spread
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
    if wanted.court.reference.shape[0] == found[0].grid.shape[1]:  # of gray and color they differ in scale
        real = spread(wanted.court.reference, wanted.measured, wanted.settings.seed)
        shares = [f"{one.distance / real:.0%}" if real else "" for one in found]
        table.add_row("as a share of real images'", *shares, "100%")
    for player in ("generator", "discriminator"):
        largest = [max(one.singular_values[player].values()) for one in found]
        table.add_row(f"largest singular value, {player}", *map(_number, largest), "")
    console.print(table)
    for player in ("generator", "discriminator"):
        layers = grown(found[0], found[-1], player)
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
