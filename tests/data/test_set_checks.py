from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.writer import PackedWriter
from kennel.data.set_checks import shortage

Write = Callable[..., ImageDataset]


@pytest.fixture
def packed(tmp_path: Path) -> Write:
    """`packed(numbers, labels)`: a set with an image for each number."""

    def make(numbers: list[int], labels: list[int] | None = None) -> ImageDataset:
        classes = tuple(f"class {n}" for n in range(max(labels) + 1)) if labels else ()
        writer = PackedWriter(tmp_path, 2, classes, "grey")
        for number, label in zip(numbers, labels or [-1] * len(numbers), strict=True):
            pixels = np.full((1, 2, 2), number & 255, np.uint8)
            pixels[0, 0, 0] = number >> 8
            writer.add(pixels, label, "a", keep_duplicate=True)
        writer.finish({})
        return ImageDataset(tmp_path)

    return make


def test_a_set_of_one_image_can_give_nothing_but_that(packed: Write) -> None:
    assert shortage(packed([7])) == "it has one image, and training can only reproduce this image"


def test_copies_count_once(packed: Write) -> None:
    said = shortage(packed([7] * 500))
    assert said == "its 500 images are all equal, and training can only reproduce this image"


def test_two_pictures_many_times_over_are_two(packed: Write) -> None:
    assert "it has 2 distinct images among its 300: " in str(shortage(packed([1, 2, 2] * 100)))
    assert "2 distinct images among 512 sampled of its 6,000" in str(shortage(packed([1, 2] * 3000)))


def test_twelve_pictures_are_few_and_a_hundred_are_not(packed: Write) -> None:
    assert str(shortage(packed(list(range(12))))).startswith("it has 12 distinct images: a GAN memorizes")
    assert "99 distinct" in str(shortage(packed(list(range(99)))))
    assert shortage(packed(list(range(100)))) is None


def test_classes_of_one_picture_are_counted_copies_once(packed: Write) -> None:
    labels = [0] * 98 + [1, 2, 2]
    numbers = [*range(98), 500, 600, 600]
    assert shortage(packed(numbers, labels)) == (
        "2 of its 3 classes have a single image, and training can only reproduce it"
    )
