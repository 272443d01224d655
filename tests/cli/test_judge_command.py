import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from kennel.cli.judge import judge
from kennel.errors import DataError, JudgementError, KennelError, RunError, UnknownNameError, WeightsError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KENNEL_WEIGHTS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def run(tmp_path: Path, packed_set: Callable[..., Path]) -> Callable[..., Any]:
    """Runs `kennel judge TARGET --data REFERENCE ...` with a reference of 40 grey images of 8x8."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(judge)
    reference = packed_set(count=40, channels=1, size=8, name="reference")

    def invoke(target: Path | str, *options: str) -> Any:
        return CliRunner().invoke(app, [str(target), "--data", str(reference), "--device", "cpu", *options])

    return invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 colour PNGs of 8x8."""
    place = tmp_path / "fakes"
    place.mkdir()
    for index, pixels in enumerate(np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(place / f"{index:02d}.png")
    return place


def refused(result: Any, kind: type[KennelError]) -> str:
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


def test_a_folder_gets_a_table_its_protocol_a_warning_and_json(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    result = run(folder, "--floor", "--json", str(tmp_path / "scores.json"))
    assert result.exit_code == 0, result.output
    for part in (
        "MiFID",
        "epsilon 0.1, penalty none",
        "real v real, 20 a side",
        "No weights are at hand",
        "Extractor pixels (no weights)",
        "20 images of 8x8",
        "Grey repeated to RGB on the side of the reference.",
        "Warning: 20 images are fewer than 2,048",
    ):
        assert part in result.output
    entries = json.loads((tmp_path / "scores.json").read_text())
    assert [entry["metric"] for entry in entries] == [
        *("fid", "mifid", "kid", "precision", "recall", "density", "coverage")
    ]
    assert all(entry["protocol"]["extractor"] == "pixels" for entry in entries)


def test_the_same_command_gives_the_same_numbers(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        assert run(folder, "--count", "12", "--seed", "4", "--json", str(tmp_path / name)).exit_code == 0
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()


def test_what_cannot_be_judged_is_one_sentence(
    run: Callable[..., Any], folder: Path, packed_set: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused(run(tmp_path / "empty"), DataError)
    assert "does not exist" in refused(run(tmp_path / "absent"), DataError)
    assert "images of 16x16, the reference" in refused(run(packed_set(size=16, name="large")), JudgementError)
    assert "lower --count" in refused(run(folder, "--count", "50"), JudgementError)
    assert "at least 2 are needed" in refused(run(folder, "--count", "1"), JudgementError)
    assert "did you mean 'mifid'" in refused(run(folder, "--metrics", "fid,mifidd"), UnknownNameError)
    assert "has no logits" in refused(run(folder, "--metrics", "is"), JudgementError)
    assert "did you mean 'mobilenet'" in refused(run(folder, "--extractor", "mobilnet"), UnknownNameError)
    assert "did you mean 'float32'" in refused(run(folder, "--precision", "float3"), UnknownNameError)
    assert "the device 'cuda:99' cannot be used" in refused(run(folder, "--device", "cuda:99"), RunError)
    assert "the device 'tpu' cannot be used" in refused(run(folder, "--device", "tpu"), RunError)
    (tmp_path / "wrong.pth").write_bytes(b"something else")
    wrong = run(folder, "--extractor", "inception", "--weights", str(tmp_path / "wrong.pth"))
    assert "published 2015 Inception weights" in refused(wrong, WeightsError)


def test_the_module_imports_no_slow_library() -> None:
    code = "import sys, kennel.cli.judge; print(*{'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
