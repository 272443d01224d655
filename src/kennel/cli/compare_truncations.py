"""`kennel compare RUN --truncation 2,1,0.5`: one generator at several truncation thresholds."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kennel.cli.checks import refuse_unwritable
from kennel.cli.newest import or_newest
from kennel.errors import RunError


def compare_truncations(
    words: Sequence[str],
    thresholds: Sequence[float | None],
    out: Path | None,
    json_file: Path | None,
    *,
    checkpoint: str,
    judge: Any,
    seed: int,
    shown: int,
    device: Any,
) -> None:
    """Judges the generator at every threshold, prints the table, and writes samples, curves and JSON.

    `judge` are the `JudgeOptions`. Without `out` the pictures go to the run's samples folder.
    """
    from kennel.cli.compare_runs import progress_bars
    from kennel.cli.console import console
    from kennel.cli.judge import training_set
    from kennel.comparison.truncations import draw_curves, evaluate_thresholds, write_samples
    from kennel.data.image_files import open_images
    from kennel.evaluation.judge import Evaluator
    from kennel.evaluation.metrics.context import MetricSettings
    from kennel.features.factory import better_extractor_note, open_extractor
    from kennel.runs.run_dir import RunDir
    from kennel.sampling.loaded_generator import default_sample_count
    from kennel.sampling.resolve import load_generator
    from kennel.storage.atomic_io import write_text

    for file, option in ((out, "--out"), (json_file, "--json")):
        refuse_unwritable(file, option)
    if len(words) > 1:
        raise RunError(
            "several truncation thresholds are for one generator: name one run, or give one number"
        )
    target = or_newest(Path(words[0]) if words else None)
    run = RunDir(target)
    which = run.best_or_newest(checkpoint) if run.exists() else "newest"
    loaded = load_generator(target, which, device)
    real = open_images(judge.reference or training_set(target))
    network = open_extractor(
        judge.extractor, judge.weights, device=device, fingerprint=real.fingerprint, teacher=loaded.teacher
    )
    if judge.extractor == "auto" and (note := better_extractor_note(network.name)):
        console.message(note, "yellow" if network.caution else "")
    evaluator = Evaluator(real, network, batch=judge.batch)
    with ExitStack() as bars:
        begin = progress_bars(bars)
        evaluator.prepare(begin("reference"))
        found = evaluate_thresholds(
            loaded,
            thresholds,
            evaluator,
            metrics=judge.metrics,
            count=judge.count or default_sample_count(len(real)),
            shown=shown,
            settings=MetricSettings(seed=seed, device=device),
            on_progress=begin,
        )
    _print_table(found, loaded)
    default = run.samples / f"truncations-{loaded.images_seen}.png" if run.exists() else None
    picture = out or default or Path(f"{target.name.removesuffix('.safetensors')}-truncations.png")
    write_samples(picture, found, loaded, seed)
    curves = picture.with_name(f"{picture.stem}-curves.png")
    draw_curves(curves, found)
    console.message(f"Samples, one seed per position: {picture}")
    console.message(f"Curves: {curves}")
    if json_file is not None:
        write_text(json_file, json.dumps([one.to_json() for one in found], indent=2) + "\n")
        console.message(f"JSON: {json_file}")


def _print_table(found: Sequence[Any], loaded: Any) -> None:
    from rich.table import Table

    from kennel.cli.console import console, print_warnings
    from kennel.cli.score_output import direction, number
    from kennel.evaluation.metrics.base import METRICS

    table = Table(title=f"{loaded.name} at {loaded.images_seen:,} images", title_justify="left")
    table.add_column("truncation")
    for one in found:
        table.add_column("none" if one.threshold is None else f"{one.threshold:g}", justify="right")
    table.add_column("better")
    for place, score in enumerate(found[0].scores):
        metric = METRICS[score.metric]
        values = [number(one.scores[place].value) for one in found]
        table.add_row(metric.label, *values, direction(metric))
    table.add_row("distance to nearest other sample", *(number(one.distance) for one in found), "")
    table.add_row("saturated pixel values", *(f"{one.saturated:.2%}" for one in found), "")
    console.print(table)
    scores = [score for one in found for score in one.scores]
    console.message(scores[-1].protocol.words() if scores else "")
    print_warnings(scores)
