"""Whether two images are one picture: the least difference over small shifts and the mirror.

Features say which training images to look at; pixels say whether one of them was copied. Of an image x and a
candidate y, as it is and mirrored, each shift s within the reach is tried, and the mean square of x - y taken
where the two overlap:

    E(s) = (sum x(i)^2 + sum y(i - s)^2 - 2 sum x(i) y(i - s)) / values in the overlap

The last sum is a correlation, so Fourier transforms give it for all shifts at once.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import fft

from kennel.data.images import PixelArray

REACH = 8
"""Shifts of up to a side divided by this are tried."""
SAME = 0.3
"""At most this share of the variance may be left for two images to be one picture, and less where real
pictures are alike by nature (`kennel.evaluation.metrics.near_copies.allowed_difference`).

On Stanford Dogs at 64 pixels, copies that were shifted, mirrored and recompressed leave 0.07 at most, and of
1,425 other pictures none below 0.34 was another photograph.
"""
ENOUGH_PIXELS = 64
"""Images of twice this side and more are averaged down to it, or a little more, before they are compared."""

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """Which candidate fits an image best, and how: mirrored or not, then moved by `right` and `down` pixels.

    `rms` is the root of the mean square difference where they overlap, in levels of 255; `unexplained` the
    mean square as a share of the candidate's variance there: 0 for a copy, 1 for the candidate's mean colour,
    about 2 for unrelated pictures of one contrast. Up to `allowed` of it the two are one picture.
    """

    candidate: int
    flipped: bool
    right: int
    down: int
    rms: float
    unexplained: float
    allowed: float = SAME

    @property
    def same(self) -> bool:
        """Whether the two are one picture; a candidate without contrast is only matched exactly."""
        return self.unexplained <= self.allowed

    def enlarged(self, factor: int) -> "Alignment":
        """The same, with shifts told in pixels of images whose sides are `factor` times as long."""
        return replace(self, right=self.right * factor, down=self.down * factor)

    def words(self) -> str:
        """What was found, for a table or a picture."""
        if not self.same:
            return "another picture"
        changes = ["flipped"] if self.flipped else []
        if self.right or self.down:
            changes.append(f"shifted by ({self.right}, {self.down})")
        return ", ".join(["same picture", *changes])


def align(image: PixelArray, candidates: PixelArray) -> Alignment:
    """The best fit of uint8 `candidates` (N, C, H, W) to `image` (C, H, W), by `Alignment.unexplained`.

    Where one side is grey and the other has colour, the grey one is repeated. Of equal fits the least moved
    one wins, not mirrored before mirrored, then the first.
    """
    one, others = np.broadcast_arrays(image[None].astype(np.float64), candidates.astype(np.float64))
    reach = max(1, min(image.shape[1:]) // REACH)
    shifts = np.arange(-reach, reach + 1)
    found = []
    for flipped in (False, True):
        turned = others[..., ::-1] if flipped else others
        for candidate, errors in enumerate(_errors(one[0], turned, shifts)):
            # Rounding must not prefer one of several exact fits.
            remote = np.abs(shifts)[:, None] + np.abs(shifts)
            place = np.lexsort((remote.ravel(), np.round(errors, 4).ravel()))[0]
            down, right = (int(shifts[index]) for index in np.unravel_index(place, errors.shape))
            rms, unexplained = _difference(one[0], turned[candidate], right, down)
            found.append(Alignment(candidate, flipped, right, down, rms, unexplained))
    return min(found, key=lambda one: one.unexplained)


def cell(side: int) -> int:
    """How many pixels of a side are averaged into one before images of that side are compared."""
    return max(1, side // ENOUGH_PIXELS)


def averaged(pixels: PixelArray, factor: int) -> PixelArray:
    """Rounded means of square cells, (N, C, H // factor, W // factor)."""
    if factor == 1:
        return pixels
    count, channels, height, width = pixels.shape
    rows, columns = height // factor, width // factor
    cut = pixels[:, :, : rows * factor, : columns * factor]
    cells = cut.reshape(count, channels, rows, factor, columns, factor)
    means: PixelArray = np.rint(cells.mean((3, 5), dtype=np.float32)).astype(np.uint8)
    return means


def _errors(one: Float64Array, others: Float64Array, shifts: npt.NDArray[np.int64]) -> Float64Array:
    """Mean squares of the difference, (candidates, shifts down, shifts right)."""
    channels, height, width = one.shape
    # Of this size nothing that a shift moves out comes in again at the other end.
    size = height + int(shifts[-1]), width + int(shifts[-1])
    spectra = fft.rfft2(one, size) * fft.rfft2(others, size).conj()
    products = fft.irfft2(spectra.sum(1), size)[:, shifts[:, None], shifts]
    squares = _overlaps(one[None], shifts) + _overlaps(others, -shifts)
    values = np.outer(height - np.abs(shifts), width - np.abs(shifts)) * channels
    errors: Float64Array = np.maximum(squares - 2 * products, 0.0) / values
    return errors


def _overlaps(pixels: Float64Array, shifts: npt.NDArray[np.int64]) -> Float64Array:
    """Of each image the sums of squares over what a shift leaves inside: (N, shifts down, shifts right)."""
    count, _, height, width = pixels.shape
    table = np.zeros((count, height + 1, width + 1))
    table[:, 1:, 1:] = (pixels**2).sum(1).cumsum(1).cumsum(2)
    top, bottom = np.maximum(shifts, 0)[:, None], (height + np.minimum(shifts, 0))[:, None]
    left, right = np.maximum(shifts, 0), width + np.minimum(shifts, 0)
    sums: Float64Array = (
        table[:, bottom, right] - table[:, top, right] - table[:, bottom, left] + table[:, top, left]
    )
    return sums


def _difference(one: Float64Array, other: Float64Array, right: int, down: int) -> tuple[float, float]:
    """`rms` and `unexplained` at one shift, summed plainly: an exact copy is at exactly 0."""
    _, height, width = one.shape
    inside = one[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
    moved = other[:, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)]
    square = float(((inside - moved) ** 2).mean())
    variance = float(moved.var(axis=(1, 2)).mean())
    if variance > 0:
        return square**0.5, square / variance
    return square**0.5, float("inf") if square else 0.0
