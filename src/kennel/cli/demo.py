"""`kennel demo`: every step on handwritten digits, in two minutes, without a download."""

import json
import shlex
import time
from pathlib import Path

import typer


def demo(
    out: Path = typer.Option(Path("demo"), help="Folder of the set and the run."),
    images: str | None = typer.Option(None, help="Budget in images, such as 20k (default: the recipe's)."),
) -> None:
    """Prepare, train, sample and judge a small GAN on handwritten digits (about two minutes on 2 cores).

    Example: kennel demo
    """
    from kennel.cli import app
    from kennel.cli.console import console

    start = time.monotonic()
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
        console.message(f"\n$ {shlex.join(['kennel', *arguments])}", "bold cyan")
        # Parses the arguments as the shell command does, so that what is printed is what runs.
        code = typer.main.get_command(app).main(arguments, "kennel", standalone_mode=False)
        if code:
            raise typer.Exit(code)

    fid = next(entry for entry in json.loads(scores.read_text()) if entry["metric"] == "fid")
    console.print(f"\nDone in {time.monotonic() - start:.0f} seconds.", style="bold")
    console.message(f"Sample grid: {grid}")
    console.message(f"Report:      {run / 'report.html'}")
    console.message(
        f"Judgement:   FID {fid['value']:.3f} on plain pixels, {fid['protocol']['sample_count']:,} samples "
        f"against {fid['protocol']['reference_count']:,} digits "
        f"(two halves of the real digits: {fid['details']['real_v_real']:.3f})"
    )
