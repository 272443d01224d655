"""Batches with instances: the images of the stream, each with one of its own neighbors."""

import torch

from kennel.data.dataset import ImageDataset
from kennel.data.instances import InstanceBatches
from kennel.data.loader import BatchLoader

CPU = torch.device("cpu")
NEIGHBORS = torch.stack([torch.arange(12), (torch.arange(12) + 1) % 12, (torch.arange(12) + 2) % 12], 1)


def batches(path, *, seed=3, resident_bytes=None, rows=slice(None)):
    """Of eight images, of a set of twelve."""
    stream = BatchLoader(ImageDataset(path), 8, seed, CPU, resident_bytes, rows=rows)
    return stream, InstanceBatches(stream, NEIGHBORS, seed)


def test_each_image_is_shown_with_one_of_its_neighbors_drawn_anew(packed_set):
    path = packed_set(count=12)
    stream, instances = batches(path)
    drawn = set()
    for seen in range(0, 240, 8):
        pixels, labels = instances.at(seen)
        assert torch.equal(pixels, stream.at(seen)[0])
        offset = (labels - stream.indices(seen)) % 12
        assert offset.max() <= 2
        drawn |= set(zip(stream.indices(seen).tolist(), offset.tolist(), strict=True))
    assert len(drawn) == 36  # every image with each of its three


def test_instances_depend_on_the_seed_and_the_place_alone(packed_set):
    path = packed_set(count=12)
    first = batches(path)[1].at(16)[1]
    assert torch.equal(batches(path)[1].at(16)[1], first)
    assert not torch.equal(batches(path)[1].at(40)[1], first)


def test_a_set_that_is_streamed_gives_the_same_instances(packed_set):
    path = packed_set(count=12)
    held, streamed = batches(path), batches(path, resident_bytes=0)
    assert not streamed[0].is_resident
    with streamed[0]:
        for seen in (0, 8, 16):
            for one, other in zip(held[1].at(seen), streamed[1].at(seen), strict=True):
                assert torch.equal(one, other)


def test_ranks_share_what_a_process_alone_draws(packed_set):
    path = packed_set(count=12)
    whole = batches(path)[1].at(24)[1]
    parts = [batches(path, rows=slice(start, start + 4))[1].at(24)[1] for start in (0, 4)]
    assert torch.equal(torch.cat(parts), whole)
