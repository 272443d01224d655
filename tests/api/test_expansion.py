"""`kennel.expand` from Python."""

import numpy as np
import pytest

import kennel
from scarce import write_scarce_set

SETTINGS = {
    "image.size": 8,
    "generator.base_channels": 4,
    "discriminator.base_channels": 4,
    "batch_size": 8,
    "num_ticks": 1,
    "validation.every_ticks": 0,
    "compute.precision": "float32",
}


def test_a_set_is_filled_up_by_a_generator_that_is_trained_first_or_given(tmp_path):
    data = write_scarce_set(tmp_path / "mine")
    options = {"images": 16, "settings": SETTINGS, "device": "cpu", "quiet": True}
    big = kennel.expand(data, 6, recipe="digits", **options)
    assert np.bincount(big.labels).tolist() == [20, 6, 12]
    assert big.generated.sum() == big.generated_count == 2
    assert big.path.name == "mine-to6"
    run = kennel.load("runs/expand-mine", device="cpu")
    again = kennel.expand(data, 6, run=run, out="again", device="cpu", quiet=True)
    assert again.fingerprint == big.fingerprint
    with pytest.raises(kennel.KennelError, match="2 generated images already"):
        kennel.expand(big, 9)


def test_a_set_with_enough_images_is_returned_as_it_is(tmp_path):
    data = write_scarce_set(tmp_path / "mine")
    assert kennel.expand(data, 4) is data
