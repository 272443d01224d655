import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kennel.features.resize import PROTOCOLS, clean_bicubic, half_pixel_bilinear, tensorflow1_bilinear


def by_pillow(pixels: np.ndarray, side: int) -> np.ndarray:
    """Pillow's own bicubic of (height, width) as floats."""
    return np.asarray(
        Image.fromarray(pixels.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    )


def test_tensorflow_1_takes_source_as_target_times_given_over_wanted() -> None:
    row = torch.tensor([[[[0, 30, 60]]]], dtype=torch.uint8).expand(1, 1, 3, 3)
    # 3 to 6: positions 0, .5, 1, 1.5, 2, 2.5; the last one has no upper neighbour and repeats the edge.
    expected = torch.tensor([0.0, 15.0, 30.0, 45.0, 60.0, 60.0])
    assert torch.equal(tensorflow1_bilinear(row, 6)[0, 0, 4], expected)


def test_half_pixel_centres_give_another_row() -> None:
    row = torch.tensor([[[[0, 30, 60]]]], dtype=torch.uint8).expand(1, 1, 3, 3)
    expected = torch.tensor([0.0, 7.5, 22.5, 37.5, 52.5, 60.0])
    torch.testing.assert_close(half_pixel_bilinear(row, 6)[0, 0, 0], expected)


def test_the_right_size_is_left_alone() -> None:
    pixels = torch.randint(0, 256, (1, 3, 7, 7), dtype=torch.uint8)
    assert torch.equal(tensorflow1_bilinear(pixels, 7), pixels.float())
    assert torch.equal(half_pixel_bilinear(pixels, 7), pixels.float())
    assert torch.equal(clean_bicubic(pixels, 7), pixels.float())


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(1, 60))
def test_tensorflow_1_bilinear_equals_the_plain_double_loop(height: int, width: int, side: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width)).astype(np.uint8)
    found = tensorflow1_bilinear(torch.from_numpy(pixels)[None, None], side)[0, 0].numpy()
    for target_row, target_column in ((0, 0), (side - 1, side // 2), (side // 3, side - 1)):
        y, x = target_row * height / side, target_column * width / side
        top, left = int(np.float32(y)), int(np.float32(x))
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        corners = pixels[np.ix_([top, bottom], [left, right])].astype(float)
        rows = corners[:, 0] + (corners[:, 1] - corners[:, 0]) * (x - left)
        expected = rows[0] + (rows[1] - rows[0]) * (y - top)
        assert abs(found[target_row, target_column] - expected) < 1e-2


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(64, 64, 299), (32, 48, 299), (299, 299, 299), (400, 300, 299), (299, 640, 299), (1000, 37, 224)],
)
def test_clean_bicubic_equals_pillow_on_floats(height: int, width: int, side: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, height, width)).astype(np.uint8)
    found = clean_bicubic(torch.from_numpy(pixels), side).numpy()
    expected = np.stack([[by_pillow(channel, side) for channel in image] for image in pixels])
    np.testing.assert_allclose(found, expected.clip(0, 255), rtol=0, atol=1e-5 * 255)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), side=st.integers(1, 70))
def test_clean_bicubic_equals_pillow_at_any_size(height: int, width: int, side: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (height, width)).astype(np.uint8)
    found = clean_bicubic(torch.from_numpy(pixels)[None, None], side)[0, 0].numpy()
    np.testing.assert_allclose(found, by_pillow(pixels, side).clip(0, 255), rtol=0, atol=1e-5 * 255)


def test_clean_bicubic_cuts_what_overshoots() -> None:
    edge = np.repeat(np.array([[0] * 8 + [255] * 8]), 16, axis=0).astype(np.uint8)
    pillows = by_pillow(edge, 40)
    assert pillows.min() < -5
    assert pillows.max() > 260
    found = clean_bicubic(torch.from_numpy(edge)[None, None], 40)
    assert (float(found.min()), float(found.max())) == (0, 255)


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_a_flat_picture_stays_flat_under_every_protocol(name: str) -> None:
    for height, width in ((20, 33), (500, 301)):
        resized = PROTOCOLS[name].resize(torch.full((1, 3, height, width), 77, dtype=torch.uint8), 299)
        assert resized.shape == (1, 3, 299, 299)
        assert resized.dtype == torch.float32
        torch.testing.assert_close(resized, torch.full_like(resized, 77.0), rtol=1e-6, atol=0)


def test_the_antialias_averages_where_the_others_skip_rows() -> None:
    stripes = torch.zeros(1, 1, 40, 40, dtype=torch.uint8)
    stripes[:, :, ::4] = 255
    grey = clean_bicubic(stripes, 10)
    assert float((grey - 63.75).abs().max()) < 25
    assert float(tensorflow1_bilinear(stripes, 10).min()) == 255, "every row that it reads is a white one"
