"""Every annotated shape and type of kennel is checked while the tests run; small sets, a random network."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

install_import_hook("kennel", "beartype.beartype")
# Tests are small and run side by side: more threads each would only get in one another's way.
torch.set_num_threads(1)


@pytest.fixture
def packed_set(tmp_path: Path) -> Callable[..., Path]:
    """Makes a packed set of random pixels: `packed_set(count=40, channels=1, size=8, classes=2)`."""

    def make(count: int = 40, channels: int = 1, size: int = 8, classes: int = 0, name: str = "set") -> Path:
        from kennel.data.packed import FORMAT, set_fingerprint

        folder = tmp_path / name
        folder.mkdir()
        images = np.random.default_rng(0).integers(0, 256, (count, channels, size, size), dtype=np.uint8)
        np.save(folder / "images.npy", images)
        labels = np.arange(count, dtype=np.int64) % classes if classes else None
        names = tuple(f"class {index}" for index in range(classes))
        if labels is not None:
            np.save(folder / "labels.npy", labels)
        about = {
            "format": FORMAT,
            "count": count,
            "classes": names,
            "fingerprint": set_fingerprint(images, labels, names),
        }
        (folder / "dataset.json").write_text(json.dumps(about))
        return folder

    return make


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
