"""Training of the `classifier` extractor: one or two minutes on a CPU, deterministic by seed."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from kennel import __version__, rng
from kennel.data.dataset import ImageDataset
from kennel.data.images import PixelArray
from kennel.errors import DataError, WeightsError
from kennel.features.classifier import (
    LARGEST,
    SMALLEST,
    ClassifierFacts,
    ClassifierNetwork,
    classifier_path,
    scaled,
)
from kennel.features.moments import Float64Array, IndexArray
from kennel.features.weights import State
from kennel.storage.atomic_io import atomic_file

Progress: TypeAlias = Callable[[int, int], None]  # `report(images seen, images in all)`, over all epochs
BATCH = 128
PEAK_RATE = 3e-3
WARM_UP = 0.2  # The share of training in which the learning rate rises; then it falls to zero by a cosine
TARGET_IMAGES = 160_000  # Default number of images in a training, over all epochs
MIN_EPOCHS, MAX_EPOCHS = 3, 60


@dataclass(frozen=True)
class TrainedClassifier:
    path: Path
    facts: ClassifierFacts


def train_classifier(
    dataset: ImageDataset,
    destination: Path | None = None,
    *,
    epochs: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_progress: Progress | None = None,
) -> TrainedClassifier:
    """Trains a classifier of the classes of `dataset` and writes it to `destination` as safetensors.

    A tenth of every class is held out; the file records the accuracy on it. The default destination is in the
    cache, where `classifier_file_for` finds it. Equal seeds give equal tensors on one machine with the same
    number of threads. Raises `DataError` if the set has no classes to distinguish.
    """
    labels = checked_labels(dataset)
    device = torch.device(device)
    held_out = held_out_rows(labels, seed)
    training = np.setdiff1d(np.arange(len(labels)), held_out)
    epochs = default_epochs(len(training)) if epochs is None else epochs
    channels, size, _ = dataset.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(seed, "classifier weights"))
        network = ClassifierNetwork(channels, size, len(dataset.classes))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        _fit(network, dataset.images, labels, training, epochs, seed, device, dataset.name, on_progress)
        found = _predictions(network, dataset.images, held_out, device)
        accuracy = float((found == labels[held_out]).mean())
    facts = ClassifierFacts(
        classes=dataset.classes,
        channels=channels,
        size=size,
        accuracy=accuracy,
        held_out=len(held_out),
        count=len(dataset),
        fingerprint=dataset.fingerprint,
        epochs=epochs,
        seed=seed,
        version=__version__,
    )
    path = classifier_path(dataset.fingerprint) if destination is None else destination
    state: State = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_file(path) as temporary:
        save_file(state, temporary, facts.metadata(state))
    return TrainedClassifier(path, facts)


def class_accuracies(
    images: PixelArray,
    labels: IndexArray,
    test_images: PixelArray,
    test_labels: IndexArray,
    classes: int,
    *,
    total_images: int = TARGET_IMAGES,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_progress: Progress | None = None,
) -> Float64Array:
    """Trains the same classifier on all of `images` (N, C, H, W) and returns its accuracy on the test images
    by class, float64 (`classes`,).

    The training takes about `total_images` images over all epochs, so that sets of different sizes are
    trained equally long. Equal seeds give equal results on one machine with the same number of threads.
    Raises `DataError` for images that the classifier does not read, and for a class without test images.
    """
    device = torch.device(device)
    _check_size(images.shape[2], images.shape[3], "the training set")
    counts = np.bincount(test_labels, minlength=classes)
    if not counts.all():
        raise DataError(f"class {int(counts.argmin())} has no test images: give a test set with all classes")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.key(seed, "classifier weights"))
        network = ClassifierNetwork(images.shape[1], images.shape[2], classes)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    epochs = max(1, round(total_images / len(images)))
    rows = np.arange(len(images))
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        _fit(network, images, labels, rows, epochs, seed, device, "the training set", on_progress)
        found = _predictions(network, test_images, np.arange(len(test_images)), device)
    right = np.bincount(test_labels[found == test_labels], minlength=classes)
    return np.asarray(right / counts, np.float64)


def default_epochs(count: int) -> int:
    """Epochs over `count` images: about 160,000 images in all, between 3 and 60 epochs."""
    return max(MIN_EPOCHS, min(MAX_EPOCHS, math.ceil(TARGET_IMAGES / count)))


def held_out_rows(labels: IndexArray, seed: int) -> IndexArray:
    """A tenth of each class, at least one image of a class of two or more, drawn by `seed`; sorted."""
    generator = rng.generator(seed, "classifier held out")
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        order = torch.randperm(len(rows), generator=generator).numpy()
        wanted = max(1, round(len(rows) / 10)) if len(rows) > 1 else 0
        chosen.append(rows[order[:wanted]])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def learning_rate(done: float) -> float:
    """Adam's rate after the share `done` of training: linear to 0.003, then half a cosine to zero."""
    if done < WARM_UP:
        return PEAK_RATE * max(done, 1e-3) / WARM_UP
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def checked_labels(dataset: ImageDataset) -> IndexArray:
    """The labels of a set that a classifier can be trained on, int64 (N,). Raises `DataError`."""
    if dataset.labels is None or not dataset.classes:
        raise DataError(
            f"{dataset.name} has no classes: prepare it from a folder with a subfolder for each class"
        )
    labels = np.asarray(dataset.labels, dtype=np.int64)
    present, counts = np.unique(labels, return_counts=True)
    if len(present) < 2:
        raise DataError(
            f"{dataset.name} has images of one class only, and a classifier needs at least 2: prepare it "
            "from a folder with a subfolder for each class"
        )
    if counts.max() < 2:
        raise DataError(
            f"{dataset.name} has one image in each class, so none can be held out: give a set with more"
        )
    _check_size(*dataset.shape[1:], dataset.name)
    return labels


