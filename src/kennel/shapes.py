"""Names for the tensors that travel between rooms; checked under test by jaxtyping and beartype."""

from typing import TypeAlias

from jaxtyping import Float, Int, UInt8
from torch import Tensor

Images: TypeAlias = Float[Tensor, "batch channels height width"]
"""Float images in [-1, 1], on the device."""
Pixels: TypeAlias = UInt8[Tensor, "batch channels height width"]
"""uint8 images, as they are in files, packed sets and samples."""
Latents: TypeAlias = Float[Tensor, "batch latent"]
Styles: TypeAlias = Float[Tensor, "batch layers style"]
"""Outputs of a mapping network, one for each layer that is styled."""
Labels: TypeAlias = Int[Tensor, "batch"]
"""Class indices, int64."""
Logits: TypeAlias = Float[Tensor, "batch *outputs"]
"""A discriminator's raw output, before any sigmoid: one number an image, or a row of several."""
Targets: TypeAlias = Float[Tensor, "batch"]
"""What a logit's sigmoid should be, in [0, 1], for losses that have labels."""
Features: TypeAlias = Float[Tensor, "batch features"]
Maps: TypeAlias = Float[Tensor, "_ _ _ _"]
"""Feature maps (batch, channels, height, width); of several none needs the shape of another."""
Embedded: TypeAlias = Maps | tuple[Maps, ...]
"""What the trained layers of a discriminator start from: images, or the maps of a network that is fixed."""
Distances: TypeAlias = Float[Tensor, "batch"]
"""How far apart the images of each pair are."""
Indices: TypeAlias = Int[Tensor, "kept"]
"""Places within a batch."""
Scalar: TypeAlias = Float[Tensor, ""]
