"""The `inception` extractor: the 2048 pool features of published FID and MiFID values."""

from typing import Any

from torch import nn

from kennel.features.base import EXTRACTORS
from kennel.features.inception_network import INPUT_SIDE, InceptionGraph
from kennel.features.network_extractor import NetworkExtractor
from kennel.features.weights import LoadedWeights, Published, read_pickle_safely

INCEPTION_WEIGHTS = Published(
    what="2015 Inception",
    address=(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth"
    ),
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    names=("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
    stored="inception-2015-12-05.safetensors",
    read=read_pickle_safely,
    metadata={"source": "weights-inception-2015-12-05-6726825d.pth"},
)


@EXTRACTORS.register("inception")
class Inception(NetworkExtractor):
    """Inception v3 of 2015-12-05: pool features (2048) and 1008 logits, by default without the last bias.

    Input, arithmetic and outputs are those of the TensorFlow graph of the FID paper (Heusel et al., arXiv
    1706.08500), with the weights file of torch-fidelity and pytorch-fid. Other protocols: `clean`, the resize
    of clean FID (Parmar et al., arXiv 2104.11222), and `pytorch`, the resize and scale of pytorch-fid. With
    `biased_logits` the last layer's bias is added, as in tools that use the network's own output.
    """

    name = "inception"
    dimension = 2048
    side = INPUT_SIDE
    protocol = "tf1"
    logits = "1008 logits, last bias left out"
    published = INCEPTION_WEIGHTS

    def __init__(self, weights: LoadedWeights, *, biased_logits: bool = False, **options: Any) -> None:
        """See `NetworkExtractor`; `biased_logits` adds the last layer's bias to the logits."""
        self.biased_logits = biased_logits
        if biased_logits:
            self.logits = "1008 logits, last bias added"
        super().__init__(weights, **options)

    @classmethod
    def check_options(cls, protocol: str | None, biased_logits: bool) -> None:
        """Allows both kinds of logits."""
        super().check_options(protocol, False)

    @classmethod
    def scaling(cls, protocol: str) -> tuple[float, float]:
        """128, as in the graph; pytorch-fid maps 0..255 to [-1, 1] exactly."""
        middle = 127.5 if protocol == "pytorch" else 128.0
        return middle, middle

    def graph(self) -> nn.Module:
        return InceptionGraph(self.biased_logits)

    def prepare(self, network: nn.Module) -> None:
        """Folds the batch norms: a third less work, features equal to 1e-6."""
        assert isinstance(network, InceptionGraph)
        network.fold()
