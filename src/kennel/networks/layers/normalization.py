"""Batch norm over the images of all ranks, and conditional batch norm.

Batch norm: Ioffe and Szegedy 2015 (arXiv 1502.03167). All running statistics are in an `nn.BatchNorm2d`,
conditional or not.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from kennel.distributed import all_reduce_sum, rank, world_size
from kennel.shapes import Features, Labels


class _CrossReplica(nn.modules.batchnorm._BatchNorm):
    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels) or (batch, channels, height, width) to the same, of the same precision."""
        if not self.training or world_size() == 1:
            return super().forward(images)
        exact = images.to(torch.promote_types(images.dtype, torch.float32))
        mean, variance, count = _statistics_of_all_ranks(exact)
        self._update_running_statistics(mean.detach(), variance.detach(), count.detach())
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        spatial = (..., *([None] * (images.dim() - 2)))
        scaled = (exact - mean[spatial]) * scale[spatial]
        if self.bias is not None:
            scaled = scaled + self.bias[spatial]
        return scaled.to(images.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """As `nn.BatchNorm2d`: unbiased variance; a moving average with `momentum`, or else the mean."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        unbiased = variance * count / (count - 1)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


class CrossReplicaBatchNorm(_CrossReplica, nn.BatchNorm2d):
    """Batch norm with mean and variance over the images of all ranks, as in BigGAN (Brock et al. 2019).

    With one rank it is `nn.BatchNorm2d`. With several, outputs, running statistics and gradients of a
    training pass are those of one rank with the whole batch; ranks may have different numbers of images. Each
    pass needs one all-reduce forward and one backward.
    """


class CrossReplicaBatchNorm1d(_CrossReplica, nn.BatchNorm1d):
    """The same for `nn.BatchNorm1d`, on vectors (batch, channels)."""


def _statistics_of_all_ranks(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (channels), biased variance (channels) and number of values per channel (scalar), over all ranks.

    Merges the means and variances of the ranks, which avoids differences of large squares (Chan, Golub and
    LeVeque 1979).
    """
    axes = tuple(axis for axis in range(images.dim()) if axis != 1)
    count = images.new_tensor([images.numel() // images.shape[1]])
    own = torch.cat([images.mean(axes), images.var(axes, correction=0), count])
    above, below = rank(), world_size() - 1 - rank()
    rows = all_reduce_sum(pad(own[None], (0, 0, above, below)))  # ranks, 2 channels + 1
    means, variances, counts = torch.split(rows, [images.shape[1], images.shape[1], 1], 1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    variance = (counts * (variances + (means - mean).square())).sum(0) / total
    return mean, variance, total


class Condition(NamedTuple):
    """The input of a batch's conditional batch norms: classes, or a vector per image, or both."""

    labels: Labels | None = None
    vector: Features | None = None


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias depend on the image's condition.

    - From `classes`: embeddings of gains and biases (de Vries et al. 2017, arXiv 1707.00683, as in SNGAN and
      SAGAN).
    - From a `vector` of this width: linear maps of it, without biases (BigGAN: Brock et al. 2019, arXiv
      1809.11096, appendix B).

        gain = 1 + gain_of_class[label] + gain(vector)        bias = bias_of_class[label] + bias(vector)

    Gains are stored minus 1, so that a zero, an orthogonal or a small random initialization starts as plain
    batch norm.
    """

    def __init__(self, width: int, classes: int, vector: int, epsilon: float) -> None:
        """For `width` channels; 0 `classes` or a `vector` of width 0 omits that part."""
        super().__init__()
        self.classes, self.vector = classes, vector
        self.normalise = CrossReplicaBatchNorm(width, eps=epsilon, affine=False)
        if classes:
            self.gain_of_class = nn.Embedding(classes, width)
            self.bias_of_class = nn.Embedding(classes, width)
            nn.init.zeros_(self.gain_of_class.weight)
            nn.init.zeros_(self.bias_of_class.weight)
        if vector:
            self.gain = nn.Linear(vector, width, bias=False)
            self.bias = nn.Linear(vector, width, bias=False)

    def forward(self, images: Tensor, condition: Condition) -> Tensor:
        standard: Tensor = self.normalise(images)
        gain, bias = (values.to(standard.dtype)[..., None, None] for values in self._affine(condition))
        return torch.addcmul(bias, standard, gain)

    def _affine(self, condition: Condition) -> tuple[Tensor, Tensor]:
        gain, bias = torch.ones(()), torch.zeros(())
        if self.classes:
            labels = required_labels(condition.labels, self.classes)
            gain, bias = gain + self.gain_of_class(labels), bias + self.bias_of_class(labels)
        if self.vector:
            gain, bias = gain + self.gain(condition.vector), bias + self.bias(condition.vector)
        return gain, bias


def required_labels(labels: Labels | None, classes: int) -> Labels:
    """The labels. Raises `ValueError` if they are missing."""
    if labels is None:
        raise ValueError(f"this network was built for {classes} classes: give it labels")
    return labels


@dataclass(frozen=True)
class Conditioning:
    """The condition of a generator's batch norms: classes, a vector of this width, both, or neither (0)."""

    classes: int = 0
    vector: int = 0
    epsilon: float = 1e-5

    def batch_norm(self, width: int) -> nn.Module:
        """A new batch norm with gain and bias for `width` channels; apply it by `apply_norm`."""
        if self.classes or self.vector:
            return ConditionalBatchNorm(width, self.classes, self.vector, self.epsilon)
        return CrossReplicaBatchNorm(width, eps=self.epsilon)


def apply_norm(images: Tensor, layer: nn.Module, condition: Condition) -> Tensor:
    """`layer` of the feature maps, with the condition if it is conditional.

    A layer that replaces plain batch norm needs no `condition` argument.
    """
    output: Tensor = layer(images, condition) if isinstance(layer, ConditionalBatchNorm) else layer(images)
    return output
