"""MobileNetV2 1.0 224 (Sandler et al., arXiv 1801.04381) with its batch norms folded into the weights."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from kennel.features.fused import FusedConv2d

Maps = Float[Tensor, "_ _ _ _"]
CLASSES = 1001
DIMENSION = 1280
INPUT_SIDE = 224
# Table 2 of the paper: expansion, output channels, repeats, stride of the first repeat.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _right_and_bottom(maps: Maps) -> Maps:
    """TensorFlow's SAME padding of a 3x3 kernel with stride 2 on even sizes."""
    return functional.pad(maps, (0, 1, 0, 1))


def _with_relu6(convolution: FusedConv2d) -> FusedConv2d:
    convolution.activation = "relu6"
    return convolution


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; added to its input where the shape is kept (section 3.2)."""

    def __init__(self, channels: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = channels * expansion
        if expansion > 1:
            self.expand = _with_relu6(FusedConv2d(channels, inner, 1))
        # Stride 1 pads all sides alike, which the convolution does itself, faster than a padded copy.
        padding = 1 if stride == 1 else 0
        self.depthwise = _with_relu6(
            FusedConv2d(inner, inner, 3, stride=stride, padding=padding, groups=inner)
        )
        self.project = FusedConv2d(inner, width, 1)
        self.expansion, self.stride = expansion, stride
        self.keeps_shape = stride == 1 and channels == width

    def forward(self, maps: Maps) -> Maps:
        inner = self.expand(maps) if self.expansion > 1 else maps
        inner = self.depthwise(_right_and_bottom(inner) if self.stride == 2 else inner)
        projected: Tensor = self.project(inner, maps if self.keeps_shape else None)
        return projected


class MobileNetGraph(nn.Module):
    """The network from scaled 224x224 pictures to mean-pooled features and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _with_relu6(FusedConv2d(3, 32, 3, stride=2))
        self.blocks = nn.ModuleList()
        channels = 32
        for expansion, width, repeats, stride in STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                self.blocks.append(InvertedResidual(channels, width, expansion, step))
                channels = width
        self.head = _with_relu6(FusedConv2d(channels, DIMENSION, 1))
        self.classifier = nn.Linear(DIMENSION, CLASSES)

    def forward(self, images: Maps) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch classes"]]:
        """Features (batch, 1280), the mean over the head's map after ReLU6, and logits (batch, 1001)."""
        maps = self.stem(_right_and_bottom(images))
        for block in self.blocks:
            maps = block(maps)
        features = self.head(maps).mean((2, 3))
        return features, self.classifier(features)
