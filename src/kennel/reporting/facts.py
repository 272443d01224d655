"""Facts about a run: a few for its page's first screen, and the others for a fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.config.recipe import Recipe
from kennel.reporting.format import duration, shape_in_words
from kennel.runs.run_dir import RunDir

MAX_NAMES = 12


@dataclass(frozen=True)
class Facts:
    """(name, value) pairs."""

    first: Sequence[tuple[str, str]]
    details: Sequence[tuple[str, str]]


def facts_of(
    folder: RunDir, recipe: Recipe, about: Mapping[str, Any], log: Sequence[Mapping[str, Any]]
) -> Facts:
    """What the run trains, on what, and for how long."""
    data, teacher, parent = about["data"], about.get("teacher"), about.get("parent")
    classes = data.get("classes") or []
    contents = f"{Path(data['path']).name}: {data['count']:,} images, {shape_in_words(data.get('shape'))}"
    used = ", given to both networks" if recipe.num_classes else ", not used" if classes else ""
    first = [
        ("Data set", contents),
        ("Classes", f"{len(classes):,}{used}" if classes else ""),
        ("Networks", f"{recipe.generator.name} against {recipe.discriminator.name}, loss {recipe.loss.name}"),
        ("Pretrained network", f"{teacher}, used by the discriminator" if teacher else ""),
        ("Initial weights", _parent(parent)),
    ]
    if log and (seconds := log[-1].get("seconds")):
        speed = f"{log[-1]['images'] / seconds:,.1f} images/s on average"
        first.append(("Training time", f"{duration(seconds)}, {speed}"))
    first.append(("Paper", recipe.paper or ""))
    versions = about.get("versions") or {}
    details = [
        ("Batch", f"{recipe.batch_size:,}"),
        ("Seed", str(recipe.seed)),
        ("Set's fingerprint", str(data["fingerprint"])),
        ("Run's fingerprint", folder.fingerprint()),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return Facts(*([pair for pair in pairs if pair[1]] for pairs in (first, details)))


def _parent(origin: dict[str, Any] | None) -> str:
    """Describes the run whose weights this run started with, and which tensors were taken; "" for none."""
    if origin is None:
        return ""
    name, seen = Path(str(origin.get("path") or "?")).name, origin.get("images_seen")
    words = f"the weights of {name}" + ("" if seen is None else f" at {seen:,} images")
    if taken := origin.get("taken"):
        words += f": {taken[0]:,} of {taken[1]:,} tensors"
    if new := origin.get("new"):
        words += f"; newly initialized: {_names(new)}"
    return words


def _names(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
