"""Shared data where it is at hand, and a cache of the tests' own."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch


def write_packed_set(
    folder: Path, images: npt.NDArray[np.int64], labels: npt.NDArray[np.int64] | None, classes: int
) -> Path:
    """A packed set of these pixels, with classes "class 0", "class 1", ..."""
    from kennel.data.dataset import FORMAT, set_fingerprint

    folder.mkdir()
    pixels, names = images.astype(np.uint8), tuple(f"class {index}" for index in range(classes))
    np.save(folder / "images.npy", pixels)
    if labels is not None:
        np.save(folder / "labels.npy", labels)
    fingerprint = set_fingerprint(pixels, labels, names)
    about = {"format": FORMAT, "count": len(pixels), "classes": names, "fingerprint": fingerprint}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


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
def make_packed_set() -> Callable[..., Path]:
    """`write_packed_set`, for tests that need a set of their own."""
    return write_packed_set


@pytest.fixture(scope="session")
def labelled_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed set of 120 grey 12x12 images in 3 classes: a bright third of the picture, and noise."""
    generator = np.random.default_rng(0)
    labels = np.arange(120, dtype=np.int64) % 3
    images = generator.integers(0, 100, (120, 1, 12, 12))
    for place, label in enumerate(labels):
        images[place, :, 4 * label : 4 * label + 4] += 120
    return write_packed_set(tmp_path_factory.mktemp("labelled") / "set", images, labels, 3)


@pytest.fixture(scope="session")
def transformer_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as a model repository has them, of tiny networks with random weights, by model type."""
    transformers = pytest.importorskip("transformers", reason="needs the hub extra: transformers is absent")
    base = tmp_path_factory.mktemp("repositories")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dinov2 = transformers.Dinov2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=42, patch_size=14
        )
        vision = {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "image_size": 32,
            "patch_size": 16,
        }
        text = {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "vocab_size": 50,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        clip = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)
        networks = {"dinov2": transformers.Dinov2Model(dinov2), "clip": transformers.CLIPModel(clip)}
        for network in networks.values():
            # Their own initialisation is so small that all images would look alike.
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, 0, 0.3)
    for name, network in networks.items():
        network.save_pretrained(base / name)
    return {name: base / name for name in networks}
