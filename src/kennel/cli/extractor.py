"""`kennel extractor list`, `kennel extractor fetch`, `kennel extractor train`."""

from pathlib import Path
from typing import Any

import typer

from kennel.cli.checks import refuse_unwritable
from kennel.cli.commands import Command, new_app

app = new_app(
    name="extractor",
    help="Feature extractors: list them, fetch their weights, train a classifier on your own set.",
)


@app.command("list", cls=Command)
def list_extractors() -> None:
    """List the extractors with their features and weights.

    Example: kennel extractor list
    """
    from kennel.cli.console import console, print_list
    from kennel.features.catalog import extractor_list
    from kennel.features.classifier import read_facts

    rows = [(entry.name, "\n".join(_lines(entry, read_facts))) for entry in extractor_list()]
    print_list(("extractor", "features, weights, location"), rows, lines=True)
    console.print("kennel extractor fetch NAME; with --weights FILE if you have the file")


@app.command(cls=Command)
def fetch(
    name: str = typer.Argument(..., help="The extractor: see `kennel extractor list`."),
    weights: Path | None = typer.Option(
        None, help="The published file, its safetensors conversion, or a folder, if you have it."
    ),
) -> None:
    """Download an extractor's published weights into the cache and verify them.

    Example: kennel extractor fetch inception
    """
    from kennel.cli.console import console
    from kennel.features.base import EXTRACTORS
    from kennel.features.catalog import fetch as fetch_weights

    if name == "pixels" and name in EXTRACTORS and weights is None:
        console.print("The extractor pixels has no weights; it needs no download.")
        return
    fetched = fetch_weights(name, weights)
    state = "Already there" if fetched.already else "Fetched"
    console.message(f"{state}: {fetched.path}")
    console.message(f"sha256 {fetched.sha256}")
    if fetched.published_sha256 != fetched.sha256:
        console.message(f"as published: sha256 {fetched.published_sha256}")


@app.command(cls=Command)
def train(
    data: Path = typer.Argument(..., help="A packed set with classes, of 8 to 64 pixels."),
    out: Path | None = typer.Option(None, help="The safetensors file to write (default: in the cache)."),
    epochs: int | None = typer.Option(
        None, min=1, help="Epochs (default: 160,000 images in total, 3 to 60 epochs)."
    ),
    seed: int = typer.Option(0, min=0, help="Seed of the weights, the order and the 10% held out."),
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
    console.message(
        f"Accuracy {facts.accuracy:.2%} on {facts.held_out:,} images held out of {facts.count:,} in "
        f"{len(facts.classes)} classes, after {facts.epochs} epochs"
    )
    console.message(f"Classifier: {trained.path}")


def _lines(entry: Any, read_facts: Any) -> list[str]:
    """Describes an extractor: features, and size, license, address and location of its weights."""
    lines = [f"{entry.dimension:,} features, {entry.logits or 'no logits'}"]
    if not entry.needs_weights:
        return [*lines, "no weights needed"]
    if entry.address:
        lines += [f"{entry.size / 1e6:,.1f} MB, {entry.license}", entry.address]
        return [*lines, f"available: {entry.paths[0]}" if entry.paths else "not downloaded"]
    if not entry.paths:
        return [*lines, "none trained yet: kennel extractor train DATA"]
    for path in entry.paths:
        facts = read_facts(path)
        accuracy = f"{len(facts.classes)} classes, accuracy {facts.accuracy:.2%} held out"
        lines.append(f"available: {path} ({accuracy})")
    return lines
