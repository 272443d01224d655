"""Measures how each metric responds to blur, noise, dropped classes, collapse and copies.

    python benchmarks/perturbations.py SET --extractor mobilenet --out perturbations.json

A labeled packed set is split at random into halves. One half is the reference; `--count` images of the other
are judged unchanged and after each change: "classes" keeps only images of some classes, "collapsed" repeats a
few images, "copied" replaces a share of the images by images of the reference. All judged sets have the same
count, so that the values of a column are comparable. Prints a Markdown table and writes JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from rich.console import Console

from kennel.data.dataset import ImageDataset
from kennel.data.images import ArrayImages
from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.context import MetricSettings
from kennel.features.factory import open_extractor
from kennel.storage.atomic_io import write_text

Pixels = npt.NDArray[np.uint8]
COLUMNS = (
    *("fid", "mifid", "kid", "precision", "recall", "density", "coverage", "prd_f1_8", "prd_f8"),
    *("inception_score", "diversity", "vendi", "sliced_wasserstein", "memorisation"),
)


def blurred(images: Pixels, sigma: float) -> Pixels:
    """Applies a Gaussian blur of `sigma` pixels."""

    def one(image: Pixels) -> Pixels:
        picture = Image.fromarray(image.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(sigma))
        return np.asarray(picture).transpose(2, 0, 1)

    return np.stack([one(image) for image in images])


def noised(images: Pixels, sigma: float, random: np.random.Generator) -> Pixels:
    """Adds Gaussian noise of `sigma` levels of 255."""
    return np.clip(images + random.normal(0, sigma, images.shape), 0, 255).round().astype(np.uint8)


def of_some_classes(images: Pixels, labels: npt.NDArray[np.int64], count: int, classes: int) -> Pixels:
    """Returns at most `count` images of the `classes` most frequent classes."""
    frequent = np.argsort(-np.bincount(labels), kind="stable")[:classes]
    return images[np.isin(labels, frequent)][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("--extractor", default="mobilenet")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("perturbations.json"))
    parser.add_argument("--only", default="", help="Versions whose name contains this; others stay in --out.")
    given = parser.parse_args()

    packed = ImageDataset(given.set)
    random = np.random.default_rng(given.seed)
    order = random.permutation(len(packed))
    half = len(packed) // 2
    first, second = np.sort(order[:half]), order[half:]
    training, others = np.array(packed.images[first]), np.array(packed.images[second])
    if packed.labels is None:
        parser.error(f"{given.set} has no classes, which are needed to drop some")
    labels = np.asarray(packed.labels)[second]
    count = given.count
    real = others[:count]
    classes = len(np.unique(labels))
    # The smallest number of classes that have `count` images.
    sizes = np.sort(np.bincount(labels))[::-1].cumsum()
    few = int(np.searchsorted(sizes, count)) + 1

    copies = training[random.permutation(half)[:count]]

    def copied(share: float) -> Pixels:
        return np.concatenate([copies[: round(share * count)], real[round(share * count) :]])

    versions: dict[str, Callable[[], Pixels]] = {
        "the whole other half": lambda: others,
        "as they are": lambda: real,
        "blurred, sigma 0.5": lambda: blurred(real, 0.5),
        "blurred, sigma 1": lambda: blurred(real, 1),
        "blurred, sigma 2": lambda: blurred(real, 2),
        "noised, sigma 8": lambda: noised(real, 8, random),
        "noised, sigma 16": lambda: noised(real, 16, random),
        "noised, sigma 32": lambda: noised(real, 32, random),
        f"{few} of {classes} classes": lambda: of_some_classes(others, labels, count, few),
        f"collapsed to {count // 20}": lambda: np.repeat(real[: count // 20], 20, axis=0),
        "25% copied": lambda: copied(0.25),
        "75% copied": lambda: copied(0.75),
        "all copied": lambda: copied(1.0),
    }
    console = Console()
    extractor = open_extractor(given.extractor)
    evaluator = Evaluator(ArrayImages(training, f"half of {packed.name}"), extractor)
    began = time.monotonic()
    evaluator.prepare()
    console.print(f"reference: {len(training):,} images, {time.monotonic() - began:.0f} s")
    found: dict[str, dict[str, object]] = {}
    if given.only and given.out.is_file():
        found = json.loads(given.out.read_text(encoding="utf-8"))["versions"]
    for name, make in versions.items():
        if given.only not in name:
            continue
        began = time.monotonic()
        images = ArrayImages(make(), name)
        judgements = evaluator.judge(images, COLUMNS, settings=MetricSettings(seed=given.seed))
        found[name] = {one.metric: one.model_dump(mode="json", exclude={"protocol"}) for one in judgements}
        found[name]["count"] = len(images)
        values = ", ".join(f"{one.metric} {one.value:.4g}" for one in judgements)
        console.print(f"{name}: {len(images):,} images, {time.monotonic() - began:.0f} s: {values}")
        protocol = judgements[0].protocol.words()
        write_text(given.out, json.dumps({"protocol": protocol, "versions": found}, indent=1))
    print(table({name: found[name] for name in versions if name in found}))


def table(found: dict[str, dict[str, object]]) -> str:
    """Formats a Markdown table with a row for each version."""
    lines = ["| judged | " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for name, scores in found.items():
        values = [scores[metric]["value"] for metric in COLUMNS]  # type: ignore[index]
        shown = [f"{value:,.1f}" if 1 <= abs(value) < 1e6 else f"{value:.3g}" for value in values]
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
