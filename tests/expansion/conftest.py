"""A small set with scarce classes, and generators of its classes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from generators import Fixed, noise
from kennel.config.recipe import override
from kennel.data.dataset import ImageDataset
from kennel.recipes import get_recipe
from scarce import write_scarce_set


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KENNEL_WEIGHTS", raising=False)


@pytest.fixture
def scarce_set(tmp_path) -> ImageDataset:
    """3 classes of 20, 4 and 12 images, 8 pixels, gray."""
    return write_scarce_set(tmp_path / "scarce")


@pytest.fixture
def fixed() -> type[Fixed]:
    return Fixed


@pytest.fixture
def fresh(fixed) -> Fixed:
    """A generator that never copies."""
    return fixed(noise)


@pytest.fixture
def run_by_class(tmp_path) -> Callable[..., Path]:
    """Trains a tiny run by class on a set: `run_by_class(dataset, "batch_size=4")`."""
    from kennel.training.run import train

    def make(dataset: ImageDataset, *settings: str, name: str = "run") -> Path:
        small = [
            "image.size=8",
            "generator.base_channels=4",
            "discriminator.base_channels=4",
            "batch_size=8",
            "num_ticks=1",
            "budget.images=16",
            "validation.every_ticks=0",
            "compute.precision=float32",
            "num_classes=null",
            *settings,
        ]
        train(
            override(get_recipe("digits"), small), dataset.path, tmp_path / name, device=torch.device("cpu")
        )
        return tmp_path / name

    return make
