"""The stream shows every image once an epoch and depends on the position alone."""

import json
import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from kennel.data.dataset import ImageDataset
from kennel.data.loader import BatchLoader
from kennel.errors import DataError
from scarce import write_scarce_set

CPU = torch.device("cpu")


@pytest.fixture(params=[0, 1 << 30], ids=["mapped", "resident"])
def stream(request, packed_set):
    packed = ImageDataset(packed_set(count=37, channels=3, classes=5))
    with BatchLoader(packed, 8, 0, CPU, resident_bytes=request.param) as stream:
        yield stream


def test_every_image_is_shown_once_an_epoch_whatever_the_batch(stream):
    shown = torch.cat([stream.indices(position) for position in range(0, 37 * 8, 8)])
    for epoch in range(8):
        assert sorted(shown[epoch * 37 : (epoch + 1) * 37].tolist()) == list(range(37))


def test_epochs_have_orders_of_their_own(stream):
    shown = torch.cat([stream.indices(position) for position in range(0, 80, 8)])
    assert shown[:37].tolist() != shown[37:74].tolist()


def test_a_batch_is_a_function_of_the_position_alone(stream):
    later = stream.at(120)[0]
    stream.at(0)
    assert torch.equal(stream.at(120)[0], later)


def test_pixels_and_labels_are_those_of_the_set_in_the_order_of_the_indices(stream):
    pixels, labels = stream.at(32)
    indices = stream.indices(32).numpy()
    assert np.array_equal(pixels.numpy(), stream.dataset.images[indices])
    assert np.array_equal(labels.numpy(), stream.dataset.labels[indices])
    assert pixels.dtype == torch.uint8


def test_a_batch_larger_than_the_set_spans_epochs(packed_set):
    stream = BatchLoader(ImageDataset(packed_set(count=5)), 12, 0, CPU)
    assert sorted(stream.indices(0)[:5].tolist()) == list(range(5))
    assert stream.at(0)[0].shape == (12, 1, 8, 8)


@pytest.mark.parametrize("table_images", [10, 1 << 22], ids=["computed order", "table"])
def test_streamed_and_resident_batches_are_identical_wherever_one_begins(packed_set, table_images):
    packed = ImageDataset(packed_set(count=50, channels=3, classes=3))
    both = [
        BatchLoader(packed, 16, 7, CPU, resident_bytes=room, table_images=table_images)
        for room in (0, 1 << 30)
    ]
    assert [stream.is_resident for stream in both] == [False, True]
    for position in [*range(0, 800, 16), 32, 48, 5 * 16]:
        (pixels, labels), (same_pixels, same_labels) = (stream.at(position) for stream in both)
        assert torch.equal(pixels, same_pixels)
        assert torch.equal(labels, same_labels)
        assert labels.dtype == same_labels.dtype == torch.int64
        assert pixels.stride() == same_pixels.stride()
    for stream in both:
        stream.close()


def test_a_process_may_take_its_rows_of_every_batch(packed_set, stream):
    whole, labels = stream.at(24)
    for rows in (slice(0, 3), slice(3, 8), slice(1, None, 2)):
        room = stream.dataset.images.nbytes if stream.is_resident else 0
        with BatchLoader(stream.dataset, 8, 0, CPU, resident_bytes=room, rows=rows) as part:
            pixels, its_labels = part.at(24)
            assert torch.equal(pixels, whole[rows])
            assert torch.equal(its_labels, labels[rows])
            assert torch.equal(part.at(32)[0], stream.at(32)[0][rows])


def test_a_set_that_is_cut_off_while_it_is_streamed_is_told_in_a_sentence(packed_set):
    packed = ImageDataset(packed_set(count=200))
    with BatchLoader(packed, 8, 0, CPU, resident_bytes=0) as stream:
        os.truncate(packed.path / "images.npy", 128)
        with pytest.raises(DataError, match="can no longer be read"):
            list(map(stream.at, range(0, 400, 8)))


def interrupted(stream):
    stream.at(0)
    assert "kennel-ahead" in [thread.name for thread in threading.enumerate()]
    raise KeyboardInterrupt


def test_the_thread_ends_with_the_block_also_after_an_interrupt(packed_set):
    packed = ImageDataset(packed_set(count=20))
    with pytest.raises(KeyboardInterrupt), BatchLoader(packed, 8, 0, CPU, resident_bytes=0) as stream:
        interrupted(stream)
    assert "kennel-ahead" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("table_images", [10, 1 << 22], ids=["computed order", "table"])
