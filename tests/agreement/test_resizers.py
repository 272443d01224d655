"""The resize protocols beside clean-fid, torch-fidelity and torchmetrics, on photographs."""

import numpy as np
import pytest
import torch

from kennel.features.resize import PROTOCOLS


def as_tensor(photo: np.ndarray) -> torch.Tensor:
    """(height, width, 3) to (1, 3, height, width)."""
    return torch.from_numpy(photo.copy()).permute(2, 0, 1)[None]


def ours(protocol: str, photo: np.ndarray) -> np.ndarray:
    """(height, width, 3) to (299, 299, 3)."""
    pixels = as_tensor(photo)
    return PROTOCOLS[protocol].resize(pixels, 299)[0].permute(1, 2, 0).numpy()


@pytest.fixture(params=["640x427", "64x64", "48x320"])
def named_photo(request, photos):
    """A photograph to be shrunk, a crop to be enlarged, and a crop of which each side is one of both."""
    temple, flower = photos
    return request.param, {
        "640x427": temple,
        "64x64": flower[150:214, 250:314],
        "48x320": temple[:320, 90:138],
    }[request.param]


@pytest.mark.parametrize(("protocol", "mode"), [("clean", "clean"), ("pytorch", "legacy_pytorch")])
def test_a_photograph_is_resized_as_clean_fid_does(protocol, mode, named_photo, agree, reference_module):
    name, photo = named_photo
    theirs = reference_module("cleanfid.resize").build_resizer(mode)(photo)
    agree(f"{protocol} resize of {name}, as {mode}", ours(protocol, photo), theirs, "clean-fid")


def test_a_photograph_is_resized_as_torch_fidelity_does(named_photo, agree, reference_module):
    name, photo = named_photo
    resize = reference_module("torch_fidelity.interpolate_compat_tensorflow")
    theirs = resize.interpolate_bilinear_2d_like_tensorflow1x(
        as_tensor(photo).float(), size=(299, 299), align_corners=False
    )
    agree(f"tf1 resize of {name}", ours("tf1", photo), theirs[0].permute(1, 2, 0).numpy(), "torch-fidelity")


def test_no_two_protocols_are_the_same(photos):
    resized = {name: ours(name, photos[0]) for name in PROTOCOLS}
    for one in PROTOCOLS:
        for other in PROTOCOLS:
            if one < other:
                assert np.abs(resized[one] - resized[other]).mean() > 1, (one, other)
