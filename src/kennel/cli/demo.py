"""`kennel demo`: all steps on real handwritten digits, in two minutes, without a download."""

import json
import shlex
import time
from pathlib import Path

import typer


def demo(
    out: Path = typer.Option(Path("demo"), help="Where the set and the run go."),
    images: str | None = typer.Option(None, help="Another budget than the recipe's, such as 20k."),
) -> None:
    """Prepare, train, sample and judge a small GAN on handwritten digits (about two minutes on 2 cores).

    Example: kennel demo
    """
    from kennel.cli import app
    from kennel.cli.console import console

    began = time.monotonic()
    data, run, grid, scores = out / "digits", out / "run", out / "grid.png", out / "judgement.json"
    budget = [] if images is None else ["--images", images]
    judge = ["judge", str(run), "--reference", str(data)]
    steps = [
        ["train", "digits", "--data", str(data), "--out", str(run), "--device", "cpu", *budget],
        ["sample", str(run), "--count", "100", "--grid", str(grid), "--device", "cpu"],
        [*judge, "--extractor", "pixels", "--reference-split", "--json", str(scores)],
        ["report", str(run)],
    ]
    if not (data / "dataset.json").is_file():
        steps.insert(0, ["data", "prepare", "digits", str(data), "--size", "16"])
    for arguments in steps:
        console.print(f"\n$ {shlex.join(['kennel', *arguments])}", style="bold cyan", soft_wrap=True)
        # The very commands that are printed, through the same door as from a shell.
        code = typer.main.get_command(app).main(arguments, "kennel", standalone_mode=False)
        if code:
            raise typer.Exit(code)

    fid = next(entry for entry in json.loads(scores.read_text()) if entry["metric"] == "fid")
    console.print(f"\nDone in {time.monotonic() - began:.0f} seconds.", style="bold")
    console.print(f"Sample grid: {grid}", soft_wrap=True)
    console.print(f"Report:      {run / 'report.html'}", soft_wrap=True)
    console.print(
        f"Judgement:   FID {fid['value']:.3f} on plain pixels, {fid['protocol']['sample_count']:,} samples "
        f"against {fid['protocol']['reference_count']:,} digits "
        f"(two halves of the real digits: {fid['details']['real_v_real']:.3f})",
        soft_wrap=True,
    )
