"""Runs as training leaves them, without the training."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kennel.config.recipe import override
from kennel.recipes import get_recipe
from kennel.runs.run_dir import RunDir


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """`make_run("a", ["seed=1"], log=[{...}], fingerprint="...")`: a run's folder with recipe and log."""

    def make(
        name: str,
        settings: Sequence[str] = (),
        log: Sequence[dict[str, float]] = (),
        fingerprint: str = "b1291caeee242b27",
    ) -> Path:
        folder = RunDir(tmp_path / name)
        folder.path.mkdir(parents=True)
        data = {"path": "/sets/digits", "fingerprint": fingerprint, "count": 1797, "shape": [1, 8, 8]}
        folder.begin(override(get_recipe("digits"), settings), {"data": data})
        for line in log:
            folder.append_log(line)
        return folder.path

    return make
