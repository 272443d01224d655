"""The `stacked_classifier` extractor: a classifier of gray images on each channel of a color image.

Stacked MNIST has a digit in each channel, and its 1,000 modes are the triples of digits. A classifier of
single digits counts them, which `kennel extractor train` trains on the gray set.
"""

from pathlib import Path
from typing import Any

import torch

from kennel.errors import WeightsError
from kennel.features.base import EXTRACTORS, ChunkedExtractor, Logits, Precision
from kennel.features.classifier import Classifier, read_classifier
from kennel.shapes import Features, Pixels

CHANNELS = 3
MAX_CLASSES = 16
"""Of the classifier: with 16, the triples have 4,096 logits."""


@EXTRACTORS.register("stacked_classifier")
class StackedClassifier(ChunkedExtractor):
    """Features of the three channels, concatenated (3 x 128), and the log-probabilities of all triples of
    classes: log p(a, b, c) = log p(a) + log p(b) + log p(c), in the order 100a + 10b + c for ten classes.

    Metz et al. 2017 (arXiv 1611.02163), section 3.3.1.
    """

    name = "stacked_classifier"
    dimension = CHANNELS * Classifier.dimension
    cpu_chunk = 64
    resize = "each channel as a gray image, as the classifier takes it"
    logits = "log-probabilities of the triples of classes of a classifier of gray images"

    def __init__(self, single: Classifier) -> None:
        """`single` classifies gray images. Raises `WeightsError` for another one, or too many classes."""
        classes = len(single.facts.classes)
        if single.channels != 1:
            raise WeightsError(
                "the classifier takes color images, and the stacked_classifier extractor needs one of gray "
                "images: train it on the gray set with `kennel extractor train DATA`"
            )
        if classes > MAX_CLASSES:
            raise WeightsError(
                f"the classifier has {classes} classes, so {classes**CHANNELS:,} triples: at most "
                f"{MAX_CLASSES} classes can be stacked"
            )
        self.single = single
        self.device, self.precision = single.device, single.precision
        self.weights_digest = single.weights_digest
        self.resize = f"each channel by itself: {single.resize}"
        self.logits = (
            f"{classes**CHANNELS:,} triples of classes, by a classifier with {single.facts.accuracy:.2%} "
            "held-out accuracy"
        )

    @classmethod
    def open(
        cls,
        weights: Path | None = None,
        *,
        download: bool = True,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        **options: Any,
    ) -> "StackedClassifier":
        """With the classifier of gray images in the file `weights`, written by `kennel extractor train`."""
        if weights is None:
            raise WeightsError(
                "the stacked_classifier extractor needs a classifier of the gray images that were stacked: "
                "train one with `kennel extractor train DATA`, and give its file with --weights"
            )
        state, facts = read_classifier(weights)
        return cls(Classifier(state, facts, device=device, precision=precision, **options))

    def _forward(self, pixels: Pixels) -> tuple[Features, Logits | None]:
        count, channels, height, width = pixels.shape
        # A gray image is three equal channels.
        stacked = pixels if channels == CHANNELS else pixels.expand(-1, CHANNELS, -1, -1)
        features, logits = self.single._forward(stacked.reshape(CHANNELS * count, 1, height, width))
        if logits is None:
            raise WeightsError("the classifier has no logits: train it again")
        first, second, third = logits.float().log_softmax(1).view(count, CHANNELS, -1).unbind(1)
        triples = first[:, :, None, None] + second[:, None, :, None] + third[:, None, None, :]
        return features.view(count, -1), triples.flatten(1)
