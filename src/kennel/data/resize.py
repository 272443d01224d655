"""Resizes a set's images to one size for evaluation, as `kennel data prepare` does."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from kennel.data.images import ImageSource, PixelArray
from kennel.data.prepare.clean import to_square
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError, JudgementError

_DESCRIPTIONS = {
    # These texts are part of a score's protocol: a changed text makes older scores incomparable.
    "crop": "the centre square of each resized",
    "squash": "each squashed, whatever its aspect,",
    "pad": "each resized with black bars",
}


@dataclass(frozen=True)
class Resize:
    """Resizes images to squares of `size` pixels; `fit` is as in `PrepareOptions`, else `DataError`."""

    size: int
    fit: str = "crop"

    def __post_init__(self) -> None:
        self._options()

    def _options(self) -> PrepareOptions:
        return PrepareOptions(size=self.size, fit=self.fit)

    @property
    def key(self) -> str:
        """A suffix for the fingerprint of resized images."""
        return f"{self.fit}-{self.size}-{self._options().resample}"

    def description(self) -> str:
        """What happens to the images, for a score's protocol."""
        resample = self._options().resample
        return f"{_DESCRIPTIONS[self.fit]} to {self.size}x{self.size} ({resample}, antialiased)"

    def changes(self, width: int, height: int) -> bool:
        """Whether images of this size are resized."""
        return (width, height) != (self.size, self.size)

    def enlarges(self, width: int, height: int) -> bool:
        """Whether the used part of such an image is smaller than the square."""
        return (max if self.fit == "pad" else min)(width, height) < self.size

    def image(self, image: Image.Image) -> PixelArray:
        """An image of mode "L" or "RGB" as uint8 (C, size, size)."""
        return to_square(image, self.size, self._options())

    def pixels(self, pixels: PixelArray) -> PixelArray:
        """uint8 (C, H, W) with C 1 or 3 as uint8 (C, size, size)."""
        channels_last = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        return self.image(Image.fromarray(np.ascontiguousarray(channels_last)))


class SizesError(DataError, JudgementError):
    """Images cannot be judged because their sizes differ; a `Resize` solves it.

    Attributes: `problem`, the message without the remedy; `side`, the shortest side of the images seen.
    """

    def __init__(self, problem: str, side: int) -> None:
        self.problem, self.side = problem, side
        super().__init__(f"{problem}: bring one to the other's size, as `kennel judge --size {side}` does")


class ResizedSet:
    """Another set's images, resized as they are read; an `ImageSource`."""

    def __init__(self, whole: ImageSource, resize: Resize) -> None:
        self._whole, self._resize = whole, resize
        channels, height, width = whole.shape
        self.name, self.shape = whole.name, (channels, resize.size, resize.size)
        self.fit = resize.description()
        self.enlarged = len(whole) if resize.enlarges(width, height) else 0

    def __getattr__(self, name: str) -> Any:
        """Optional attributes of the other set."""
        if name not in ("labels", "classes", "class_sampling", "teacher", "generated_count"):
            raise AttributeError(name)
        return getattr(self._whole, name)

    @property
    def fingerprint(self) -> str:
        return f"{self._whole.fingerprint}/{self._resize.key}"

    def __len__(self) -> int:
        return len(self._whole)

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        for batch in self._whole.batches(size, first, step):
            yield np.stack([self._resize.pixels(pixels) for pixels in batch])


def resized(images: ImageSource, resize: Resize | None) -> ImageSource:
    """The set with resized images; the set itself if `resize` is None or changes nothing."""
    if resize is None or not resize.changes(images.shape[2], images.shape[1]):
        return images
    return ResizedSet(images, resize)