def test_on_a_gpu_batches_are_the_same_and_nobody_waits_for_it(packed_set, table_images):
    packed = ImageDataset(packed_set(count=5000, channels=3, size=32, classes=3))
    expected = BatchLoader(packed, 64, 7, CPU, 1 << 30, table_images=table_images)
    gpu, busy = torch.device("cuda"), torch.randn(4096, 4096, device="cuda")
    for room in (0, 1 << 30):
        with BatchLoader(packed, 64, 7, gpu, room, table_images=table_images) as stream:
            given = []
            torch.cuda.set_sync_debug_mode("error")
            try:
                for position in range(0, 200 * 64, 64):
                    busy = (busy @ busy).clamp(-1, 1)  # so that the GPU is always behind
                    pixels, labels = stream.at(position)
                    given.append((pixels.sum(dtype=torch.int64), (pixels.flatten(1)[:, 0] * labels).sum()))
            finally:
                torch.cuda.set_sync_debug_mode("default")
            for number, (total, weighted) in enumerate(given):
                pixels, labels = expected.at(64 * number)
                assert total.item() == pixels.sum(dtype=torch.int64).item()
                assert weighted.item() == (pixels.flatten(1)[:, 0] * labels).sum().item()


def test_it_is_said_where_the_set_is(packed_set):
    packed = ImageDataset(packed_set(count=20, size=16))
    assert BatchLoader(packed, 8, 0, CPU).about == "The set (5.12 kB) is in the memory of cpu."
    assert BatchLoader(packed, 8, 0, CPU, 10).about == f"The set (5.12 kB) is streamed from {packed.path}."


def test_labels_are_held_in_as_few_bytes_as_the_classes_need_and_given_as_int64(packed_set):
    for classes, kind in ((2, torch.int8), (128, torch.int8), (129, torch.int16)):
        packed = ImageDataset(packed_set(count=300, classes=classes, name=f"{classes}"))
        stream = BatchLoader(packed, 8, 0, CPU)
        assert stream._labels.dtype == kind
        labels = torch.cat([stream.at(position)[1] for position in range(0, 304, 8)])[:300]
        assert labels.sort().values.tolist() == sorted(packed.labels.tolist())


def test_labels_beyond_the_classes_are_refused(packed_set):
    folder = packed_set(count=20, classes=2)
    np.save(folder / "labels.npy", np.arange(20))
    with pytest.raises(DataError, match="beyond its 2 classes"):
        BatchLoader(ImageDataset(folder), 8, 0, CPU)


def test_a_device_without_room_is_told_with_the_remedy(packed_set, monkeypatch):
    packed = ImageDataset(packed_set())

    def no_room(*shape, **how):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("kennel.data.loader.torch.empty", no_room)
    with pytest.raises(DataError, match="--device-cache never"):
        BatchLoader(packed, 8, 0, CPU, 1 << 40)


TEN_MILLION = """
import resource, sys, time
import torch
from kennel.data.dataset import ImageDataset
from kennel.data.loader import BatchLoader

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) << 10

before = peak()
packed = ImageDataset(sys.argv[1])
with BatchLoader(packed, 64, 0, torch.device("cpu"), 0) as stream:
    for position in (0, len(packed) - 64, 7 * len(packed)):
        for batch in range(12):
            pixels, labels = stream.at(position + 64 * batch)
            assert pixels.shape == (64, 3, 64, 64) and int(labels.max()) == 0
print(len(packed), peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads its memory from /proc")
def test_ten_million_images_are_streamed_in_a_hundred_megabytes(tmp_path):
    """123 GB of zeros in files with holes, which take no room on the disk."""
    count = 10_000_000
    for name, shape, kind in (("images", (count, 3, 64, 64), "|u1"), ("labels", (count,), "<i8")):
        with (tmp_path / f"{name}.npy").open("wb") as file:
            about = {"descr": kind, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, about)
            try:
                file.truncate(file.tell() + np.dtype(kind).itemsize * math.prod(shape))
            except OSError as error:
                pytest.skip(f"this file system does not take a file with holes of 123 GB ({error})")
    about = {"format": 1, "count": count, "classes": ["a", "b"], "fingerprint": "zeros"}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    outcome = subprocess.run(
        [sys.executable, "-c", TEN_MILLION, str(tmp_path)], capture_output=True, text=True, check=True
    )
    opened, grown = map(int, outcome.stdout.split())
    assert opened == count
    # 10 MB of labels, 33 MB to read them, 2 x 16 batches ahead, blocks of the order.
    assert grown < 100 << 20


@pytest.mark.parametrize("resident_bytes", [0, 1 << 30], ids=["mapped", "resident"])
def test_balanced_batches_show_every_class_as_often_as_the_largest(tmp_path, resident_bytes):
    packed = write_scarce_set(tmp_path / "set", (9, 4, 1))
    with BatchLoader(packed, 27, 0, CPU, resident_bytes, balanced=True) as stream:
        shown = stream.indices(0).numpy()
        pixels, labels = stream.at(0)
        later = stream.indices(27)
    counts = np.bincount(shown, minlength=len(packed))
    own = [sorted(counts[packed.labels == label].tolist()) for label in range(3)]
    assert own == [[1] * 9, [2, 2, 2, 3], [9]]
    assert np.array_equal(pixels.numpy(), packed.images[shown])
    assert np.array_equal(labels.numpy(), packed.labels[shown])
    assert later.tolist() != shown.tolist()


def test_a_set_without_classes_cannot_be_balanced(packed_set):
    with pytest.raises(DataError, match="has no classes to balance"):
        BatchLoader(ImageDataset(packed_set()), 8, 0, CPU, balanced=True)
