"""Shared data where it is at hand, and a cache of the tests' own."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """The folder with MobileNetV2's weights; the test is skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    folder = Path(os.environ.get("KENNEL_SHARED", beside)) / "weights"
    if not (folder / "mobilenet_v2_imagenet.safetensors").is_file():
        pytest.skip(f"needs the shared weights in {folder} (or KENNEL_SHARED)")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KENNEL_WEIGHTS", raising=False)
