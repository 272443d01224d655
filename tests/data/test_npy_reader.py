"""Rows are read as they are in the file, and a file that fails is told in a sentence."""

import os

import numpy as np
import pytest

from kennel.data.npy_reader import NpyReader
from kennel.errors import DataError

ROWS = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, ROWS)
    return path


def opened(path):
    return NpyReader(path, np.load(path, mmap_mode="r"))


def test_rows_are_those_of_the_array_in_the_order_asked_for(file):
    rows = np.array([49, 3, 3, 0, 17])
    into = np.empty((5, 3, 8, 8), np.uint8)
    reader = opened(file)
    reader.announce(rows)
    reader.read(rows, into)
    assert np.array_equal(into, ROWS[rows])


def test_numbers_of_several_bytes_are_read_as_well(tmp_path):
    numbers = np.arange(1000, dtype=np.int64) * 10**12
    np.save(tmp_path / "labels.npy", numbers)
    assert np.array_equal(np.concatenate(list(opened(tmp_path / "labels.npy").chunks())), numbers)


def test_chunks_are_the_whole_file(file, monkeypatch):
    monkeypatch.setattr("kennel.data.npy_reader._CHUNK_BYTES", 7 * 192)
    chunks = list(opened(file).chunks())
    assert [len(chunk) for chunk in chunks] == [7] * 7 + [1]
    assert np.array_equal(np.concatenate(chunks), ROWS)


def test_a_file_that_is_cut_off_behind_the_map_is_told_and_does_not_end_the_process(file):
    reader = opened(file)
    os.truncate(file, file.stat().st_size - 5 * 192 - 1)
    into = np.empty((1, 3, 8, 8), np.uint8)
    reader.read(np.array([43]), into)
    with pytest.raises(DataError, match=r"images\.npy' can no longer be read \(it ends before image 44\)"):
        reader.read(np.array([44]), into)
    with pytest.raises(DataError, match="can no longer be read"):
        list(reader.chunks())


def test_a_file_that_is_replaced_or_removed_is_read_on_as_it_was(file):
    reader = opened(file)
    np.save(file.with_name("new.npy"), ROWS + 1)
    file.with_name("new.npy").replace(file)
    into = np.empty((1, 3, 8, 8), np.uint8)
    reader.read(np.array([7]), into)
    assert np.array_equal(into[0], ROWS[7])
    file.unlink()
    reader.read(np.array([8]), into)
    assert np.array_equal(into[0], ROWS[8])


def test_a_disk_that_fails_is_told(file):
    reader = opened(file)
    reader.close()
    # A descriptor that does not read stands for the disk: EBADF in place of EIO.
    reader._file = os.fdopen(os.open(file.with_name("out"), os.O_WRONLY | os.O_CREAT), "wb", buffering=0)
    with pytest.raises(DataError, match="can no longer be read"):
        reader.read(np.array([1]), np.empty((1, 3, 8, 8), np.uint8))
    reader._file.close()


def test_what_cannot_be_opened_or_is_in_another_order_is_refused(file):
    array = np.load(file, mmap_mode="r")
    with pytest.raises(DataError, match="C order"):
        NpyReader(file, np.asfortranarray(ROWS))
    file.unlink()
    with pytest.raises(DataError, match="No such file"):
        NpyReader(file, array)
