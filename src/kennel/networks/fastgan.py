"""The generator of FastGAN, for small sets (Liu et al. 2021, arXiv 2101.04775).

The light form, as in projected GANs on small sets: one doubling, one 3x3 convolution, batch norm and a gated
linear unit (GLU, Dauphin et al. 2017, arXiv 1612.08083) at each side. Each map gates the channels of the map
of sixteen times its side, or of the finest map (skip-layer excitation). The full form has a second
convolution at every other side, and noise after every convolution.
"""

from typing import ClassVar, cast

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import glu

from kennel.config import base
from kennel.networks.base import GENERATORS, Generator, NetworkSpec
from kennel.networks.class_bias import ClassBias
from kennel.networks.layers.conv import Convolution
from kennel.networks.layers.normalization import Condition, Conditioning, apply_norm
from kennel.networks.layers.skip_excitation import SkipExcitation
from kennel.networks.layers.upsample_conv import UpsampleConv2d
from kennel.shapes import Images, Labels, Latents

SIZES = (32, 64, 128, 256)
MULTIPLES = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2, 128: 1, 256: 0.5}
"""Channels at each side as multiples of `base_channels`, from the authors' table."""
SKIPPED = 4
"""The number of doublings that an excitation spans, if the image is large enough."""


class FastganOptions(base.Config):
    """`base_channels` channels at a side of 128 and more at coarser sides (the authors have 128).

    `second` adds the second convolution and `noise` the noise of the full form. `class_batch_norm` gives
    every batch norm a gain and a bias per class, if there are classes; otherwise only the stem sees it.
    """

    base_channels: PositiveInt = 32
    second: bool = False
    noise: bool = False
    class_batch_norm: bool = True


class NoiseInput(nn.Module):
    """Adds a plane of normal noise to all channels, times a learned strength that starts at 0.

    In training each image has its own noise. In evaluation the plane is constant, so that a sample depends on
    its seed only.
    """

    plane: Tensor

    def __init__(self, side: int, seed: int) -> None:
        """`seed` is that of the constant plane."""
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(()))
        random = torch.Generator().manual_seed(seed)
        # Explicitly on the CPU: the generator does not work with the meta device.
        plane = torch.randn(1, 1, side, side, generator=random, device="cpu")
        self.register_buffer("plane", plane, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        noise = self.plane.to(maps.dtype)
        if self.training:
            noise = torch.randn(len(maps), *noise.shape[1:], dtype=maps.dtype, device=maps.device)
        return torch.addcmul(maps, self.strength.to(maps.dtype), noise)


class GatedUnit(nn.Module):
    """Convolution, noise (optional), batch norm, GLU."""

    def __init__(self, convolution: nn.Conv2d, noise: nn.Module | None, conditioning: Conditioning) -> None:
        """The convolution has twice the channels of the unit's output."""
        super().__init__()
        self.convolution = convolution
        self.noise = noise or nn.Identity()
        self.normalise = conditioning.batch_norm(convolution.out_channels)

    def forward(self, maps: Tensor, labels: Labels | None) -> Tensor:
        maps = self.noise(self.convolution(maps))
        return glu(apply_norm(maps, self.normalise, Condition(labels)), 1)


def widths_of(size: int, base_channels: int) -> dict[int, int]:
    return {
        side: max(1, int(base_channels * multiple)) for side, multiple in MULTIPLES.items() if side <= size
    }


@GENERATORS.register("fastgan")
class FastganGenerator(Generator):
    """Latent -> a 4x4 map -> gated doublings with skip-layer excitation -> 3x3 convolution -> Tanh."""

    Options = FastganOptions
    sizes: ClassVar[tuple[int, ...]] = SIZES
    paper_spec: ClassVar[NetworkSpec] = NetworkSpec(256, 3, 256)
    conditional = "optional"

    def __init__(self, spec: NetworkSpec, options: FastganOptions) -> None:
        super().__init__(spec, options)
        widths = widths_of(spec.size, options.base_channels)
        conditioning = Conditioning(classes=spec.num_classes if options.class_batch_norm else 0)
        self.stem = nn.Linear(spec.latent_dim, 2 * widths[4] * 16, bias=False)
        self.normalise = conditioning.batch_norm(2 * widths[4])
        if spec.num_classes:
            self.label = ClassBias(spec, self.stem)
        self.blocks = nn.ModuleDict()
        self.excitations = nn.ModuleDict()
        for side in list(widths)[1:]:
            before, width = widths[side // 2], widths[side]
            convolutions: list[nn.Conv2d] = [UpsampleConv2d(before, 2 * width, bias=False)]
            if options.second and side in (8, 32, 128):
                convolutions.append(Convolution(width, 2 * width, 3, padding=1, bias=False))
            units = [
                GatedUnit(one, NoiseInput(side, 2 * side + index) if options.noise else None, conditioning)
                for index, one in enumerate(convolutions)
            ]
            self.blocks[str(side)] = nn.ModuleList(units)
            coarse = self._coarse(side)
            if coarse is not None:
                self.excitations[str(side)] = SkipExcitation(widths[coarse], width)
        self.to_pixels = Convolution(widths[spec.size], spec.channels, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, 0.0, 0.02)  # as the authors do

    def _coarse(self, side: int) -> int | None:
        """The side of the map that gates the map of `side`."""
        coarse = side // 2 ** min(SKIPPED, (self.spec.size // 4).bit_length() - 1)
        return coarse if coarse >= 4 else None

    def forward(self, latents: Latents, labels: Labels | None = None) -> Images:
        flat = self.stem(latents)
        if self.spec.num_classes:
            flat = flat + self.label(labels)
        maps = flat.unflatten(1, (4, 4, -1)).permute(0, 3, 1, 2)
        maps = glu(apply_norm(maps, self.normalise, Condition(labels)), 1)
        by_side = {4: maps}
        for name, units in self.blocks.items():
            for unit in cast(nn.ModuleList, units):
                maps = unit(maps, labels)
            coarse = self._coarse(int(name))
            if coarse is not None:
                maps = self.excitations[name](maps, by_side[coarse])
            by_side[int(name)] = maps
        return cast(Images, self.to_pixels(maps).float().tanh())
