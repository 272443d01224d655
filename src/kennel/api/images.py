"""Converts user data to a packed set for training or an image source for evaluation."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from kennel.api.display import Scores
from kennel.data.dataset import ImageDataset
from kennel.data.image_files import open_images
from kennel.data.images import ArrayImages, ImageSource
from kennel.data.prepare.cached import prepared
from kennel.data.prepare.from_images import Indexed, from_array, from_dataset
from kennel.data.resize import Resize, resized
from kennel.data.sources.catalog import KNOWN_SETS
from kennel.engine.builder import pick_device
from kennel.errors import JudgementError
from kennel.evaluation.checks import teacher_of
from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.base import metric_names
from kennel.evaluation.metrics.context import MetricSettings
from kennel.features.base import Precision
from kennel.features.factory import better_extractor_note, open_extractor
from kennel.sampling.loaded_generator import LoadedGenerator, default_sample_count
from kennel.sampling.resolve import exported_file, load_generator

PathLike: TypeAlias = str | Path
Data: TypeAlias = PathLike | ImageDataset | npt.NDArray[Any] | torch.Tensor | Indexed
"""Data for training: a path to images or a packed set, the name of a known set, an opened set, an array or
tensor (N, C, H, W) of uint8, or a PyTorch data set whose items are images or (image, label)."""
Images: TypeAlias = PathLike | ImageSource | npt.NDArray[Any] | torch.Tensor
"""Images for evaluation: a path to images or a packed set, an opened set, an array or tensor."""


def device_of(device: str | torch.device) -> torch.device:
    """Returns the device of this name; "auto" prefers CUDA, then MPS, then the CPU."""
    return pick_device(str(device))


def in_memory(data: object) -> bool:
    """Returns whether this is an array, a tensor or a PyTorch data set."""
    return not isinstance(data, str | Path | ImageDataset) and isinstance(data, Indexed)


def packed_from_memory(data: Any, size: int | None, destination: Path | None = None) -> ImageDataset:
    """Packs an array, a tensor or a PyTorch data set."""
    if isinstance(data, torch.Tensor):
        data = data.cpu().numpy()
    if isinstance(data, np.ndarray):
        return from_array(data, size, destination)
    return from_dataset(data, size, destination)


def path_of(data: Data, size: int | None) -> Path:
    """Returns the path of the data; data in memory and known sets are first prepared into the cache."""
    if isinstance(data, ImageDataset):
        return data.path
    if isinstance(data, str | Path):
        if str(data) in KNOWN_SETS and not Path(data).exists():
            return prepared(data, size)[0].path
        return Path(data)
    return packed_from_memory(data, size).path


def source_of(images: Images, resize: Resize | None, name: str) -> ImageSource:
    """Opens images for evaluation; arrays are called `name`."""
    if isinstance(images, str | Path):
        return open_images(images, resize)
    if isinstance(images, torch.Tensor):
        images = images.cpu().numpy()
    if isinstance(images, np.ndarray):
        return resized(ArrayImages(images, name), resize)
    return resized(images, resize)


def evaluated(
    images: Images | LoadedGenerator,
    data: Images,
    metrics: str | Iterable[str] | None,
    *,
    extractor: str = "auto",
    weights: PathLike | None = None,
    count: int | None = None,
    seed: int = 0,
    truncation: float | None = None,
    size: int | None = None,
    fit: str = "crop",
    held_out: Images | None = None,
    precision: Precision = "float32",
    batch_size: int = 64,
    settings: MetricSettings | Mapping[str, Any] | None = None,
    device: torch.device | None = None,
) -> Scores:
    """Implements `kennel.judge` for opened generators and images."""
    device = device or torch.device("cpu")
    names = metric_names(metrics.split(",") if isinstance(metrics, str) else metrics or ()) or None
    resize = None if size is None else Resize(size, fit)
    reference = source_of(data, resize, "the reference array")
    if isinstance(images, LoadedGenerator):
        count = count or default_sample_count(len(reference))
        source = resized(images.sampled_set(count, seed, truncation), resize)
    elif truncation is not None:
        raise JudgementError("truncation is for samples of a generator, and these are images: leave it out")
    else:
        source = source_of(images, resize, "the array")
    network = open_extractor(
        extractor,
        None if weights is None else Path(weights),
        device=device,
        precision=precision,
        fingerprint=reference.fingerprint,
        teacher=teacher_of(source),
    )
    if not isinstance(settings, MetricSettings):
        settings = MetricSettings(**{"seed": seed, "device": device, **(settings or {})})
    held_out_images = None if held_out is None else source_of(held_out, resize, "the held-out array")
    evaluator = Evaluator(reference, network, held_out=held_out_images, batch=batch_size)
    scores = evaluator.judge(source, names, count=count, settings=settings)
    note = better_extractor_note(network.name) if extractor == "auto" else ""
    return Scores(scores, [*([note] if note else []), *evaluator.notes])


def generator_at(path: PathLike, checkpoint: str, device: torch.device) -> LoadedGenerator | None:
    """Loads the generator of a run, an exported file or a fetched release; returns None for other paths."""
    target = Path(path)
    if (target / "recipe.yaml").is_file() or exported_file(target) is not None:
        return load_generator(target, checkpoint, device)
    return None
