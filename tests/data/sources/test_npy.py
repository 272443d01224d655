"""Headers of npy and npz files, as NumPy writes them and as somebody else might."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kennel.data.image_files import NpzSet
from kennel.data.sources.npy import NpzFile, open_npy, read_header
from kennel.errors import DataError

ARRAYS = [
    np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    np.array(["a", "bcd"]),
    np.zeros((0, 3, 4), np.uint8),
    np.float64(3.5) * np.ones(()),
    np.array([True, False]),
    np.ones(3, np.complex64),
]


def npy(header: str, data: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    text = header.encode("latin-1")
    size = len(text) if length is None else length
    return (
        b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", size) + text + data
    )


@pytest.mark.parametrize("array", ARRAYS, ids=[f"{one.dtype}{one.shape}" for one in ARRAYS])
def test_what_numpy_writes_reads_the_same(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(open_npy(tmp_path / "a.npy"), array)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", images=array)
        with NpzFile(tmp_path / "a.npz") as content:
            np.testing.assert_array_equal(content.read("images"), array)


HEADERS = {
    "unclosed": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2"),
    "nested": npy("{'descr': '|u1', 'fortran_order': False, 'shape': " + "(" * 9000),
    "gigantic": npy("{" + "(" * 70_000, version=2),
    "longer than the file": npy("{}", version=2, length=1 << 31),
    "an object": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "a record": npy("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
    "huge": npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({1 << 59}, {1 << 59})}}"),
    "digits": npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({'9' * 5000},)}}"),
    "negative": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}"),
    "no length": npy(f"{{'descr': '<U0', 'fortran_order': False, 'shape': ({1 << 50},)}}"),
    "strange": npy("{'descr': '<f7', 'fortran_order': False, 'shape': (1,)}", bytes(7)),
    "empty": b"",
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_hostile_header_is_refused_unevaluated(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"it |its "):
        open_npy(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", content)
    with pytest.raises(DataError, match="cannot be read as an npz"):
        NpzSet(tmp_path / "a.npz")


def test_an_absurd_shape_is_told_as_such_and_not_as_a_want_of_memory(tmp_path: Path) -> None:
    content = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (100000, 9000, 9000, 3)}", bytes(64))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", content)
    with pytest.raises(DataError, match=r"announces 24,300,000,000,000 bytes, too many for \d+ stored bytes"):
        NpzSet(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("offset", "value", "reason"), [(8, 1, "encrypted"), (10, 97, "method 97"), (10, 14, "method 14")]
)
def test_an_npz_that_is_encrypted_or_of_an_unknown_method_is_one_sentence(
    tmp_path: Path, offset: int, value: int, reason: str
) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((1, 2, 2, 3), np.uint8))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[content.rindex(b"PK\1\2") + offset] = value
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        NpzSet(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "labels", [np.zeros((2, 2), np.int64), np.full(2, (1 << 64) - 1, np.uint64), np.array([np.nan, 0])]
)
def test_labels_of_an_npz_that_are_no_class_numbers_are_no_labels(tmp_path: Path, labels: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 2, 2, 3), np.uint8), labels=labels)
    assert NpzSet(tmp_path / "a.npz").labels is None


def test_names_in_an_npz_cannot_move_the_terminal(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"\x1b[2J": np.zeros(3)})
    with pytest.raises(DataError, match=r"it has: \\x1b\[2J"):
        NpzSet(tmp_path / "a.npz")


def test_a_header_is_read_from_any_stream() -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 3), np.int16))
    stream.seek(0)
    assert read_header(stream)[:3] == (np.dtype(np.int16), False, (2, 3))
