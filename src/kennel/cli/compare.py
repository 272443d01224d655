"""`kennel compare`: several runs, checkpoints of one run, or truncations of one generator, side by side."""

from pathlib import Path

import typer


def compare(
    words: list[str] = typer.Argument(
        ...,
        metavar="RUN RUN... | [RUN] CHECKPOINT...",
        help="Folders of at least two runs; or one run (default: the newest in runs/) and two or more of its "
        "checkpoints: epoch:N, a count of images, best, newest. With several values of --truncation: one run "
        "or exported generator.",
    ),
    out: list[Path] | None = typer.Option(
        None,
        help="A file to write, as often as you like. Of runs: .html, .md, .csv, .tex, .json or .png. "
        "Otherwise a .png (default: in the run's samples folder).",
    ),
    judge: bool = typer.Option(
        False, "--judge", help="Of runs: judge all by one protocol (default: take the scores that they have)."
    ),
    checkpoint: str = typer.Option("best", help="Of runs: newest, best, epoch:N, a count of images."),
    intervals: int = typer.Option(
        16, min=0, help="Of runs, with --judge: half-samples for the intervals of differences; 0 for none."
    ),
    reference: Path | None = typer.Option(
        None, "--reference", help="The reference: a packed set, a folder or an archive (the runs' own set)."
    ),
    metrics: str | None = typer.Option(None, help="Comma-separated names or groups (default: the usual)."),
    extractor: str = typer.Option("auto", help="A name of `kennel extractor list`, or auto."),
    weights: Path | None = typer.Option(None, help="A file or folder with the extractor's weights."),
    count: int | None = typer.Option(None, min=2, help="Samples to judge (as many as `kennel judge` takes)."),
    seed: int = typer.Option(0, min=0, help="The first seed; all have the same seeds."),
    shown: int | None = typer.Option(
        None, min=1, help="Samples in the picture (16 of each run, 64 of each checkpoint)."
    ),
    truncation: str | None = typer.Option(
        None,
        metavar="FLOAT[,...]",
        help="As in `kennel sample`. Several, such as none,2,1,0.5: one generator at each threshold.",
    ),
    json_file: Path | None = typer.Option(None, "--json", help="Write all figures as JSON."),
    batch: int = typer.Option(64, min=1, help="Images at a time; it changes no score."),
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:1, mps."),
) -> None:
    """Compare runs, checkpoints of one run, or truncations: samples of the same seeds, scores, curves.

    Example: kennel compare runs/dcgan-dogs runs/projected-dogs --judge --out comparison.html
    """
    from kennel.cli.compare_checkpoints import compare_checkpoints
    from kennel.cli.compare_runs import are_runs, compare_runs_command
    from kennel.cli.compare_truncations import compare_truncations
    from kennel.comparison.scores import JudgeOptions
    from kennel.comparison.truncations import parse_thresholds
    from kennel.engine.builder import pick_device
    from kennel.evaluation.metrics.base import metric_names
    from kennel.training.oom import explain_oom

    names = metric_names(name for name in (metrics or "").split(",") if name.strip()) or None
    place, outs = pick_device(device), out or []
    thresholds = parse_thresholds(truncation) if truncation is not None else [None]
    options = JudgeOptions(reference, names, extractor, weights, count, batch, intervals)
    with explain_oom(f"{batch:,} images at a time", place, "give a smaller --batch or a smaller --count"):
        if len(thresholds) > 1:
            compare_truncations(
                words,
                thresholds,
                outs[0] if outs else None,
                json_file,
                checkpoint=checkpoint,
                judge=options,
                seed=seed,
                shown=shown or 16,
                device=place,
            )
        elif are_runs(words):
            compare_runs_command(
                words,
                [*outs, *([json_file] if json_file is not None else [])],
                checkpoint=checkpoint,
                shown=shown or 16,
                seed=seed,
                truncation=thresholds[0],
                device=place,
                judge=options if judge else None,
            )
        else:
            compare_checkpoints(
                words,
                outs[0] if outs else None,
                json_file,
                reference=reference,
                metrics=names,
                extractor=extractor,
                weights=weights,
                count=count,
                seed=seed,
                shown=shown or 64,
                truncation=thresholds[0],
                batch=batch,
                device=place,
            )
