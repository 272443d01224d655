"""A checkpoint's file: whole or found out, whatever was done to it, and nothing in it is ever run."""

import json
import os
import pickle
import random
import resource
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

import kennel
from kennel.errors import CheckpointError, CheckpointFormatError
from kennel.runs import checkpoint
from kennel.storage import safetensors_io

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(7),
    "c": torch.tensor([True, False]),
    "none": torch.zeros(0, 4),
}
ABOUT = {
    "images_seen": 64,
    "seconds": 1.5,
    "best": 3.25,
    "best_metric": "fid",
    "best_images": 32,
    "validations_since_best": 1,
    "recipe": "0123456789abcdef",
}


def written(tmp_path):
    path = tmp_path / checkpoint.name_for(64)
    safetensors_io.write(path, TENSORS, ABOUT)
    return path


def refusal(path) -> str:
    """The one sentence by which a file is refused."""
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(path)
    sentence = str(error.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def header_of(path) -> dict[str, dict[str, object]]:
    content = path.read_bytes()
    return json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])


def with_header(path, header: bytes, length: int | None = None, data: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)


def with_words(path, words: object, seal: str | None = "right") -> None:
    """A file that says `words` of itself, under a seal that holds, that does not, or under none."""
    text = words if isinstance(words, str) else json.dumps(words)
    metadata = {"kennel": text}
    if seal is not None:
        metadata["seal"] = safetensors_io._seal(text) if seal == "right" else seal
    save_file(TENSORS, path, metadata=metadata)


def test_what_was_written_comes_back_and_names_its_kennel_and_format(tmp_path):
    found = checkpoint.load(written(tmp_path))
    assert {name: one.tolist() for name, one in found.tensors.items()} == {
        name: one.tolist() for name, one in TENSORS.items()
    }
    assert {name: one.dtype for name, one in found.tensors.items()} == {
        name: one.dtype for name, one in TENSORS.items()
    }
    assert dict(found.metadata) == {
        **ABOUT,
        "format": safetensors_io.FORMAT,
        "kennel": kennel.__version__,
        "checksum": safetensors_io.checksum(TENSORS),
    }


def test_the_size_is_foreseen_within_its_overhead(tmp_path):
    path = written(tmp_path)
    assert path.stat().st_size <= safetensors_io.bytes_of(TENSORS) <= path.stat().st_size + 2_000


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = written(tmp_path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refusal(path)
    path.write_bytes(content + b"\0")
    refusal(path)


def test_a_flipped_bit_is_found_at_500_random_places(tmp_path):
    path = written(tmp_path)
    flip(path, random.Random(0).sample(range(8 * path.stat().st_size), 500))


@pytest.mark.slow
def test_every_single_flipped_bit_is_found(tmp_path):
    path = written(tmp_path)
    flip(path, range(8 * path.stat().st_size))


def flip(path, places) -> None:
    """Flips each of these bits alone, and sees it refused."""
    content = path.read_bytes()
    for place in places:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        refusal(path)


def test_random_garbage_in_the_header_is_refused(tmp_path):
    path = written(tmp_path)
    content = path.read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    chance = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        for place in chance.sample(range(end), chance.randint(2, 40)):
            damaged[place] = chance.randrange(256)
        path.write_bytes(damaged)
        refusal(path)


@pytest.mark.parametrize(
    ("number", "remedy"), [(3, "update kennel to that version or a later one"), (1, "use that version")]
)
def test_another_format_names_the_kennel_that_wrote_it_and_what_to_do(tmp_path, number, remedy):
    path = tmp_path / checkpoint.name_for(128)
    with_words(path, {"format": number, "kennel": "7.1", "checksum": "", "images_seen": 128})
    assert refusal(path) == (
        f"the checkpoint {path} has format {number}, written by kennel 7.1, but kennel {kennel.__version__} "
        f"only reads format 2: {remedy}"
    )


@pytest.mark.parametrize("number", [1, 3])
def test_an_older_checkpoint_does_not_take_the_place_of_one_in_another_format(tmp_path, number):
    written(tmp_path)
    with_words(tmp_path / checkpoint.name_for(128), {"format": number, "kennel": "7.1"})
    with pytest.raises(CheckpointFormatError, match=r"kennel 7\.1"):
        checkpoint.newest(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images_seen": -1}, "its images_seen cannot be -1"),
        ({"images_seen": 1.5}, "its images_seen cannot be 1.5"),
        ({"images_seen": True}, "its images_seen cannot be True"),
        ({"images_seen": 10**400}, "its images_seen cannot be 1000"),
        ({"images_seen": None}, "its images_seen cannot be None"),
        ({"seconds": "long"}, "its seconds cannot be 'long'"),
        ({"seconds": float("nan")}, "its metadata does not match its seal"),
        ({"best": float("inf")}, "its metadata does not match its seal"),
        ({"best_metric": 5}, "its best_metric cannot be 5"),
        ({"tick_due": "yes"}, "its tick_due cannot be 'yes'"),
        ({"checksum": 5}, "its checksum cannot be 5"),
        ({"kennel": []}, r"its kennel cannot be \[\]"),
        ({"format": "2"}, "it has no valid format"),
        ({"format": 0}, "it has no valid format"),
        ({"format": None}, "it has no valid format"),
    ],
)
def test_words_of_the_wrong_kind_are_refused_though_their_seal_holds(tmp_path, change, message):
    path = tmp_path / checkpoint.name_for(64)
    good = {"format": 2, "kennel": "0.1.0", "checksum": safetensors_io.checksum(TENSORS), **ABOUT}
    with_words(path, good)
    assert checkpoint.load(path).images_seen == 64
    with_words(path, good | change)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


