"""MobileNetV2 1.0 224 (Sandler et al., arXiv 1801.04381) with batch norms folded into the weights."""

from kennel.features.inverted_residuals import InvertedResidualNetwork, Stage

CLASSES = 1001
INPUT_SIDE = 224
# Table 2 of the paper.
STAGES: tuple[Stage, ...] = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (3, 6, 32, 3, 2),
    (3, 6, 64, 4, 2),
    (3, 6, 96, 3, 1),
    (3, 6, 160, 3, 2),
    (3, 6, 320, 1, 1),
)


class MobileNetGraph(InvertedResidualNetwork):
    """The network from scaled 224x224 images to mean-pooled features (1280) and logits (1001)."""

    middle = 128.0
    scale = 128.0

    def __init__(self) -> None:
        super().__init__(STAGES, CLASSES)
