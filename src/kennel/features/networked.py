"""What the extractors that run a network share: weights into the graph, batches through it."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kennel.errors import WeightsError
from kennel.features.contract import DTYPES, Extracted, Extractor, Precision, as_rgb, exact_inference
from kennel.features.weights import LoadedWeights, Published, load_weights
from kennel.shapes import Pixels

CPU_CHUNK = 8
"""Images at a time on the CPU: the maps stay in the cache (MobileNet at 64 is half as fast as at 8)."""


class NetworkExtractor(Extractor):
    """An extractor with a network: a subclass names its published weights, its graph and its input."""

    published: ClassVar[Published]

    def __init__(
        self,
        weights: LoadedWeights,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        """Puts `weights` into the graph; raises `WeightsError` where names or shapes do not fit."""
        network = self.graph()
        try:
            network.load_state_dict(weights.state)
        except RuntimeError as error:
            raise WeightsError(
                f"the weights given for the {self.name} extractor are not of that network: "
                f"expected {self.published.names[0]} or its conversion"
            ) from error
        self.prepare(network)
        self.device, self.precision = torch.device(device), precision
        self.weights_digest = weights.digest
        network = network.eval().requires_grad_(False)
        self.network = network.to(self.device, DTYPES[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def open(
        cls,
        weights: Path | None = None,
        *,
        download: bool = True,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
    ) -> "NetworkExtractor":
        """The extractor with its published weights, or those of the file `weights`; see `load_weights`."""
        return cls(load_weights(cls.published, weights, download), device=device, precision=precision)

    @abstractmethod
    def graph(self) -> nn.Module:
        """The network, whose state has the names of the weights file; it gives features and logits."""

    @abstractmethod
    def scaled(self, pixels: Pixels) -> Float[Tensor, "batch 3 side side"]:
        """The network's input from uint8 RGB."""

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
