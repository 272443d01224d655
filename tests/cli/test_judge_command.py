import json
import shlex
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
    """Runs `kennel judge TARGET --reference REFERENCE ...` with a reference of 40 grey images of 8x8."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(judge)
    reference = packed_set(count=40, channels=1, size=8, name="reference")

    def invoke(target: Path | str, *options: str) -> Any:
        return CliRunner().invoke(
            app, [str(target), "--reference", str(reference), "--device", "cpu", *options]
        )

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
    result = run(folder, "--reference-split", "--json", str(tmp_path / "scores.json"))
    assert result.exit_code == 0, result.output
    for part in (
        "real v real, 20 a side",
        "No weights were found",
        "Extractor pixels (no weights)",
        "20 images of 8x8",
        "Gray repeated to RGB for the reference.",
        "Warning: 20 images are fewer than 2,048",
    ):
        assert part in result.output
    entries = json.loads((tmp_path / "scores.json").read_text())
    assert [entry["metric"] for entry in entries] == [
        *("fid", "kid", "precision", "recall", "density", "coverage")
    ]
    assert all(entry["protocol"]["extractor"] == "pixels" for entry in entries)


def test_pixels_say_what_they_cannot_see_before_their_numbers_and_measure_mifid_on_request_alone(
    run: Callable[..., Any], folder: Path
) -> None:
    for options in ((), ("--extractor", "pixels")):
        result = run(folder, *options)
        before, _, after = result.output.partition("Judgement")
        assert "sees color and layout only" in " ".join(before.split())
        assert "MiFID" not in after
    asked = run(folder, "--metrics", "mifid")
    assert "MiFID" in asked.output
    assert "epsilon 0.1, penalty none" in asked.output


def test_each_pair_of_figures_has_its_own_k_on_the_command_line(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    for options, expected in (
        ((), {"precision": 3, "recall": 3, "density": 5, "coverage": 5}),
        (("--neighbors", "2"), {"precision": 2, "recall": 2, "density": 5, "coverage": 5}),
        (("--density-neighbors", "4"), {"precision": 3, "recall": 3, "density": 4, "coverage": 4}),
    ):
        result = run(folder, "--metrics", "prdc", *options, "--json", str(tmp_path / "scores.json"))
        assert result.exit_code == 0, result.output
        entries = json.loads((tmp_path / "scores.json").read_text())
        assert {one["metric"]: one["protocol"]["options"]["neighbours"] for one in entries} == expected


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
    assert "the device 'cuda:99' is not available" in refused(run(folder, "--device", "cuda:99"), RunError)
    assert "the device 'tpu' is not available" in refused(run(folder, "--device", "tpu"), RunError)
    (tmp_path / "wrong.pth").write_bytes(b"something else")
    wrong = run(folder, "--extractor", "inception", "--weights", str(tmp_path / "wrong.pth"))
    assert "published 2015 Inception weights" in refused(wrong, WeightsError)


def test_a_folder_of_mixed_sizes_is_judged_by_the_command_that_the_refusal_names(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    place = tmp_path / "photos of mine"
    place.mkdir()
    for number in range(12):
        Image.effect_noise((9 + number, 30 - number), 80).save(place / f"{number:02d}.png")
    message = refused(run(place), JudgementError)
    assert "00.png is 9x30, 01.png is 10x29" in message
    command = shlex.split(message.split("`")[1])
    assert command[:2] == ["kennel", "judge"]
    assert command[command.index("--size") + 1] == "8"
    scores = tmp_path / "scores.json"
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(judge)
    result = CliRunner().invoke(app, [*command[2:], "--device", "cpu", "--json", str(scores)])
    assert result.exit_code == 0, result.output
    assert "Resize of the images: the centre square of each resized to 8x8" in result.output
    protocol = json.loads(scores.read_text())[0]["protocol"]
    assert protocol["image_fit"] == "the centre square of each resized to 8x8 (lanczos, antialiased)"
    assert protocol["reference_fit"] is None
    assert protocol["image_size"] == [1, 8, 8]
    result = run(place, "--size", "10", "--fit", "squash", "--held-out", str(place))
    assert result.exit_code == 0, result.output
    assert "the images and the reference: each squashed, whatever its aspect, to 10x10" in result.output
    assert "1 of the 12 images were enlarged." in result.output
    assert "40 of the 40 reference images were enlarged." in result.output


def test_a_size_makes_sets_of_two_sizes_comparable_and_says_so(
    run: Callable[..., Any], packed_set: Callable[..., Path], tmp_path: Path
) -> None:
    large = packed_set(size=16, name="large")
    assert "--size 8` judges" in refused(run(large), JudgementError)
    result = run(large, "--size", "8")
    assert result.exit_code == 0, result.output
    assert "Resize of the images:" in result.output
    assert "--fit is 'stretch'" in refused(run(large, "--size", "8", "--fit", "stretch"), DataError)
    assert "give both, or neither" in refused(run(large, "--fit", "crop"), JudgementError)


def test_a_json_that_cannot_be_written_is_refused_before_anything_is_measured(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    into = refused(run(folder, "--json", str(folder)), DataError)
    assert into == f"{folder} is a folder: give --json a file"
    below = refused(run(folder, "--json", str(folder / "00.png" / "x.json")), DataError)
    assert below.endswith("give --json a place that can be written to")
    assert not (tmp_path / "cache").exists()


def test_what_chooses_a_run_s_samples_is_refused_for_pictures(run: Callable[..., Any], folder: Path) -> None:
    assert "is not a run, and --truncation" in refused(run(folder, "--truncation", "0.5"), JudgementError)
    assert "is not a run, and --checkpoint" in refused(run(folder, "--checkpoint", "best"), JudgementError)


def test_a_comma_too_many_does_no_harm(run: Callable[..., Any], folder: Path) -> None:
    assert run(folder, "--metrics", "kid,,").exit_code == 0


def test_the_module_imports_no_slow_library() -> None:
    code = "import sys, kennel.cli.judge; print(*{'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


def test_pictures_are_drawn_into_the_folder_and_the_copy_is_named(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    reference = np.load(tmp_path / "reference" / "images.npy")
    Image.fromarray(reference[6, 0][:, ::-1]).convert("RGB").save(folder / "05.png")
    Image.fromarray(reference[9, 0]).convert("RGB").save(folder / "03.png")
    place, scores = tmp_path / "new" / "pictures", tmp_path / "scores.json"
    options = ("--metrics", "fid,memorisation", "--pictures", str(place), "--json", str(scores))
    result = run(folder, *options)
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in place.iterdir()) == ["distances.png", "memorisation.png"]
    assert f"Picture: {place / 'memorisation.png'}" in result.output
    first = json.loads(scores.read_text())[1]["details"]["most_suspicious"][0]
    assert (first["image"], first["reference"], first["verdict"]) == (3, 9, "same picture")


def test_pictures_that_cannot_be_are_refused_before_anything_is_measured(
    run: Callable[..., Any], folder: Path, tmp_path: Path
) -> None:
    file = folder / "00.png"
    assert "is a file: give --pictures a folder" in refused(run(folder, "--pictures", str(file)), DataError)
    below = refused(run(folder, "--pictures", str(file / "below")), DataError)
    assert f"{file} is a file" in below
    place = tmp_path / "pictures"
    nothing = refused(run(folder, "--metrics", "fid,kid", "--pictures", str(place)), JudgementError)
    assert nothing.startswith("there is no picture of fid, kid: add one of memorisation, mifid, prd_f8")
    assert not place.exists()


def test_a_run_s_pictures_lie_beside_its_judgements(
    run: Callable[..., Any],
    packed_set: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kennel.config.recipe import override
    from kennel.recipes import get_recipe
    from kennel.reporting.score_tables import judgement_tables, judging_pictures
    from kennel.training.run import train

    small = [
        "generator.base_channels=4",
        "discriminator.base_channels=4",
        "batch_size=8",
        "num_ticks=1",
        "budget.images=16",
    ]
    recipe = override(get_recipe("digits"), [*small, "image.size=8", "validation.every_ticks=0"])
    train(recipe, packed_set(), tmp_path / "run")
    result = run(tmp_path / "run", "--metrics", "mifid,recall", "--count", "20")
    assert result.exit_code == 0, result.output
    written = sorted((tmp_path / "run" / "judgements").iterdir())
    (scores,) = (file for file in written if file.suffix == ".json")
    before = scores.read_bytes()
    pictures = [f"{scores.stem}-{name}.png" for name in ("distances", "memorisation")]
    assert [file.name for file in written if file != scores] == pictures
    tables, _ = judgement_tables(scores.parent)
    (shown,) = judging_pictures(scores.parent, tables)
    assert {one.name for one in shown} == {"memorisation", "distances"}
    with Image.open(scores.with_name(pictures[1])) as drawn:
        assert "generative adversarial network" in drawn.info["Description"]
    # Another judgement of the same second has a name of its own, and so have its pictures.
    moment = scores.name.removesuffix("-pixels.json")[11:]
    monkeypatch.setattr(sys.modules["kennel.cli.judge"], "_moment", lambda: moment)
    again = run(tmp_path / "run", "--metrics", "mifid", "--count", "20", "--seed", "5")
    assert again.exit_code == 0, again.output
    second = scores.with_name(scores.name.replace("-pixels", "-2-pixels"))
    assert json.loads(second.read_text())[0]["metric"] == "mifid"
    assert scores.read_bytes() == before
    assert second.with_name(f"{second.stem}-distances.png").exists()


def test_memory_that_runs_out_is_one_sentence(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise MemoryError

    monkeypatch.setattr("kennel.features.pixels.PixelCells.extract", full)
    said = refused(run(folder, "--batch", "2000"), RunError)
    assert said.startswith(
        "the memory of cpu is too small for 2,000 images at a time: give a smaller --batch"
    )
