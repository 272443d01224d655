"""Draws a run's samples next to their nearest training images, to show whether it copies them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kennel.data.dataset import ImageDataset
from kennel.data.images import ImageSource, PixelArray, Subset, read_rows
from kennel.evaluation.metrics.mifid import nearest_training
from kennel.features.base import Extractor
from kennel.features.cache import is_cached, reference_features
from kennel.features.extract import choose_rows, extract_rows
from kennel.features.factory import choose_extractor, open_extractor
from kennel.features.moments import FloatArray
from kennel.images import save_png, tile
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.sampler import SampledSet

COUNT, COLUMNS = 32, 4
"""Pairs in the picture, and pairs per row."""
MAX_TRAINING_IMAGES = 10_000
"""Training images that are compared, if the features of all are not cached."""


@dataclass(frozen=True)
class Nearest:
    """The number of samples, the extractor, and a clause on how many training images were compared."""

    count: int
    extractor: str
    among: str


def draw_nearest(folder: RunDir, data: Path, device: torch.device) -> Nearest:
    """Draws `folder.nearest`: samples of the newest checkpoint, each to the left of its nearest training
    image by cosine distance, the closest pair first.

    The extractor is the best available one that is not the run's teacher, whose features make every sample
    look near. Seeds are those of the run's grids, from 0.
    """
    run, dataset = load_run(folder.path, device=device), ImageDataset(data)
    extractor = open_extractor(
        choose_extractor(teacher=run.teacher, fast_only=True), device=device, download=False
    )
    samples = run.samples(COUNT)
    pixels = samples.pixels()
    generated = SampledSet(samples, str(folder.path), run.fingerprint)
    rows, features = _reference(dataset, extractor)
    found = nearest_training(extract_rows(generated, extractor).features, features, device=device)
    order = np.argsort(found.distances, kind="stable")
    real = read_rows(dataset, found.training[order] if rows is None else rows[found.training[order]])
    picture = tile(pairs(pixels[found.fakes[order]], real), COLUMNS, padding=6)
    text = grid_text(run.fingerprint, run.images_seen, samples.seeds, run.teacher)
    save_png(folder.nearest, picture, text | {"kennel:beside": "training images, each right of its sample"})
    among = "" if rows is None else f", among {len(rows):,} of {len(dataset):,} training pictures"
    return Nearest(len(order), extractor.name, among)


def pairs(left: PixelArray, right: PixelArray) -> PixelArray:
    """Images (N, C, H, W) and (N, C, H, W) side by side, as (N, C, H, 2 W)."""
    return np.concatenate([left, right], 3)


def _reference(dataset: ImageDataset, extractor: Extractor) -> tuple[np.ndarray | None, FloatArray]:
    """(rows, features) of the training images; rows is None for all of them."""
    if len(dataset) <= MAX_TRAINING_IMAGES or is_cached(dataset, extractor):
        return None, reference_features(dataset, extractor).features
    rows = choose_rows(len(dataset), MAX_TRAINING_IMAGES, 0)
    assert rows is not None
    chosen: ImageSource = Subset(dataset, rows)
    return rows, extract_rows(chosen, extractor).features
