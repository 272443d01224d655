"""Shared data where it is at hand, and a state that makes the Inception graph lively without weights."""

import os
from pathlib import Path

import pytest
import torch


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


@pytest.fixture(scope="session")
def random_inception_state() -> dict[str, torch.Tensor]:
    """The names and shapes of the weights file with random values that keep activations in range."""
    from kennel.features.inception_graph import InceptionGraph

    generator = torch.Generator().manual_seed(0)
    state = InceptionGraph().state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif name.endswith("bn.weight"):
            tensor.uniform_(0.8, 1.6, generator=generator)
        elif name.endswith("conv.weight"):
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif tensor.is_floating_point():
            tensor.normal_(0, 0.1, generator=generator)
    return state
