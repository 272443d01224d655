"""`kennel extractor list`, `kennel extractor fetch`, `kennel extractor train`."""

from pathlib import Path
from typing import Any

import typer

from kennel.cli.checks import refuse_unwritable
from kennel.cli.commands import Command, new_app

app = new_app(
    name="extractor",
    help="The networks that judge: list them, fetch their weights, train a classifier of your own set.",
)


@app.command("list", cls=Command)
def list_extractors() -> None:
    """List the extractors, what each needs, and whether that is at hand.

    Example: kennel extractor list
    """
    from rich.table import Table
    from rich.text import Text

    from kennel.cli.console import console
    from kennel.features.catalog import extractor_list
    from kennel.features.classifier import read_facts

    table = Table(show_lines=True)
    table.add_column("extractor", no_wrap=True, style="bold")
    table.add_column("what it gives, its weights, where they are or come from", overflow="fold")
    for entry in extractor_list():
        table.add_row(entry.name, Text("\n".join(_lines(entry, read_facts))))
    console.print(table)
    console.print("kennel extractor fetch NAME, with --weights FILE where the file is at hand")


@app.command(cls=Command)
def fetch(
    name: str = typer.Argument(..., help="The extractor: see `kennel extractor list`."),
    weights: Path | None = typer.Option(
        None, help="The published file, its safetensors conversion, or a folder, got by hand."
    ),
) -> None:
    """Bring an extractor's published weights into the cache, checked.

    Example: kennel extractor fetch inception
    """
    from kennel.cli.console import console
    from kennel.features.base import EXTRACTORS
    from kennel.features.catalog import fetch as fetch_weights

    if name == "pixels" and name in EXTRACTORS and weights is None:
        console.print("The pixels extractor has no weights: there is nothing to fetch, it is always ready.")
        return
    fetched = fetch_weights(name, weights)
    state = "Already there" if fetched.already else "Fetched"
    console.print(f"{state}: {fetched.path}", soft_wrap=True)
    console.print(f"sha256 {fetched.sha256}", soft_wrap=True)
    if fetched.published_sha256 != fetched.sha256:
        console.print(f"as published: sha256 {fetched.published_sha256}", soft_wrap=True)


@app.command(cls=Command)
def train(
    data: Path = typer.Argument(..., help="A packed set with classes, of 8 to 64 pixels."),
    out: Path | None = typer.Option(None, help="The safetensors file to write (default: in the cache)."),
    epochs: int | None = typer.Option(
        None, min=1, help="Times through the set (default: 160,000 images in all, 3 to 60 times)."
    ),
    seed: int = typer.Option(0, min=0, help="Draws the weights, the order and the tenth held out."),
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:1, mps."),
) -> None:
    """Train the classifier extractor on a labeled packed set.

    Example: kennel extractor train sets/mnist
    """
    from kennel.cli.console import console, progress_bar
    from kennel.data.dataset import ImageDataset
    from kennel.engine.builder import pick_device
    from kennel.features.classifier import classifier_path
    from kennel.features.train_classifier import train_classifier

    dataset = ImageDataset(data)
    place = pick_device(device)
    if out is None:
        refuse_unwritable(classifier_path(dataset.fingerprint), "KENNEL_CACHE or --out")
    else:
        refuse_unwritable(out, "--out")
    with progress_bar("training (images)") as report:
        trained = train_classifier(dataset, out, epochs=epochs, seed=seed, device=place, on_progress=report)
    facts = trained.facts
    console.print(
        f"Accuracy {facts.accuracy:.2%} on {facts.held_out:,} images held out of {facts.count:,} in "
        f"{len(facts.classes)} classes, after {facts.epochs} epochs",
        soft_wrap=True,
    )
    console.print(f"Classifier: {trained.path}", soft_wrap=True)


def _lines(entry: Any, read_facts: Any) -> list[str]:
    """What an extractor gives, and its weights: size, license, address, where they are."""
    lines = [f"{entry.dimension:,} features, {entry.logits or 'no logits'}"]
    if not entry.needs_weights:
        return [*lines, "no weights needed"]
    if entry.address:
        lines += [f"{entry.size / 1e6:,.1f} MB, {entry.license}", entry.address]
        return [*lines, f"at hand: {entry.paths[0]}" if entry.paths else "not at hand"]
    if not entry.paths:
        return [*lines, "none trained yet: kennel extractor train DATA"]
    for path in entry.paths:
        facts = read_facts(path)
        lines.append(
            f"at hand: {path} ({len(facts.classes)} classes, accuracy {facts.accuracy:.2%} held out)"
        )
    return lines
