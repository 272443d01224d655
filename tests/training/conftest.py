"""A tiny run, and all that two runs must have in common to be one and the same."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kennel.config.recipe import Recipe, override
from kennel.recipes import get_recipe
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir

SMALL = (
    "image.size=8",
    "image.channels=1",
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "num_ticks=4",
    "budget.images=128",
    "validation.every_ticks=0",
    "validation.extractor=pixels",
    "validation.metric=fid",
    "validation.num_samples=20",
)


@pytest.fixture
def small_recipe() -> Callable[..., Recipe]:
    """`small_recipe("batch_size=16")`: the digits recipe, 8 pixels wide, 4 ticks, no validation."""
    return lambda *settings: override(get_recipe("digits"), [*SMALL, *settings])


@pytest.fixture
def outcome() -> Callable[[Path], dict[str, object]]:
    """All that must be equal between two runs: every tensor, the log but for times, every grid."""

    def of(run: Path) -> dict[str, object]:
        folder = RunDir(run)
        newest = checkpoint.newest(folder.checkpoints)
        assert newest is not None
        log = [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()]
        grids = {path.name: path.read_bytes() for path in sorted(folder.samples.glob("*.png"))}
        kept = [path.name for path in checkpoint.in_folder(folder.checkpoints)]
        words = {name: newest.metadata[name] for name in newest.metadata if name not in ("seconds", "kennel")}
        return {"words": words, "log": log, "grids": grids, "kept": kept}

    return of


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch) -> None:
    """Features of reference sets are computed anew, and none reach the user's cache."""
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KENNEL_WEIGHTS", raising=False)
