"""A small run, as training leaves one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kennel.evaluation.score import Score, ScoreProtocol, write_judgements
from kennel.images import save_png, tile
from kennel.recipes import get_recipe
from kennel.runs.run_dir import RunDir

ABOUT = {
    "data": {
        "path": "/sets/digits",
        "fingerprint": "b1291caeee242b27",
        "count": 1797,
        "shape": [1, 8, 8],
        "classes": ["0", "1", "<b>two</b>"],
    },
    "versions": {"kennel": "0.1.0", "torch": "2.13.0"},
}


def _log_line(images: int, **more: float | None) -> dict[str, float | None]:
    return {
        "images": images,
        "seconds": images / 5000,
        "images_per_second": 5000.0,
        "discriminator_loss": 1.3,
        "real_probability": 0.55,
        "fake_probability": 0.45,
        "generator_loss": 0.8,
        **more,
    }


def _judgement(metric: str, value: float, extractor: str = "pixels", **protocol: object) -> Score:
    parts = {
        "extractor": extractor,
        "weights_sha256": "ab" * 32,
        "dimension": 768,
        "resize": "area mean",
        "logits": None,
        "precision": "float32",
        "images": "a run at 24,000 images",
        "sample_count": 2048,
        "available_count": 2048,
        "image_size": (1, 8, 8),
        "reference": "digits",
        "reference_count": 1797,
        "reference_fingerprint": "b1291caeee242b27",
        "reference_size": (1, 8, 8),
        "seed": 0,
        "options": {"epsilon": 0.1} if metric == "mifid" else {},
        "notes": (),
        "versions": {"kennel": "0.1.0"},
    }
    details = {"fid": value, "distance": 0.2, "epsilon": 0.1, "penalty": 1.0} if metric == "mifid" else {}
    return Score(
        metric=metric, value=value, details=details, protocol=ScoreProtocol.model_validate(parts | protocol)
    )


@pytest.fixture
def log_line() -> Callable[..., dict[str, float | None]]:
    """`log_line(images, fid=...)`: a tick's line, as the trainer writes it."""
    return _log_line


@pytest.fixture
def judgement() -> Callable[..., Score]:
    """`judgement(metric, value, extractor, seed=...)`: a judgement with a whole protocol."""
    return _judgement


def _begin(path: Path) -> RunDir:
    folder = RunDir(path)
    folder.begin(get_recipe("digits"), ABOUT)
    return folder


def _train(path: Path) -> RunDir:
    folder = _begin(path)
    random = np.random.default_rng(0)
    for tick, fid in enumerate((90.0, 31.25, 44.0), start=1):
        folder.append_log(_log_line(tick * 8000, fid=fid))
    for images in (0, 8000, 16000, 24000):
        cells = random.integers(0, 256, (16, 1, 8, 8)).astype(np.uint8)
        save_png(folder.samples / f"{images:012d}.png", tile(cells))
    write_judgements(folder.judgements / "one.json", [_judgement("fid", 21.5), _judgement("mifid", 21.5)])
    return folder


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that has just begun: no log, no grid, no judgement."""
    return _begin(tmp_path / "run")


@pytest.fixture(scope="session")
def make_trained() -> Callable[[Path], RunDir]:
    """`make_trained(path)`: a run after three ticks, validated and judged."""
    return _train


@pytest.fixture
def trained(tmp_path: Path) -> RunDir:
    """A run of the test's own after three ticks, validated and judged."""
    return _train(tmp_path / "run")
