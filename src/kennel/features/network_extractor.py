"""The base class of extractors whose network and published weights are kennel's."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kennel.errors import WeightsError
from kennel.features.base import DTYPES, ChunkedExtractor, Logits, Precision, as_rgb
from kennel.features.fused_conv import pack_convolutions
from kennel.features.resize import PROTOCOLS
from kennel.features.weights import LoadedWeights, Published, find_weights, load_weights
from kennel.shapes import Features, Pixels


class NetworkExtractor(ChunkedExtractor):
    """An extractor with a network; subclasses define its published weights, its graph and its input. `side`
    is that of the network's input, `protocol` the default resize rule. Pixels are scaled by (x - 128) / 128;
    override `scaling` for another scale."""

    published: ClassVar[Published]
    side: ClassVar[int]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if hasattr(cls, "side"):  # not for a common base of extractors
            cls.resize = cls.input_words(cls.protocol)

    def __init__(
        self,
        weights: LoadedWeights,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        protocol: str | None = None,
    ) -> None:
        """`protocol` is a name of `PROTOCOLS`, None for the default one.

        Raises `WeightsError` if names or shapes of the weights do not fit, `UnknownNameError` for an unknown
        protocol.
        """
        self.protocol = protocol or type(self).protocol
        self.resize = self.input_words(self.protocol)
        network = self.graph()
        self.fill(network, weights)
        self.prepare(network)
        self.device, self.precision = torch.device(device), precision
        self.weights_digest = weights.digest
        network = network.eval().requires_grad_(False)
        self.network = network.to(self.device, DTYPES[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.device.type == "cpu":
            example = torch.zeros(self.cpu_chunk, 3, self.side, self.side, dtype=DTYPES[precision])
            pack_convolutions(self.network, example.contiguous(memory_format=torch.channels_last))

    @classmethod
    def open(
        cls, weights: Path | None = None, *, download: bool = True, **options: Any
    ) -> "NetworkExtractor":
        """With the published weights, or those of the file `weights`; `options` are the constructor's."""
        cls.check_options(options.get("protocol"), options.get("biased_logits", False))
        return cls(load_weights(cls.published, weights, download), **options)

    @classmethod
    def is_available(cls) -> bool:
        return find_weights(cls.published) is not None

    @classmethod
    def fill(cls, network: nn.Module, weights: LoadedWeights) -> None:
        """Loads `weights` into a `graph`; raises `WeightsError` if names or shapes do not fit."""
        try:
            network.load_state_dict(weights.state)
        except RuntimeError as error:
            raise WeightsError(
                f"the weights given for the {cls.name} extractor are of another network: give "
                f"{cls.published.names[0]} or its conversion"
            ) from error

    @classmethod
    def check_options(cls, protocol: str | None, biased_logits: bool) -> None:
        """Allows every registered resize rule; see `Extractor.check_options`."""
        if protocol is not None:
            PROTOCOLS[protocol]
        super().check_options(None, biased_logits)

    @classmethod
    def input_words(cls, protocol: str) -> str:
        """Resize and scale of this protocol, in words."""
        scale = "(x - {:g}) / {:g}".format(*cls.scaling(protocol))
        return f"{PROTOCOLS[protocol].words.format(side=cls.side)}, {scale}"

    @classmethod
    def scaling(cls, protocol: str) -> tuple[float, float]:
        """The subtrahend and the divisor for pixels in 0..255; 128 as in TensorFlow."""
        return 128.0, 128.0

    @abstractmethod
    def graph(self) -> nn.Module:
        """The network, which returns features and logits; its state has the names of the weights file."""

    def scaled(self, pixels: Pixels) -> Float[Tensor, "batch 3 side side"]:
        """The network's input from uint8 RGB: resized by the protocol, scaled to [-1, 1]."""
        middle, divisor = self.scaling(self.protocol)
        return (self.resized(pixels) - middle) / divisor

    def resized(self, pixels: Pixels) -> Float[Tensor, "batch 3 side side"]:
        """The pixels at the network's size by the protocol, float32 in 0..255."""
        return PROTOCOLS[self.protocol].resize(pixels, self.side)

    def prepare(self, network: nn.Module) -> None:
        """Changes the network after loading; by default nothing."""

    def _forward(self, pixels: Pixels) -> tuple[Features, Logits | None]:
        images = self.scaled(as_rgb(pixels))
        features, logits = self.network(images.to(DTYPES[self.precision], memory_format=torch.channels_last))
        return features, logits
