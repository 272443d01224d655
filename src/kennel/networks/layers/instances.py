"""Conditioning on instances: the features of one training image from a pretrained network.

Generators with large classes or none tend to draw a few kinds of images. Casanova et al. 2021
("Instance-Conditioned GAN", arXiv 2109.05070) condition both networks on the features of a training image
(the instance). The discriminator sees them with real images from its nearest neighbors, so that each instance
is a small mode.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kennel.networks.base import NetworkSpec
from kennel.shapes import Indices, Labels

Vectors = Float[Tensor, "instances width"]


class InstanceVectors(nn.Module):
    """The fixed vector of each instance: labels (batch,) to vectors (batch, width), float32.

    Checkpoints and exported files include them, so that sampling needs no training set. `counts` is the
    number of training images that have the instance as a neighbor, its weight in random draws. Before `fill`
    vectors are 0 and counts 1.
    """

    vectors: Tensor
    counts: Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(count, width))
        self.register_buffer("counts", torch.ones(count, dtype=torch.int64))

    @torch.no_grad()
    def fill(self, vectors: Vectors, counts: Indices) -> None:
        self.vectors.copy_(vectors)
        self.counts.copy_(counts)

    def forward(self, labels: Labels) -> Tensor:
        return self.vectors[labels]


class InstanceEmbedding(nn.Module):
    """A trained linear map of the instances' vectors, instead of an embedding of classes."""

    def __init__(self, count: int, width: int, outputs: int) -> None:
        super().__init__()
        self.instances = InstanceVectors(count, width)
        self.map = nn.Linear(width, outputs)

    def forward(self, labels: Labels) -> Tensor:
        mapped: Tensor = self.map(self.instances(labels))
        return mapped


def label_embedding(spec: NetworkSpec, outputs: int) -> nn.Module:
    """Labels (batch,) to vectors (batch, outputs): an embedding of classes, or a map of the instances."""
    if spec.num_instances:
        return InstanceEmbedding(spec.num_instances, spec.instance_dim, outputs)
    return nn.Embedding(spec.num_classes, outputs)


def parts_with_instances(network: nn.Module) -> list[InstanceVectors]:
    """The modules of a network that hold the instances' vectors; empty without instances."""
    return [module for module in network.modules() if isinstance(module, InstanceVectors)]
