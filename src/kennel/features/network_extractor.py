"""What the extractors that run a network share: weights into the graph, batches through it."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kennel.errors import WeightsError
from kennel.features.base import DTYPES, Extracted, Extractor, Precision, as_rgb, exact_inference
from kennel.features.fused_conv import pack_convolutions
from kennel.features.resize import PROTOCOLS
from kennel.features.weights import LoadedWeights, Published, at_hand, load_weights
from kennel.shapes import Pixels

CPU_CHUNK = 8
"""Images at a time on the CPU: the maps stay in the cache (MobileNet at 64 is half as fast as at 8)."""


class NetworkExtractor(Extractor):
    """An extractor with a network: a subclass names its published weights, its graph and its input.

    `side` is that of the network's input, `protocol` the resize rule where none is asked for. Pixels are
    scaled by (x - 128) / 128; an extractor with another scale overrides `scaling`, or `scaled` and
    `scale_words` together.
    """

    published: ClassVar[Published]
    side: ClassVar[int]

    def __init_subclass__(cls) -> None:
        """The class itself states the words of its default rule."""
        super().__init_subclass__()
        if hasattr(cls, "side"):  # a base of several extractors has none yet
            cls.resize = cls.input_words(cls.protocol)

    def __init__(
        self,
        weights: LoadedWeights,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        protocol: str | None = None,
    ) -> None:
        """Puts `weights` into the graph; raises `WeightsError` where names or shapes do not fit.

        `protocol` is a name of `PROTOCOLS`, None for the extractor's own; an unknown one raises
        `UnknownNameError`.
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
            example = torch.zeros(CPU_CHUNK, 3, self.side, self.side, dtype=DTYPES[precision])
            pack_convolutions(self.network, example.contiguous(memory_format=torch.channels_last))

    @classmethod
    def open(
        cls,
        weights: Path | None = None,
        *,
        download: bool = True,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        protocol: str | None = None,
    ) -> "NetworkExtractor":
        """The extractor with its published weights, or those of the file `weights`; see `load_weights`."""
        cls.refuse_choices(protocol, False)
        loaded = load_weights(cls.published, weights, download)
        return cls(loaded, device=device, precision=precision, protocol=protocol)

    @classmethod
    def at_hand(cls) -> bool:
        """Whether its weights are here."""
        return at_hand(cls.published) is not None

    @classmethod
    def fill(cls, network: nn.Module, weights: LoadedWeights) -> None:
        """Puts `weights` into a `graph`; raises `WeightsError` where names or shapes do not fit."""
        try:
            network.load_state_dict(weights.state)
        except RuntimeError as error:
            raise WeightsError(
                f"the weights given for the {cls.name} extractor are not of that network: "
                f"expected {cls.published.names[0]} or its conversion"
            ) from error

    @classmethod
    def refuse_choices(cls, protocol: str | None, biased_logits: bool) -> None:
        """Any known resize rule will do; see `Extractor.refuse_choices`."""
        if protocol is not None:
            PROTOCOLS[protocol]
        super().refuse_choices(None, biased_logits)

    @classmethod
    def input_words(cls, protocol: str) -> str:
        """The input rule of this protocol, resize and scale, in words."""
        return f"{PROTOCOLS[protocol].words.format(side=cls.side)}, {cls.scale_words(protocol)}"

    @classmethod
    def scale_words(cls, protocol: str) -> str:
        """What is done to the resized 0..255, in words."""
        return "(x - {:g}) / {:g}".format(*cls.scaling(protocol))

    @classmethod
    def scaling(cls, protocol: str) -> tuple[float, float]:
        """What is subtracted from 0..255, and what the difference is divided by; 128 as TensorFlow has it."""
        return 128.0, 128.0

    @abstractmethod
    def graph(self) -> nn.Module:
        """The network, whose state has the names of the weights file; it gives features and logits."""

    def scaled(self, pixels: Pixels) -> Float[Tensor, "batch 3 side side"]:
        """The network's input from uint8 RGB: resized by the protocol, scaled to [-1, 1]."""
        middle, divisor = self.scaling(self.protocol)
        return (self.resized(pixels) - middle) / divisor

    def resized(self, pixels: Pixels) -> Float[Tensor, "batch 3 side side"]:
        """The pixels at the network's size by the protocol's rule, float32 on 0..255."""
        return PROTOCOLS[self.protocol].resize(pixels, self.side)

    def prepare(self, network: nn.Module) -> None:
        """What is done once to the loaded network; nothing by default."""

    def extract(self, pixels: Pixels) -> Extracted:
        """Float32 features and logits on the CPU; see `Extractor.extract`."""
        chunk = CPU_CHUNK if self.device.type == "cpu" else len(pixels)
        features, logits = [], []
        with exact_inference(self.device):
            for part in pixels.split(chunk):  # type: ignore[no-untyped-call]
                images = self.scaled(as_rgb(part.to(self.device)))
                images = images.to(DTYPES[self.precision], memory_format=torch.channels_last)
                part_features, part_logits = self.network(images)
                features.append(part_features.float().cpu())
                logits.append(part_logits.float().cpu())
            return Extracted(torch.cat(features), torch.cat(logits))
