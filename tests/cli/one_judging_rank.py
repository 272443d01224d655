"""What one rank of `test_judge_ranks` runs: `kennel` with an extractor that is a tiny random network.

python one_judging_rank.py judge ...   with what torchrun puts into the environment, or without it
"""

import os
import sys

import torch
from torch import Tensor, nn

from kennel.cli import main
from kennel.features.base import EXTRACTORS, Extracted
from kennel.features.network_extractor import NetworkExtractor
from kennel.features.weights import LoadedWeights, Published
from kennel.shapes import Pixels


class TinyGraph(nn.Module):
    """A convolution, its means as features, and 5 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 24, 3, stride=2)
        self.classifier = nn.Linear(24, 5)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, 24) and logits (batch, 5)."""
        features = self.convolution(images).relu().mean((2, 3))
        return features, self.classifier(features)


@EXTRACTORS.register("tiny")
class Tiny(NetworkExtractor):
    """Random weights of one seed; `TINY_FAULT` names what goes wrong on rank 1."""

    name, dimension, side, protocol = "tiny", 24, 16, "pytorch"
    logits = "5 random logits"
    published = Published("tiny", "", "", (), "", lambda _: {}, {})

    @classmethod
    def open(cls, weights=None, *, device="cpu", precision="float32", **_choices):
        """Nothing is read."""
        torch.manual_seed(0)
        state = {name: 3 * value for name, value in TinyGraph().state_dict().items()}
        return cls(LoadedWeights(state, f"tensors:{state['classifier.bias'].sum()}"), device=device)

    def graph(self) -> nn.Module:
        """The network."""
        return TinyGraph()

    def extract(self, pixels: Pixels) -> Extracted:
        """As every network does, and a line on standard error for the test to count."""
        sys.stderr.write(f"rank {os.environ.get('RANK')} extracts {len(pixels)}\n")
        if fault() == "not finite":
            return Extracted(torch.full((len(pixels), 24), torch.nan))
        return super().extract(pixels)


def fault() -> str:
    """What goes wrong here."""
    return os.environ.get("TINY_FAULT", "") if os.environ.get("RANK") == "1" else ""


if __name__ == "__main__":
    main()
