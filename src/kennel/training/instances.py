"""The instances of a training set: what a pretrained network sees in its images, and which are alike."""

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
"""Seconds of computing features after which a message says how long the rest takes."""


@dataclass(frozen=True)
class InstanceTable:
    """`vectors` float32 (instances, width) of length sqrt(width), and the instances that each image may be
    shown with, `neighbors` int32 (images, count), the nearest first."""

    vectors: Tensor
    neighbors: Tensor

    @property
    def counts(self) -> Tensor:
        """Of how many images each instance is a neighbor, int64 (instances,)."""
        return torch.bincount(self.neighbors.flatten().long(), minlength=len(self.vectors))


def instance_table(
    recipe: Recipe, dataset: ImageDataset, device: torch.device, say: Callable[[str], None]
) -> InstanceTable | None:
    """The table of a resolved recipe, the same on all ranks; None where it has no instances.

    Features come from the cache of judging, or from a pass over the set that fills it.
    """
    if not recipe.instances.neighbors:
        return None
    named: dict[str, Tensor] = {}
    if rank() == 0:
        with single_process():
            table = _table(recipe, dataset, device, say)
        named = {"vectors": table.vectors, "neighbors": table.neighbors}
    if world_size() > 1:
        named = broadcast_tensors(named)
    return InstanceTable(named["vectors"], named["neighbors"])


def _table(
    recipe: Recipe, dataset: ImageDataset, device: torch.device, say: Callable[[str], None]
) -> InstanceTable:
    wanted = recipe.instances
    # What is near needs no more digits than training.
    precision: Precision = "bfloat16" if recipe.compute.precision == "bfloat16" else "float32"
    extractor = open_extractor(wanted.extractor, device=device, precision=precision)
    if not is_cached(dataset, extractor):
        say(f"Instances: {extractor.name} looks at {len(dataset):,} images, once for this set.")
    features = reference_features(dataset, extractor, on_note=say, on_progress=remaining_time(say)).features
    rows = choose_rows(len(dataset), wanted.num_instances or len(dataset), recipe.seed)
    coordinates, share = principal_coordinates(features, rows, wanted.dim)
    # An image that is the mean of all has no direction; it is taken as it is, and is like any other.
    lengths = np.linalg.norm(coordinates, axis=1, keepdims=True)
    if not lengths.any():
        raise DataError(f"all images of {dataset.name} look the same to {extractor.name}: give other images")
    units = np.divide(coordinates, lengths, out=np.full_like(coordinates, 1e-3), where=lengths > 0)
    instances = units if rows is None else units[rows]
    found = nearest(units, instances, wanted.neighbors, device=device)
    # So many images span one direction fewer; the rest of a vector is 0.
    there = min(wanted.dim, features.shape[1], len(instances) - 1)
    say(
        f"Instances: {len(instances):,} images by {extractor.name}, {there} principal components "
        f"({share:.0%} of the variance)."
    )
    width = np.float32(wanted.dim) ** 0.5
    return InstanceTable(
        torch.from_numpy((instances * width).astype(np.float32)),
        torch.from_numpy(found.indices.astype(np.int32)),
    )


def remaining_time(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """A progress callback that says once how long the rest takes, `REPORT_AFTER` seconds after its first
    call; nothing where the rest is short."""
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
            say(f"Instances: {done:,} of {count:,} images seen, about {duration(left)} more.")

    return on_progress


def principal_coordinates(
    features: FloatArray, rows: np.ndarray | None, dimension: int
) -> tuple[np.ndarray, float]:
    """All features in the principal components of the chosen rows, float32 (images, dimension), and the share
    of the variance that these keep; components that the features lack are 0."""
    known = moments(features if rows is None else features[rows])
    values, vectors = np.linalg.eigh(known.covariance)
    kept = min(dimension, len(values))
    # A component's sign is arbitrary: the entry of the largest size is to be positive on every machine.
    axes = vectors[:, ::-1][:, :kept]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(kept)])
    coordinates = np.zeros((len(features), dimension), np.float32)
    coordinates[:, :kept] = (features - known.mean.astype(np.float32)) @ axes.astype(np.float32)
    return coordinates, float(values[::-1][:kept].sum() / max(values.sum(), 1e-30))


def fill_instances(step: GANStep, table: InstanceTable) -> None:
    """Gives the vectors to both players and to the average that is sampled from."""
    networks = step.networks
    for network in {networks.generator, networks.discriminator, sampling_generator(step)}:
        for part in parts_with_instances(network):
            part.fill(table.vectors, table.counts)


def with_instances(stream: BatchLoader, table: InstanceTable | None, seed: int) -> Batches:
    """The stream as it is, or with an instance for each image."""
    return stream if table is None else InstanceBatches(stream, table.neighbors, seed)


def stand_ins(recipe: Recipe, stream: BatchLoader) -> Batches:
    """Batches with any instances: as fast as the real ones, without a look at the images."""
    count = recipe.instances.num_instances
    if not recipe.instances.neighbors or not count:
        return stream
    return InstanceBatches(stream, torch.arange(len(stream.dataset))[:, None] % count, recipe.seed)
