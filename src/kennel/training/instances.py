"""The instances of a training set: feature vectors of its images by a pretrained network, and neighbors."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kennel.config.recipe import Recipe
from kennel.data.dataset import ImageDataset
from kennel.data.instances import InstanceBatches
from kennel.data.loader import BatchLoader
from kennel.distributed import broadcast_tensors, rank, single_process, world_size
from kennel.engine.builder import sampling_generator
from kennel.engine.state import Batches
from kennel.engine.step import GANStep
from kennel.errors import DataError
from kennel.evaluation.metrics._nearest import nearest
from kennel.features.base import Precision
from kennel.features.cache import is_cached, reference_features
from kennel.features.extract import choose_rows
from kennel.features.factory import open_extractor
from kennel.features.moments import FloatArray, moments
from kennel.networks.layers.instances import parts_with_instances
from kennel.reporting.format import duration

REPORT_AFTER = 10.0
"""Seconds after which a message estimates the remaining time of computing features."""


@dataclass(frozen=True)
class InstanceTable:
    """`vectors` float32 (instances, width) of length sqrt(width), and `neighbors` int32 (images, count): the
    instances that each image may be shown with, nearest first."""

    vectors: Tensor
    neighbors: Tensor

    @property
    def counts(self) -> Tensor:
        """The number of images that each instance is a neighbor of, int64 (instances,)."""
        return torch.bincount(self.neighbors.flatten().long(), minlength=len(self.vectors))


def instance_table(
    recipe: Recipe, dataset: ImageDataset, device: torch.device, log: Callable[[str], None]
) -> InstanceTable | None:
    """The table of a resolved recipe, the same on all ranks; None if the recipe uses no instances.

    Features come from the cache of evaluation; if they are missing, they are computed and cached.
    """
    if not recipe.instances.neighbors:
        return None
    named: dict[str, Tensor] = {}
    if rank() == 0:
        with single_process():
            table = _table(recipe, dataset, device, log)
        named = {"vectors": table.vectors, "neighbors": table.neighbors}
    if world_size() > 1:
        named = broadcast_tensors(named)
    return InstanceTable(named["vectors"], named["neighbors"])


def _table(
    recipe: Recipe, dataset: ImageDataset, device: torch.device, log: Callable[[str], None]
) -> InstanceTable:
    config = recipe.instances
    # Neighbors do not need a higher precision than training.
    precision: Precision = "bfloat16" if recipe.compute.precision == "bfloat16" else "float32"
    extractor = open_extractor(config.extractor, device=device, precision=precision)
    if not is_cached(dataset, extractor):
        log(f"Instances: {extractor.name} computes features of {len(dataset):,} images, once for this set.")
    features = reference_features(dataset, extractor, on_note=log, on_progress=remaining_time(log)).features
    rows = choose_rows(len(dataset), config.num_instances or len(dataset), recipe.seed)
    coordinates, share = principal_coordinates(features, rows, config.dim)
    # An image equal to the mean has no direction and gets a constant vector.
    lengths = np.linalg.norm(coordinates, axis=1, keepdims=True)
    if not lengths.any():
        raise DataError(f"all images of {dataset.name} are alike for {extractor.name}: give other images")
    units = np.divide(coordinates, lengths, out=np.full_like(coordinates, 1e-3), where=lengths > 0)
    instances = units if rows is None else units[rows]
    found = nearest(units, instances, config.neighbors, device=device)
    # n images have at most n - 1 components; the rest of a vector is 0.
    components = min(config.dim, features.shape[1], len(instances) - 1)
    log(
        f"Instances: {len(instances):,} images by {extractor.name}, {components} principal components "
        f"({share:.0%} of the variance)."
    )
    width = np.float32(config.dim) ** 0.5
    return InstanceTable(
        torch.from_numpy((instances * width).astype(np.float32)),
        torch.from_numpy(found.indices.astype(np.int32)),
    )


def remaining_time(log: Callable[[str], None]) -> Callable[[int, int], None]:
    """A progress callback that logs the remaining time once, `REPORT_AFTER` seconds after its first call, if
    it is long."""
    start, first, reported = 0.0, -1, False

    def on_progress(done: int, count: int) -> None:
        nonlocal start, first, reported
        now = time.perf_counter()
        if first < 0:
            start, first = now, done
        if reported or now < start + REPORT_AFTER or done == first:
            return
        reported = True
        left = (count - done) * (now - start) / (done - first)
        if left > 2 * REPORT_AFTER:
            log(f"Instances: {done:,} of {count:,} images done, about {duration(left)} left.")

    return on_progress


def principal_coordinates(
    features: FloatArray, rows: np.ndarray | None, dimension: int
) -> tuple[np.ndarray, float]:
    """All features in the principal components of the chosen rows, and their share of the variance.

    The coordinates are float32 (images, dimension); components that the features lack are 0.
    """
    known = moments(features if rows is None else features[rows])
    values, vectors = np.linalg.eigh(known.covariance)
    kept = min(dimension, len(values))
    # A component's sign is arbitrary: make its largest entry positive, so that machines agree.
    axes = vectors[:, ::-1][:, :kept]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(kept)])
    coordinates = np.zeros((len(features), dimension), np.float32)
    coordinates[:, :kept] = (features - known.mean.astype(np.float32)) @ axes.astype(np.float32)
    return coordinates, float(values[::-1][:kept].sum() / max(values.sum(), 1e-30))


def fill_instances(step: GANStep, table: InstanceTable) -> None:
    """Copies the vectors into both networks and the sampling generator."""
    networks = step.networks
    for network in {networks.generator, networks.discriminator, sampling_generator(step)}:
        for part in parts_with_instances(network):
            part.fill(table.vectors, table.counts)


def with_instances(loader: BatchLoader, table: InstanceTable | None, seed: int) -> Batches:
    """The loader's batches, with an instance per image if there is a table."""
    return loader if table is None else InstanceBatches(loader, table.neighbors, seed)


def placeholder_batches(recipe: Recipe, loader: BatchLoader) -> Batches:
    """Batches with arbitrary instances, to measure the speed without computing features."""
    count = recipe.instances.num_instances
    if not recipe.instances.neighbors or not count:
        return loader
    return InstanceBatches(loader, torch.arange(len(loader.dataset))[:, None] % count, recipe.seed)
