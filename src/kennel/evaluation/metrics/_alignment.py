"""Pixel comparison of two images: the minimum difference over small shifts and mirroring.

For an image x and a candidate y, original and mirrored, each shift s within the range is tried. The mean
square of x - y over the overlap is

    E(s) = (sum x(i)^2 + sum y(i - s)^2 - 2 sum x(i) y(i - s)) / values in the overlap

The last sum is a correlation, so Fourier transforms give it for all shifts together.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft

from kennel.data.images import PixelArray
from kennel.features.moments import Float64Array, IndexArray

SHIFT_DIVISOR = 8  # The maximum shift is the side divided by this
MAX_UNEXPLAINED = 0.3
"""The maximum share of unexplained variance for a copy; less for sets in which real images are similar
(`kennel.evaluation.metrics.near_copies.allowed_difference`).

On Stanford Dogs at 64 pixels, copies that were shifted, mirrored and recompressed leave at most 0.07; of
1,425 other images, none below 0.34 was another photograph.
"""
COMPARED_SIDE = 64
"""Images of twice this side or more are averaged down to about this side before they are compared."""


@dataclass(frozen=True)
class Alignment:
    """The best fitting candidate of an image: mirrored or not, then moved by `right` and `down` pixels.

    `rms` is the root of the mean square difference in the overlap, in levels of 255. `unexplained` is the
    mean square as a share of the candidate's variance there: 0 for a copy, 1 for the candidate's mean color,
    about 2 for unrelated images of equal contrast. The images match up to `allowed` of it.
    """

    candidate: int
    flipped: bool
    right: int
    down: int
    rms: float
    unexplained: float
    allowed: float = MAX_UNEXPLAINED

    @property
    def matches(self) -> bool:
        """Whether both show the same image; a candidate without contrast must be equal."""
        return self.unexplained <= self.allowed

    def scaled(self, factor: int) -> "Alignment":
        """The same alignment in pixels of images whose sides are `factor` times as long."""
        return replace(self, right=self.right * factor, down=self.down * factor)

    def words(self) -> str:
        """The result in words."""
        if not self.matches:
            return "another picture"
        changes = ["flipped"] if self.flipped else []
        if self.right or self.down:
            changes.append(f"shifted by ({self.right}, {self.down})")
        return ", ".join(["same picture", *changes])


def align(image: PixelArray, candidates: PixelArray) -> Alignment:
    """The best fit of uint8 `candidates` (N, C, H, W) to `image` (C, H, W), by `Alignment.unexplained`. Gray
    is repeated if the other side has color. Of equal fits the smallest shift wins, then the unmirrored one,
    then the first."""
    one, others = np.broadcast_arrays(image[None].astype(np.float64), candidates.astype(np.float64))
    limit = max(1, min(image.shape[1:]) // SHIFT_DIVISOR)
    shifts = np.arange(-limit, limit + 1)
    distance = np.abs(shifts)[:, None] + np.abs(shifts)
    fits = []
    for flipped in (False, True):
        oriented = others[..., ::-1] if flipped else others
        for candidate, errors in enumerate(_errors(one[0], oriented, shifts)):
            # Rounded, so that rounding errors do not decide between exact fits.
            best = np.lexsort((distance.ravel(), np.round(errors, 4).ravel()))[0]
            down, right = (int(shifts[index]) for index in np.unravel_index(best, errors.shape))
            rms, unexplained = _difference(one[0], oriented[candidate], right, down)
            fits.append(Alignment(candidate, flipped, right, down, rms, unexplained))
    return min(fits, key=lambda fit: fit.unexplained)


def cell_size(side: int) -> int:
    """The side of the pixel blocks that are averaged before images of this side are compared."""
    return max(1, side // COMPARED_SIDE)


def average_cells(pixels: PixelArray, factor: int) -> PixelArray:
    """Rounded means of square blocks, (N, C, H // factor, W // factor)."""
    if factor == 1:
        return pixels
    count, channels, height, width = pixels.shape
    rows, columns = height // factor, width // factor
    cut = pixels[:, :, : rows * factor, : columns * factor]
    cells = cut.reshape(count, channels, rows, factor, columns, factor)
    means: PixelArray = np.rint(cells.mean((3, 5), dtype=np.float32)).astype(np.uint8)
    return means


def _errors(one: Float64Array, others: Float64Array, shifts: IndexArray) -> Float64Array:
    """Mean squared differences, (candidates, shifts down, shifts right)."""
    channels, height, width = one.shape
    # This padding keeps the correlation from wrapping around.
    size = height + int(shifts[-1]), width + int(shifts[-1])
    spectra = fft.rfft2(one, size) * fft.rfft2(others, size).conj()
    products = fft.irfft2(spectra.sum(1), size)[:, shifts[:, None], shifts]
    squares = _overlaps(one[None], shifts) + _overlaps(others, -shifts)
    values = np.outer(height - np.abs(shifts), width - np.abs(shifts)) * channels
    errors: Float64Array = np.maximum(squares - 2 * products, 0.0) / values
    return errors


def _overlaps(pixels: Float64Array, shifts: IndexArray) -> Float64Array:
    """The sum of squares of each image over the part that a shift leaves inside: (N, shifts down, shifts
    right)."""
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
    """`rms` and `unexplained` at one shift, summed directly, so that an exact copy has exactly 0."""
    _, height, width = one.shape
    inside = one[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
    moved = other[:, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)]
    square = float(((inside - moved) ** 2).mean())
    variance = float(moved.var(axis=(1, 2)).mean())
    if variance > 0:
        return square**0.5, square / variance
    return square**0.5, float("inf") if square else 0.0
