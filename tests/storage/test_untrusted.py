"""Whatever a file holds, what comes out is plain values or a sentence, in bounded time and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kennel.config.recipe import from_yaml, parse_value
from kennel.data.dataset import ImageDataset
from kennel.data.image_files import open_images
from kennel.data.prepare.pipeline import prepare
from kennel.errors import KennelError, RecipeError
from kennel.evaluation.score import read_judgements
from kennel.runs.run_dir import RunDir
from kennel.storage.safetensors_io import read
from kennel.storage.untrusted import (
    UntrustedError,
    parse_json,
    parse_yaml,
    printable,
    read_bytes,
    read_json_lines,
)

DEEP = "[" * 100_000
ALIASES = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DEEP, "nested more than 32 deep"),
        ('{"a":' * 100_000, "nested more than 32 deep"),
        ("9" * 5000, "a number of 5,000 digits"),
        ("1e999", "1e999 is not finite"),
        ("[NaN]", "NaN is not a JSON number"),
        ("-Infinity", "-Infinity is not a JSON number"),
        ("", "it is not JSON"),
        ('"' + "\\\\" * 100_000, "it is not JSON"),
    ],
)
def test_hostile_json_is_refused_before_it_is_built(text: str, reason: str) -> None:
    with pytest.raises(UntrustedError, match=reason):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ALIASES, "has an alias"),
        ("a: &a [*a]", "has an alias"),
        ("a: " + DEEP, r"nested more than 32 deep|not readable YAML"),
        ("a: " + "9" * 5000, "number of more than 250 digits"),
        ("a: 0x" + "f" * 5000, "number of more than 250 digits"),
        ("a: 2026-99-99", "not readable YAML"),
        ("a: !!int ''", "not readable YAML"),
        ("a: !!bool maybe", "not readable YAML"),
        ("a: !!timestamp x", "not readable YAML"),
        ("a: !!python/object/apply:os.system [true]", "not readable YAML"),
        ("? [a]\n: b", "not readable YAML"),
        ("- a\n" * 200_000, "more than 100,000 values"),
        ("a" * (2 << 20), "more than 1,048,576"),
        ("\x00", "not readable YAML"),
    ],
)
def test_hostile_yaml_is_refused_before_it_is_built(text: str, reason: str) -> None:
    with pytest.raises(UntrustedError, match=reason):
        parse_yaml(text)
    with pytest.raises(RecipeError, match=r"r\.yaml cannot be read as a recipe"):
        from_yaml(text, "r.yaml")
    with pytest.raises(RecipeError, match="is not a value"):
        parse_value(text if text[0] != "9" else f"[{text}]")


def test_aliases_take_no_memory() -> None:
    """In a process of a gigabyte: nine levels of ten took 2.7 GB."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "import sys; from kennel.storage.untrusted import parse_yaml\n"
        "try: parse_yaml(sys.stdin.read())\n"
        "except Exception as error: print(type(error).__name__)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(
        [sys.executable, "-c", code],
        input=ALIASES,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    assert outcome.stdout.strip() == "UntrustedError"


def test_what_is_printed_moves_no_terminal() -> None:
    assert printable("a\x1b[2Jb\u202ec\ud800\x9b") == "a\\x1b[2Jb\\u202ec\\ud800\\x9b"
    assert printable("größer 犬\n", "\n") == "größer 犬\n"
    assert parse_json('{"\\u001b": ["\\ud800"]}') == {"\\x1b": ["\\ud800"]}
    assert parse_yaml('"\\e[31m": 1') == {"\\x1b[31m": 1}
    with pytest.raises(KennelError) as caught:
        from_yaml('"\\e[31m": 1', "r.yaml")
    assert "\x1b" not in str(caught.value)


def test_no_link_is_followed_out_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "own").write_text("own")
    (tmp_path / "run" / "near").symlink_to("own")
    (tmp_path / "run" / "far").symlink_to("../secret")
    (tmp_path / "run" / "loop").symlink_to("loop")
    assert read_bytes(tmp_path / "run" / "near", 10) == b"own"
    assert read_bytes(tmp_path / "run" / "far", 10, named=True) == b"secret"
    for name in ("far", "loop", "absent"):
        with pytest.raises(UntrustedError):
            read_bytes(tmp_path / "run" / name, 10)
    with pytest.raises(UntrustedError, match="more than 2 bytes"):
        read_bytes(tmp_path / "run" / "own", 2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UntrustedError, match="not a regular file"):
        read_bytes(tmp_path / "pipe", 10)


