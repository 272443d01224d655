"""Bringing the images of a set to one size, as `kennel data prepare` does, so that any two can be judged."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from kennel.data.images import ImageSource, PixelArray
from kennel.data.prepare.clean import to_square
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError, JudgementError

_WORDS = {
    "crop": "the centre square of each resized",
    "squash": "each squashed, whatever its aspect,",
    "pad": "each resized with black bars",
}


@dataclass(frozen=True)
class Resize:
    """Every image to a square of `size` pixels, by `fit` as in `PrepareOptions`: "crop", "squash", "pad"."""

    size: int
    fit: str = "crop"

    def __post_init__(self) -> None:
        """Raises `DataError` where a value cannot be meant."""
        self._options()

    def _options(self) -> PrepareOptions:
        return PrepareOptions(size=self.size, fit=self.fit)

    @property
    def key(self) -> str:
        """What a fingerprint of pixels gets beside it."""
        return f"{self.fit}-{self.size}-{self._options().resample}"

    def words(self) -> str:
        """What becomes of the images, for a protocol."""
        return f"{_WORDS[self.fit]} to {self.size}x{self.size} ({self._options().resample}, antialiased)"

    def changes(self, width: int, height: int) -> bool:
        """Whether images of this size are not left as they are."""
        return (width, height) != (self.size, self.size)

    def enlarges(self, width: int, height: int) -> bool:
        """Whether the part that is taken of such an image has fewer pixels than the square."""
        return (max if self.fit == "pad" else min)(width, height) < self.size

    def image(self, image: Image.Image) -> PixelArray:
        """A picture of mode "L" or "RGB" as uint8 (C, size, size)."""
        return to_square(image, self.size, self._options())

    def pixels(self, pixels: PixelArray) -> PixelArray:
        """uint8 (C, H, W), C being 1 or 3, as uint8 (C, size, size)."""
        stored = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        return self.image(Image.fromarray(np.ascontiguousarray(stored)))


class SizesError(DataError, JudgementError):
    """Images that cannot be judged as they are, since their sizes differ; `Resize` is the remedy.

    Attributes: `problem`, the message without its remedy; `side`, the shortest side among the images seen.
    """

    def __init__(self, problem: str, side: int) -> None:
        self.problem, self.side = problem, side
        super().__init__(f"{problem}: bring one to the other's size, as `kennel judge --size {side}` does")


class ResizedSet:
    """Another set's images at one size; an `ImageSet`. They are resized as they are read."""

    def __init__(self, whole: ImageSource, resize: Resize) -> None:
        self._whole, self._resize = whole, resize
        _, height, width = whole.shape
        self.fit = resize.words()
        self.enlarged = len(whole) if resize.enlarges(width, height) else 0

    def __getattr__(self, name: str) -> Any:
        """What the other set says of its images beside their pixels, where it does."""
        if name not in ("labels", "classes", "class_sampling", "teacher"):
            raise AttributeError(name)
        return getattr(self._whole, name)

    @property
    def name(self) -> str:
        """That of the other set."""
        return self._whole.name

    @property
    def fingerprint(self) -> str:
        """Of the other set and the resize."""
        return f"{self._whole.fingerprint}/{self._resize.key}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, size, size)."""
        return self._whole.shape[0], self._resize.size, self._resize.size

    def __len__(self) -> int:
        return len(self._whole)

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """Images in order, `size` at a time; see `ImageSet.batches`."""
        for batch in self._whole.batches(size, first, step):
            yield np.stack([self._resize.pixels(pixels) for pixels in batch])


def resized(images: ImageSource, resize: Resize | None) -> ImageSource:
    """The set at the size that is asked for: itself where it has that already, or nothing is asked for."""
    if resize is None or not resize.changes(images.shape[2], images.shape[1]):
        return images
    return ResizedSet(images, resize)
