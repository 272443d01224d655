"""A tiny recipe and plan of a search, and an own cache."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kennel.config.recipe import Recipe, override
from kennel.recipes import get_recipe
from kennel.tuning.plan import TunePlan, make_plan

SMALL = (
    "image.size=8",
    "image.channels=1",
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "budget.images=640",
    "validation.extractor=pixels",
    "validation.num_samples=20",
    "compute.precision=float32",
)


@pytest.fixture
def small_recipe() -> Callable[..., Recipe]:
    """`small_recipe("batch_size=16")`: the digits recipe, 8 pixels wide."""
    return lambda *settings: override(get_recipe("digits"), [*SMALL, *settings])


@pytest.fixture
def make(small_recipe, packed_set, tmp_path) -> Callable[..., TunePlan]:
    """A plan on 40 tiny images; trials of 64 images with 4 validations, over the generator's rate."""
    data = packed_set()

    def plan(*settings: str, out: Path | None = None, **options: Any) -> TunePlan:
        fixed = ("num_ticks=4", *settings)
        chosen = {"only": "generator_optimizer.learning_rate", "images": 64} | options
        place = out or tmp_path / "search"
        return make_plan(small_recipe(*fixed), data, place, device=torch.device("cpu"), fixed=fixed, **chosen)

    return plan


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    """Features of reference sets are computed anew, and none reach the user's cache."""
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KENNEL_WEIGHTS", raising=False)
