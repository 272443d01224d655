"""Every annotated shape and type of kennel is checked while the tests run; small sets, a random network."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from jaxtyping import install_import_hook

install_import_hook("kennel", "beartype.beartype")
# Tests are small and run side by side: more threads each would only get in one another's way.
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _disk_that_is_not_waited_for() -> Iterator[None]:
    """Nobody pulls the plug while the tests run: what is written is not waited for (`test_atomic` looks)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_network_by_default() -> Iterator[None]:
    """ "auto" does not find the networks that kennel's installation brings, which would take minutes where
    pixels will do; `installed_networks` gives them back."""
    from kennel.features import opening

    carried = [
        kind for kind in opening.PREFERENCE if getattr(kind, "published", None) and kind.published.package
    ]
    chosen = tuple(kind for kind in opening.PREFERENCE if kind not in carried)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "PREFERENCE", chosen)
        yield


@pytest.fixture(autouse=True)
def _denormal_numbers() -> Iterator[None]:
    """A test that trains takes them for 0, as training does; those after it do not."""
    yield
    torch.set_flush_denormal(False)


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
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Fills a folder once in the suite: the first worker that needs it does, and the others wait for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def filled(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()  # where filling it failed before this fails too, and at once
                fill(folder)
                done.touch()
        return folder

    return filled


@pytest.fixture(scope="module")
def two_ranks() -> Callable[..., tuple[list[int], list[tuple[str, str]]]]:
    """Runs `python COMMAND ...` as two ranks that find one another; tells how they ended and what they said.

    As torchrun's agent does, this process holds the store where they meet: a port that is only looked up may
    be somebody else's by the time it is used. Neither outlives `seconds`.
    """
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def run(
        *command: str, seconds: float = 100, **environment: str
    ) -> tuple[list[int], list[tuple[str, str]]]:
        place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
        agent = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
        names = dict(os.environ) | {"OMP_NUM_THREADS": "1"} | place | agent | environment
        ranks = [
            subprocess.Popen(
                [sys.executable, *command],
                env=names | {"RANK": rank},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in ("0", "1")
        ]
        try:
            said = [rank.communicate(timeout=seconds) for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        return [rank.returncode for rank in ranks], said

    return run


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
