"""Walks through latents and labels."""

import numpy as np
import pytest
import torch

from kennel.errors import NotFiniteError, RunError
from kennel.images import to_uint8
from kennel.networks import StyleGenerator
from kennel.sampling.sampler import latents_of
from kennel.sampling.walk import Stop, Walk
from loaded import loaded


def walk(given, stops, steps=4, **options) -> list[np.ndarray]:
    frames = Walk(
        given.generator, given.recipe.latent, stops, steps, sampling=given.recipe.sampling, **options
    )
    drawn = list(frames)
    assert len(drawn) == len(frames)
    return drawn


def stops(*seeds: int, label: int | None = None) -> list[Stop]:
    return [Stop((seed,), None if label is None else (label,)) for seed in seeds]


@pytest.mark.parametrize("kind", ["dcgan", "stylegan2"])
def test_the_stops_are_the_samples_of_their_seeds(kind):
    given = loaded(kind)
    frames = walk(given, stops(3, 17, 40))
    assert len(frames) == 12
    for number, seed in enumerate((3, 17, 40)):
        sample = given.samples_of((seed,)).pixels()
        assert np.abs(frames[4 * number].astype(int) - sample).max() <= 1
    between = frames[2].astype(int)
    assert min(np.abs(between - frames[0]).max(), np.abs(between - frames[4]).max()) > 5


def test_a_loop_returns_to_the_first_seed_and_without_it_the_last_frame_is_the_last_seed():
    given = loaded()
    looped, once = walk(given, stops(0, 1)), walk(given, stops(0, 1), loop=False)
    assert (len(looped), len(once)) == (8, 5)
    assert np.abs(looped[4].astype(int) - once[4]).max() <= 1
    # The second half of a loop of two seeds is the first one backward.
    assert np.abs(looped[5].astype(int) - looped[3]).max() <= 1


def test_equal_arguments_give_equal_frames_and_batches_change_them_by_rounding_only():
    given = loaded()
    first, again, small = (walk(given, stops(0, 1), batch=batch) for batch in (64, 64, 3))
    assert np.array_equal(first, again)
    assert np.abs(np.stack(first).astype(int) - np.stack(small)).max() <= 1


def test_several_cells_walk_at_once():
    given = loaded()
    cells = walk(given, [Stop((0, 10), None), Stop((1, 11), None)])
    alone = walk(given, stops(10, 11))
    assert cells[0].shape == (2, 1, 8, 8)
    assert (
        max(np.abs(pair[1].astype(int) - one[0]).max() for pair, one in zip(cells, alone, strict=True)) <= 1
    )


@pytest.mark.parametrize("kind", ["dcgan", "stylegan2"])
def test_labels_are_mixed_between_the_stops(kind):
    given = loaded(kind, classes=3)
    frames = walk(given, [Stop((5,), (0,)), Stop((5,), (2,))])
    for frame, label in ((frames[0], 0), (frames[4], 2)):
        assert np.abs(frame.astype(int) - given.samples_of((5,), label=label).pixels()).max() <= 1
    assert np.abs(frames[2].astype(int) - frames[0]).max() > 1


@torch.no_grad()
def test_a_mapping_network_is_walked_in_its_styles_and_truncated_there():
    given = loaded("stylegan2")
    network = given.generator
    assert isinstance(network, StyleGenerator)
    network.mean_style.normal_(generator=torch.Generator().manual_seed(1))
    ends = network.map_latents(latents_of((0, 1), given.recipe.latent))
    middle = network.synthesize(network.truncated(ends.mean(0, keepdim=True), 0.5))
    frame = walk(given, stops(0, 1), truncation=0.5)[2]
    assert np.abs(frame.astype(int) - to_uint8(middle).numpy()).max() <= 1


def test_standing_statistics_are_those_of_samples():
    given = loaded(passes=1)
    frame = walk(given, stops(0, 1))[0]
    assert np.abs(frame.astype(int) - given.samples_of((0,)).pixels()).max() <= 1
    assert np.abs(frame.astype(int) - loaded().samples_of((0,)).pixels()).max() > 1


def test_one_stop_and_damaged_weights_are_refused():
    given = loaded()
    with pytest.raises(RunError, match="at least two"):
        walk(given, stops(0))
    with torch.no_grad():
        next(given.generator.parameters()).fill_(float("nan"))
    with pytest.raises(NotFiniteError):
        walk(given, stops(0, 1))
