import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kennel.features.pillow_bicubic import pillow_bicubic


def by_pillow(pixels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    images = [
        np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.BICUBIC))
        for each in pixels.permute(0, 2, 3, 1).numpy()
    ]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


def noise(height: int, width: int) -> torch.Tensor:
    generator = np.random.default_rng([height, width])
    return torch.from_numpy(generator.integers(0, 256, (2, 3, height, width), dtype=np.uint8))


def edges(height: int, width: int) -> torch.Tensor:
    """Black and white blocks, where the cubic overshoots most."""
    return (noise(height // 4 + 1, width // 4 + 1) > 127).repeat_interleave(4, 2).repeat_interleave(4, 3)[
        ..., :height, :width
    ].to(torch.uint8) * 255


@pytest.mark.parametrize("size", [(64, 64), (28, 28), (8, 8), (256, 256), (300, 224), (100, 333), (512, 640)])
@pytest.mark.parametrize("draw", [noise, edges])
def test_every_level_is_pillows(draw, size: tuple[int, int]) -> None:
    pixels = draw(*size)
    assert torch.equal(pillow_bicubic(pixels, 224, 224), by_pillow(pixels, 224, 224))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_every_level_is_that_of_pillows_rows_then_columns(
    height: int, width: int, tall: int, wide: int
) -> None:
    pixels = noise(height, width)
    rows = by_pillow(pixels, height, wide).to(torch.uint8)
    assert torch.equal(pillow_bicubic(pixels, tall, wide), by_pillow(rows, tall, wide))


def test_pictures_of_the_right_size_are_left_alone() -> None:
    pixels = noise(22, 24)
    assert torch.equal(pillow_bicubic(pixels, 22, 24), pixels.float())
