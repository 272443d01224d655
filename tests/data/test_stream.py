"""The stream shows every image once an epoch and depends on the position alone."""

import numpy as np
import pytest
import torch

from kennel.data.packed import PackedSet
from kennel.data.stream import Stream

CPU = torch.device("cpu")


@pytest.fixture(params=[0, 1 << 30], ids=["mapped", "resident"])
def stream(request, packed_set):
    packed = PackedSet(packed_set(count=37, channels=3, classes=5))
    return Stream(packed, 8, 0, CPU, resident_bytes=request.param)


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
    assert np.array_equal(pixels.numpy(), stream.packed.images[indices])
    assert np.array_equal(labels.numpy(), stream.packed.labels[indices])
    assert pixels.dtype == torch.uint8


def test_a_batch_larger_than_the_set_spans_epochs(packed_set):
    stream = Stream(PackedSet(packed_set(count=5)), 12, 0, CPU)
    assert sorted(stream.indices(0)[:5].tolist()) == list(range(5))
    assert stream.at(0)[0].shape == (12, 1, 8, 8)


def test_the_rows_of_all_processes_are_the_batch(packed_set):
    packed = PackedSet(packed_set(count=37, classes=5))
    whole = Stream(packed, 8, 0, CPU)
    parts = [Stream(packed, 8, 0, CPU, rows=slice(first, first + 4)) for first in (0, 4)]
    for position in (0, 32, 80):
        pixels, labels = zip(*(part.at(position) for part in parts), strict=True)
        assert torch.equal(torch.cat(pixels), whole.at(position)[0])
        assert torch.equal(torch.cat(labels), whole.at(position)[1])
