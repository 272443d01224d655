"""The `pixels` extractor: no network and no weights."""

from torch.nn import functional

from kennel.features.base import EXTRACTORS, Extracted, Extractor, as_rgb, exact_inference
from kennel.images import to_float
from kennel.shapes import Pixels

CELLS = 16


@EXTRACTORS.register("pixels")
class PixelCells(Extractor):
    """The means of 16x16 cells in red, green and blue, in [-1, 1]: 768 numbers. It measures color and layout,
    not content: for demos and tests without weights, and as a lower bound for other extractors."""

    name = "pixels"
    dimension = 3 * CELLS * CELLS
    resize = "area mean over 16x16 cells, scaled to [-1, 1]"
    caution = (
        "The pixels extractor sees color and layout only: its scores do not say whether the images look real."
    )

    def extract(self, pixels: Pixels) -> Extracted:
        """Float32 features on the CPU, no logits; see `Extractor.extract`."""
        with exact_inference(self.device):
            cells = functional.adaptive_avg_pool2d(to_float(as_rgb(pixels.cpu())), CELLS)
            return Extracted(cells.flatten(1))