def _check_size(height: int, width: int, name: str) -> None:
    if height != width or not SMALLEST <= width <= LARGEST:
        raise DataError(
            f"{name} has images of {width}x{height}, and the classifier needs squares of {SMALLEST} to "
            f"{LARGEST} pixels: prepare it with --size {LARGEST}"
        )


def _batches(count: int, generator: torch.Generator) -> Iterator[IndexArray]:
    """Shuffled row numbers; the incomplete last batch is dropped, because of batch norm."""
    order = torch.randperm(count, generator=generator).numpy()
    size = min(BATCH, count)
    for start in range(0, count - size + 1, size):
        yield order[start : start + size]


def _fit(
    network: nn.Module,
    images: PixelArray,
    labels: IndexArray,
    rows: IndexArray,
    epochs: int,
    seed: int,
    device: torch.device,
    name: str,
    on_progress: Progress | None,
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=PEAK_RATE)
    network.train()
    size = min(BATCH, len(rows))
    seen, total = 0, epochs * (len(rows) // size) * size
    for epoch in range(epochs):
        loss = torch.zeros(())
        for places in _batches(len(rows), rng.generator(seed, f"classifier epoch {epoch}")):
            batch = rows[places]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(seen / total)
            _, logits = network(_images(images, batch, device))
            loss = functional.cross_entropy(logits, torch.from_numpy(labels[batch]).to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            seen += len(batch)
            if on_progress:
                on_progress(seen, total)
        if not torch.isfinite(loss):
            raise WeightsError(
                f"the classifier's loss is not finite after epoch {epoch + 1}: look for damaged images in "
                f"{name}, or give another --seed"
            )


def _predictions(
    network: nn.Module, images: PixelArray, rows: IndexArray, device: torch.device
) -> IndexArray:
    """The most likely label of each of these images, int64 (rows,)."""
    network.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            _, logits = network(_images(images, rows[start : start + BATCH], device))
            found.append(logits.argmax(1).cpu().numpy())
    return np.concatenate(found)


def _images(images: PixelArray, rows: IndexArray, device: torch.device) -> torch.Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(images[rows])).to(device)
    return scaled(pixels.float()).contiguous(memory_format=torch.channels_last)
