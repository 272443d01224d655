"""Measures how many planted copies `memorisation` finds; docs/benchmarks.md shows the result.

One random half of a packed set is the training set. The other half serves as fakes; 5% of it is replaced by
near-copies of training images, in equal parts

    shifted       by up to 4 pixels along each axis, the border repeated
    flipped       left to right
    recompressed  as JPEG of a quality from 50 to 75
    all three     flipped, shifted and recompressed

The fakes are judged by `memorisation` and `mifid`. For several rankings by features and for kennel's ranking,
the table shows the share of the N copies among the first N images, by kind. Other images that are found are
duplicates in the set, or errors: they are counted, and drawn in also_found.png.

    python benchmarks/memorisation.py SET [--extractor mobilenet] [--count N] [--share 0.05] [--out FOLDER]

`--count` uses this many images of the set instead of all. Any packed set of color or gray images works.
"""

import argparse
import io
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from kennel.data.dataset import ImageDataset
from kennel.data.image_files import NpzSet
from kennel.data.images import PixelArray
from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.context import MetricContext
from kennel.evaluation.metrics.mifid import distances_within
from kennel.evaluation.metrics.near_copies import suspects
from kennel.evaluation.score import write_judgements
from kennel.features.factory import open_extractor
from kennel.images import save_png, tile, to_pillow
from kennel.reporting.score_plots import draw_judging
from kennel.storage.atomic_io import write_text

KINDS = ("shifted", "flipped", "recompressed", "all three")
FURTHEST, WORST, BEST = 4, 50, 75


def near_copy(image: PixelArray, kind: str, random: np.random.Generator) -> PixelArray:
    """Returns a changed copy of an image (C, H, W)."""
    if kind in ("flipped", "all three"):
        image = image[:, :, ::-1]
    if kind in ("shifted", "all three"):
        right, down = 0, 0
        while not (right or down):
            right, down = random.integers(-FURTHEST, FURTHEST + 1, 2)
        height, width = image.shape[1:]
        wide = np.pad(image, ((0, 0), (FURTHEST, FURTHEST), (FURTHEST, FURTHEST)), mode="edge")
        top, left = FURTHEST - down, FURTHEST - right
        image = wide[:, top : top + height, left : left + width]
    if kind in ("recompressed", "all three"):
        file = io.BytesIO()
        to_pillow(image).save(file, "JPEG", quality=int(random.integers(WORST, BEST + 1)))
        pixels = np.asarray(Image.open(file))
        image = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(image)


def packed(images: PixelArray, file: Path) -> NpzSet:
    """Writes the images as a set on the disk."""
    np.savez(file, images=images.transpose(0, 2, 3, 1))
    return NpzSet(file)


def rankings(context: MetricContext) -> dict[str, npt.NDArray[np.int64]]:
    """Returns the images by each ranking, the most suspicious first."""
    found = context.neighborhoods
    nearest = found.distances[:, 0]
    # All rows of the reference are used, so that the distances are in the order of rows.
    own = distances_within(context.reference.features)[found.training[:, 0]]
    scores = {
        "nearest distance": nearest,
        "by the training image's own (Alaa et al. 2022)": nearest / np.maximum(own, 1e-15),
        "by the second nearest (Lowe 2004)": nearest / np.maximum(found.distances[:, 1], 1e-15),
        "by the third nearest": found.ratios,
        "by the fifth nearest": nearest / np.maximum(found.distances[:, 4], 1e-15),
    }
    orders = {name: found.fakes[np.argsort(score, kind="stable")] for name, score in scores.items()}
    orders["third nearest, then pixels (kennel)"] = np.array([one.image for one in suspects(context)])
    return orders


def main() -> None:
    """Creates the sets, judges them, and writes memorisation.md, memorisation.json and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--extractor", default="mobilenet")
    parser.add_argument("--count", type=int, default=None)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("memorisation"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    random = np.random.default_rng(given.seed)
    whole = ImageDataset(given.set)
    chosen = random.permutation(len(whole))[: given.count]
    half = len(chosen) // 2
    training = whole.at(np.sort(chosen[:half]))
    fakes = whole.at(np.sort(chosen[half : 2 * half]))
    planted = round(given.share * len(fakes))
    places = np.sort(random.choice(len(fakes), planted, replace=False))
    sources = random.choice(len(training), planted, replace=False)
    kinds = np.array([KINDS[index % len(KINDS)] for index in range(planted)])
    for place, source, kind in zip(places, sources, kinds, strict=True):
        fakes[place] = near_copy(training[source], kind, random)
    reference, images = packed(training, given.out / "training.npz"), packed(fakes, given.out / "fakes.npz")

    evaluator = Evaluator(reference, open_extractor(given.extractor))
    judgements = evaluator.judge(images, ("mifid", "memorisation"), count=len(fakes))
    write_judgements(given.out / "memorisation.json", judgements)
    context = evaluator.context
    assert context is not None
    draw_judging(context, judgements, given.out)

    lines = [f"| ranking | found among the first {planted} | {' | '.join(KINDS)} |", "|---" * 6 + "|"]
    for name, order in rankings(context).items():
        first = np.isin(places, order[:planted])
        by_kind = [f"{first[kinds == kind].mean():.1%}" for kind in KINDS]
        lines.append(f"| {name} | {first.mean():.1%} | {' | '.join(by_kind)} |")

    copies = [one for one in suspects(context) if one.copied]
    source_of = dict(zip(places.tolist(), sources.tolist(), strict=True))
    right = np.isin(places, [one.image for one in copies])
    traced = sum(source_of.get(one.image) == one.reference for one in copies)
    others = [one for one in copies if one.image not in source_of]
    by_kind = [f"{right[kinds == kind].mean():.1%}" for kind in KINDS]
    lines += [
        f"| identified as a copy by pixels | {right.mean():.1%} | {' | '.join(by_kind)} |",
        "",
        f"{planted} copies among {len(fakes)} images, {len(training)} training images, extractor "
        f"{given.extractor}; identified copies: {len(copies)}, of them planted: {int(right.sum())}, with the "
        f"correct source: {traced}, others: {len(others)}; suspected by the 1% threshold: "
        f"{judgements[1].details['suspected']}, MiFID's distance {judgements[0].details['distance']:.4f}.",
    ]
    write_text(given.out / "memorisation.md", "\n".join(lines) + "\n")
    write_text(
        given.out / "also_found.json",
        json.dumps([[one.image, one.reference, one.verdict] for one in others], indent=1),
    )
    if others:
        pairs = [image for one in others[:48] for image in (fakes[one.image], training[one.reference])]
        save_png(given.out / "also_found.png", tile(np.stack(pairs), 2 * min(6, len(others[:48])), 4, 96))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
