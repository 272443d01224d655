"""Measures how often samples of a conditional run have the requested class, by a classifier.

A small convolutional classifier is trained on the real training images and tested on the real test images;
then it classifies equally many samples of every class.

    python benchmarks/classes.py RUN --train SET --test SET [--per-class 200] [--epochs 3] [--json FILE]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from kennel.data.dataset import ImageDataset
from kennel.images import to_float
from kennel.sampling.load import load_run
from kennel.storage.atomic_io import write_text


def classifier(channels: int, size: int, classes: int) -> nn.Module:
    """Returns a network of two convolutions and two linear layers."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(max(1, size // 4)),
        nn.Flatten(),
        nn.Linear(64 * max(1, size // 4) ** 2, 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def trained_classifier(packed: ImageDataset, epochs: int, batch: int = 128) -> nn.Module:
    """Trains the classifier for `epochs` epochs."""
    torch.manual_seed(0)
    channels, size, _ = packed.shape
    network = classifier(channels, size, len(packed.classes))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    images, labels = torch.from_numpy(np.array(packed.images)), torch.from_numpy(np.array(packed.labels))
    for _ in range(epochs):
        for indices in torch.randperm(len(images)).split(batch):
            optimizer.zero_grad()
            cross_entropy(network(to_float(images[indices])), labels[indices]).backward()
            optimizer.step()
    return network.eval()


@torch.no_grad()
def predicted(network: nn.Module, pixels: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Returns the predicted class of each image, uint8 (N, C, H, W)."""
    pieces = torch.from_numpy(np.array(pixels)).split(500)
    return torch.cat([network(to_float(piece)).argmax(1) for piece in pieces]).numpy()


def main() -> None:
    """Prints the classifier's accuracy on real images and, by class, on the run's samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--per-class", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    train, test = ImageDataset(given.train), ImageDataset(given.test)
    network = trained_classifier(train, given.epochs)
    real = float((predicted(network, test.images) == np.array(test.labels)).mean())
    samples = load_run(given.run).samples_per_class(given.per_class, seed=4_000_000)
    labels = np.repeat(np.arange(len(train.classes)), given.per_class)
    accuracy = (predicted(network, samples.pixels()) == labels).reshape(-1, given.per_class).mean(1)
    print(f"real test images: {real:.1%} correct")
    for name, share in zip(train.classes, accuracy, strict=True):
        print(f"{name:>12}: {share:.1%}")
    print(f"samples of {given.run}: {accuracy.mean():.1%} correct")
    if given.json:
        outcome = {
            "real": real,
            "samples": float(accuracy.mean()),
            "each": dict(zip(train.classes, map(float, accuracy), strict=True)),
        }
        write_text(given.json, json.dumps(outcome, indent=1))


if __name__ == "__main__":
    main()
