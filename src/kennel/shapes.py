"""Tensor types with their shapes, checked in tests by jaxtyping and beartype."""

from typing import TypeAlias

from jaxtyping import Float, Int, UInt8
from torch import Tensor

Images: TypeAlias = Float[Tensor, "batch channels height width"]
"""Float images in [-1, 1], on the device."""
Pixels: TypeAlias = UInt8[Tensor, "batch channels height width"]
"""uint8 images, as in files, packed sets and samples."""
Latents: TypeAlias = Float[Tensor, "batch latent"]
Styles: TypeAlias = Float[Tensor, "batch layers style"]
"""Outputs of a mapping network, one per styled layer."""
Labels: TypeAlias = Int[Tensor, "batch"]
"""Class indices, int64."""
Logits: TypeAlias = Float[Tensor, "batch *outputs"]
"""A discriminator's outputs before any sigmoid: one number per image, or several."""
Targets: TypeAlias = Float[Tensor, "batch"]
"""Targets of the logits' sigmoid, in [0, 1], for losses with labels."""
Features: TypeAlias = Float[Tensor, "batch features"]
Maps: TypeAlias = Float[Tensor, "_ _ _ _"]
"""Feature maps (batch, channels, height, width); several maps may differ in shape."""
Embedded: TypeAlias = Maps | tuple[Maps, ...]
"""The input of a discriminator's trained layers: images, or maps of a fixed network."""
Distances: TypeAlias = Float[Tensor, "batch"]
"""The distance between the images of each pair."""
Indices: TypeAlias = Int[Tensor, "kept"]
"""Indices into a batch."""
Scalar: TypeAlias = Float[Tensor, ""]