@pytest.mark.parametrize("lacking", ["images_seen", "checksum", "format"])
def test_words_that_lack_something_are_refused(tmp_path, lacking):
    path = tmp_path / checkpoint.name_for(64)
    words = {"format": 2, "checksum": safetensors_io.checksum(TENSORS), "images_seen": 64}
    with_words(path, {name: value for name, value in words.items() if name != lacking})
    assert lacking in refusal(path)


@pytest.mark.parametrize(
    "words",
    ["", "{", "[]", "5", '"words"', "null", "[" * 100_000, '{"format": 1e999}', '{"images_seen": NaN}'],
)
@pytest.mark.parametrize("seal", ["right", "wrong", None])
def test_words_that_are_no_words_are_refused(tmp_path, words, seal):
    path = tmp_path / checkpoint.name_for(64)
    with_words(path, words, seal)
    assert "damaged" in refusal(path)


def test_another_programs_file_is_refused(tmp_path):
    path = tmp_path / checkpoint.name_for(1)
    save_file(TENSORS, path)
    assert "not a checkpoint of kennel" in refusal(path)


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was run')",))


@pytest.mark.parametrize("kind", ["pickle", "torch", "zip of torch"])
def test_a_pickle_in_a_checkpoints_place_is_never_run(tmp_path, kind):
    path = tmp_path / checkpoint.name_for(1)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Malicious()))
    else:
        torch.save(Malicious(), path, _use_new_zipfile_serialization=kind != "torch")
    assert "cannot be read" in refusal(path)


def claiming(shape: list[int], end: int, kind: str = "F32") -> bytes:
    return json.dumps(
        {"__metadata__": {"kennel": "{}"}, "a": {"dtype": kind, "shape": shape, "data_offsets": [0, end]}}
    ).encode()


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"{}", 2**63),
        (b"{}", 2**64 - 1),
        (b"{}", 10**8),
        (b"{}", 0),
        (b"\xff\xfe{}", None),
        (b"[" * 5_000, None),
        (b'{"a": 5}', None),
        (b'{"__metadata__": {"kennel": 5}}', None),
        (claiming([10**6, 10**6], 4 * 10**12), None),
        (claiming([2**62, 2**62], 8), None),
        (claiming([2**63 - 1], 8), None),
        (claiming([-1], 8), None),
        (claiming([2], 2**63), None),
        (claiming([2], 8, "F31"), None),
    ],
)
def test_absurd_headers_are_refused_without_taking_memory(tmp_path, header, length):
    path = tmp_path / checkpoint.name_for(1)
    with_header(path, header, length, bytes(8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_empty_tensors_of_giant_shape_take_no_memory(tmp_path):
    path = tmp_path / checkpoint.name_for(1)
    words = json.dumps({"format": 2, "checksum": "0", "images_seen": 1})
    header = {
        "__metadata__": {"kennel": words, "seal": safetensors_io._seal(words)},
        "a": {"dtype": "F32", "shape": [2**40, 0], "data_offsets": [0, 0]},
    }
    with_header(path, json.dumps(header).encode())
    assert "checksum does not match" in refusal(path)


@pytest.mark.parametrize(
    ("kind", "bytes_each"), [("F8_E8M0", 1), ("F8_E4M3", 1), ("BF16", 2), ("C64", 8), ("U64", 8)]
)
def test_every_type_of_the_library_is_read_or_refused_in_one_sentence(tmp_path, kind, bytes_each):
    path = tmp_path / checkpoint.name_for(1)
    words = json.dumps({"format": 2, "checksum": "0", "images_seen": 1})
    header = {
        "__metadata__": {"kennel": words, "seal": safetensors_io._seal(words)},
        "a": {
            "dtype": kind,
            "shape": [8 // {"C64": 8, "U64": 8, "BF16": 2}.get(kind, 1)],
            "data_offsets": [0, 8],
        },
    }
    with_header(path, json.dumps(header).encode(), None, bytes(8))
    refusal(path)


@pytest.mark.parametrize("place", ["nowhere", "itself", "a folder", "a device", "a pipe"])
def test_a_link_to_what_is_no_file_is_refused_at_once(tmp_path, place):
    path = tmp_path / checkpoint.name_for(1)
    if place == "a folder":
        (tmp_path / "folder").mkdir()
    elif place == "a pipe":
        os.mkfifo(tmp_path / "pipe")
    target = {"itself": path, "a folder": "folder", "a device": "/dev/zero", "a pipe": "pipe"}
    path.symlink_to(target.get(place, "nowhere"))
    assert "it is not a file" in refusal(path)


def test_writing_goes_in_a_links_place_and_leaves_its_target(tmp_path):
    (tmp_path / "mine").write_text("precious")
    path = tmp_path / checkpoint.name_for(64)
    path.symlink_to("mine")
    path.with_name(f".{path.name}.{os.getpid()}.part").symlink_to("mine")
    safetensors_io.write(path, TENSORS, ABOUT)
    assert (tmp_path / "mine").read_text() == "precious"
    assert not path.is_symlink()
    assert set(load_file(path)) == set(TENSORS)
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, "mine"]


def test_what_the_system_refuses_is_an_os_error(tmp_path, monkeypatch):
    path = written(tmp_path)
    before = path.read_bytes()
    hard, soft = resource.getrlimit(resource.RLIMIT_FSIZE)[::-1]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
        with pytest.raises(OSError, match="File too large") as error:
            safetensors_io.write(path, {"a": torch.zeros(100_000)}, ABOUT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename == str(path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
