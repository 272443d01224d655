"""Conditioning on instances: the condition is what a pretrained network sees in one training image.

A class says little about an image where classes are large, and generators that know only a class, or
nothing, tend to draw a few kinds of image again and again. Casanova et al. 2021 ("Instance-Conditioned GAN",
arXiv 2109.05070) condition both networks on the features of a training image (the instance): the real
images that the discriminator sees with them are its nearest ones, and each instance is a small mode of its
own.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kennel.networks.base import NetworkSpec
from kennel.shapes import Indices, Labels

Vectors = Float[Tensor, "instances width"]


class InstanceVectors(nn.Module):
    """The vector of each instance, fixed: labels (batch,) to vectors (batch, width), float32.

    Checkpoints and exported files hold them, so that samples need no training set. `counts` says of how many
    training images each instance is a neighbor: it is drawn so often. Until `fill` vectors are 0, counts 1.
    """

    vectors: Tensor
    counts: Tensor

    def __init__(self, count: int, width: int) -> None:
        """For `count` instances, numbered from 0."""
        super().__init__()
        self.register_buffer("vectors", torch.zeros(count, width))
        self.register_buffer("counts", torch.ones(count, dtype=torch.int64))

    @torch.no_grad()
    def fill(self, vectors: Vectors, counts: Indices) -> None:
        """Takes what belongs to all instances."""
        self.vectors.copy_(vectors)
        self.counts.copy_(counts)

    def forward(self, labels: Labels) -> Tensor:
        """The vectors of these instances."""
        return self.vectors[labels]


class InstanceEmbedding(nn.Module):
    """A trained linear map of the instances' vectors, in the place of a table with a row for each class."""

    def __init__(self, count: int, width: int, outputs: int) -> None:
        """For `count` instances with vectors of this width."""
        super().__init__()
        self.instances = InstanceVectors(count, width)
        self.map = nn.Linear(width, outputs)

    def forward(self, labels: Labels) -> Tensor:
        """(batch, outputs), float32 outside autocast."""
        mapped: Tensor = self.map(self.instances(labels))
        return mapped


def label_embedding(spec: NetworkSpec, outputs: int) -> nn.Module:
    """Labels (batch,) to vectors (batch, outputs): a trained table of classes, or a map of the instances."""
    if spec.num_instances:
        return InstanceEmbedding(spec.num_instances, spec.instance_dim, outputs)
    return nn.Embedding(spec.num_classes, outputs)


def parts_with_instances(network: nn.Module) -> list[InstanceVectors]:
    """The parts of a network that hold the instances' vectors; none where it knows no instances."""
    return [module for module in network.modules() if isinstance(module, InstanceVectors)]
