"""Every annotated shape and type of kennel is checked while the tests run; small sets, a random network."""

import dataclasses
import functools
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import jaxtyping
import numpy as np
import pytest
import torch
from beartype import beartype
from filelock import FileLock

_jaxtyped = jaxtyping.jaxtyped


def _checked(what: Any = None, *, typechecker: Any = None) -> Any:
    """As `jaxtyping.jaxtyped`, in a fraction of its time.

    That binds a call's arguments by their names and checks them twice, some 50 microseconds a call: half of
    what a small training took. Here a function is checked by beartype alone, once a call, and has a
    scope of its own for the names of dimensions where its annotations have any.
    """
    if what is None:
        return functools.partial(_checked, typechecker=typechecker)
    if inspect.isclass(what):
        if dataclasses.is_dataclass(what) and "__init__" in vars(what):
            what.__init__ = _checked(what.__init__)
        return what
    parts = [part for annotation in what.__annotations__.values() for part in _parts(annotation)]
    shaped = any(inspect.isclass(part) and issubclass(part, jaxtyping.AbstractArray) for part in parts)
    named = any(isinstance(part, str) for part in parts)  # what it will mean, jaxtyping looks up
    if named or (shaped and inspect.isgeneratorfunction(what)):
        return _jaxtyped(what, typechecker=typechecker)
    checked = beartype(what)
    if not shaped:
        return checked

    @functools.wraps(what)
    def scoped(*given: Any, **named: Any) -> Any:
        with _jaxtyped("context"):
            return checked(*given, **named)

    return scoped


def _parts(annotation: Any) -> Iterator[Any]:
    """What an annotation is made of, and itself: classes, and names of what is not there yet."""
    if get_origin(annotation) is not Literal:
        yield annotation
        for part in annotation if isinstance(annotation, list) else get_args(annotation):
            yield from _parts(part)


jaxtyping.jaxtyped = _checked  # the hook decorates by this name
jaxtyping.install_import_hook("kennel", "beartype.beartype")
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
    from kennel.features import factory

    carried = [
        kind for kind in factory.PREFERENCE if getattr(kind, "published", None) and kind.published.package
    ]
    chosen = tuple(kind for kind in factory.PREFERENCE if kind not in carried)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(factory, "PREFERENCE", chosen)
        yield


@pytest.fixture(autouse=True)
def _denormal_numbers() -> Iterator[None]:
    """A test that trains takes them for 0, as training does; those after it do not."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def packed_set(tmp_path: Path) -> Callable[..., Path]:
    """Makes a packed set of random pixels: `packed_set(count=40, channels=1, size=8, num_classes=2)`."""

    def make(count: int = 40, channels: int = 1, size: int = 8, classes: int = 0, name: str = "set") -> Path:
        from kennel.data.dataset import FORMAT, set_fingerprint

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
    from kennel.features.inception_network import InceptionGraph

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