def test_a_line_that_cannot_be_read_costs_itself(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b'{"a": 1}\n' + DEEP.encode() + b'\n\xff\n{"a": 2}\n{"a": 1e999}\n{"a"')
    assert list(read_json_lines(tmp_path / "log")) == [{"a": 1}, {"a": 2}]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ABOUT = {"format": 1, "count": 2, "classes": ["a", "b"], "fingerprint": "f", "class_counts": [1, 1]}
RUN = {"data": {"path": "p", "fingerprint": "f", "count": 3, "shape": [1, 8, 8], "classes": []}}
slow = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def survives(read_it: object, *arguments: object) -> None:
    """Nothing but a `KennelError` comes out."""
    try:
        read_it(*arguments)  # type: ignore[operator]
    except KennelError as error:
        str(error).encode()  # and it can be written anywhere


@slow
@given(content=st.binary(max_size=200) | anything.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_in_any_file_are_a_sentence_or_plain_values(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    for name in (
        *("recipe.yaml", "run.json", "log.jsonl", "spectra.jsonl", "alarms.jsonl", "dataset.json"),
        *("images.npy", "labels.npy", "a.npz", "a.zip", "a.tar", "a.tar.gz", "a.safetensors"),
    ):
        (folder / name).write_bytes(content)
    run = RunDir(folder)
    for ask in (run.recipe, run.about, run.log, run.spectra, run.alarms):
        survives(ask)
    survives(ImageDataset, folder)
    survives(read_judgements, folder / "run.json")
    survives(read, folder / "a.safetensors")
    for name in ("a.npz", "a.zip", "a.tar", "a.tar.gz"):
        survives(open_images, folder / name)
        survives(prepare, folder / name, tmp_path / "set")


@slow
@given(key=st.sampled_from([*ABOUT, "report"]), value=anything)
def test_a_dataset_json_of_any_kind_is_a_sentence_or_a_set(tmp_path: Path, key: str, value: object) -> None:
    folder = tmp_path / "set"
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", np.zeros((2, 1, 8, 8), np.uint8))
    np.save(folder / "labels.npy", np.array([0, 1]))
    (folder / "dataset.json").write_text(json.dumps(ABOUT | {key: value}))
    survives(ImageDataset, folder)


@slow
@given(key=st.sampled_from(["images", "seconds", "saw", "$\\frac{", "generator"]), value=anything)
def test_a_line_of_any_kind_is_left_out_or_drawn(tmp_path: Path, key: str, value: object) -> None:
    from kennel.reporting.panels import marks_of, panels_of

    folder = RunDir(tmp_path)
    good = {"images": 8, "alarm": "a", "saw": "s", "why": "w", "try": "t", "loss": 1.0}
    for file in (folder.log_file, folder.spectra_file, folder.alarms_file):
        file.write_text(json.dumps(good) + "\n" + json.dumps(good | {key: value}) + "\n")
    panels_of(folder.log())
    marks_of(folder.alarms())
    folder.spectra()
    assert folder.log()[0] == good


@slow
@given(content=st.binary(min_size=1, max_size=64), place=st.integers(0, 2000))
def test_archives_and_arrays_that_were_altered_are_a_sentence_or_read(
    tmp_path: Path, content: bytes, place: int
) -> None:
    import tarfile

    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4, 3), np.uint8))
    (tmp_path / "p.bin").write_bytes(bytes(700))
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(tmp_path / "p.bin", "a/é.png")
        archive.add(tmp_path / "p.bin", "b.png")
    for name in ("a.npz", "a.tar"):
        whole = bytearray((tmp_path / name).read_bytes())
        start = place % len(whole)
        whole[start : start + len(content)] = content
        (tmp_path / name).write_bytes(whole)
        survives(open_images, tmp_path / name)
        survives(prepare, tmp_path / name, tmp_path / "set")
