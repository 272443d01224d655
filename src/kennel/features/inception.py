"""The `inception` extractor: the 2048 pool features on which published FID and MiFID values rest."""

from jaxtyping import Float
from torch import Tensor, nn

from kennel.features.contract import EXTRACTORS
from kennel.features.inception_graph import INPUT_SIDE, InceptionGraph
from kennel.features.networked import NetworkExtractor
from kennel.features.resize import tensorflow1_bilinear
from kennel.features.weights import Published, read_pickle_safely
from kennel.shapes import Pixels

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
    """Inception v3 of 2015-12-05: pool features (2048) and 1008 logits without the last layer's bias.

    The same input rule, arithmetic and outputs as the TensorFlow graph of the FID paper (Heusel et al.,
    arXiv 1706.08500), by way of the weights file that torch-fidelity and pytorch-fid use.
    """

    name = "inception"
    dimension = 2048
    resize = "TensorFlow 1 bilinear to 299x299 (no half-pixel centres, no antialias), (x - 128) / 128"
    logits = "1008 logits, last bias left out"
    published = INCEPTION_WEIGHTS

    def graph(self) -> nn.Module:
        return InceptionGraph()

    def prepare(self, network: nn.Module) -> None:
        """Folds the batch norms: a third less work, features equal to 1e-6."""
        assert isinstance(network, InceptionGraph)
        network.fold()

    def scaled(self, pixels: Pixels) -> Float[Tensor, "batch 3 side side"]:
        return (tensorflow1_bilinear(pixels, INPUT_SIDE) - 128) / 128
