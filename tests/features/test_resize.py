import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.features.resize import half_pixel_bilinear, tensorflow1_bilinear


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
