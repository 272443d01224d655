"""Optimizers by name, with the schedules of their learning rates and of Adam's second beta."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer, RMSprop

from kennel.config.recipe import OptimizerConfig
from kennel.distributed import averaged_over_ranks
from kennel.shapes import Scalar


@dataclass(frozen=True)
class ScheduledOptimizer:
    """An optimizer whose learning rate is a function of the run's progress, and Adam's betas where given.

    Neither is stored: a run that is resumed computes them from where it is.
    """

    optimizer: Optimizer
    rate: Callable[[float], float]
    betas: Callable[[float], tuple[float, float]] | None = None

    def at(self, progress: float) -> Optimizer:
        """The optimizer, with the learning rate and the betas that belong to `progress`."""
        moved: dict[str, object] = {"lr": self.rate(progress)}
        if self.betas is not None:
            moved["betas"] = self.betas(progress)
        for group in self.optimizer.param_groups:
            group.update(moved)
        return self.optimizer

    def scaled(self, factor: float) -> "ScheduledOptimizer":
        """The same with learning rates of `factor` times these."""
        return self if factor == 1 else replace(self, rate=lambda share: factor * self.rate(share))


def build_optimizer(
    options: OptimizerConfig, parameters: Iterable[Tensor], device: torch.device
) -> ScheduledOptimizer:
    """The optimizer that `options` describe, for `parameters`."""
    parameters, rate, decay = list(parameters), options.learning_rate, options.weight_decay
    made: Optimizer
    match options.name:
        case "adam":
            fused = device.type in ("cpu", "cuda")
            made = Adam(parameters, rate, options.betas, options.eps, decay, fused=fused)
        case "rmsprop":
            made = RMSprop(parameters, rate, options.alpha, options.eps, decay, options.momentum)
        case "sgd":
            made = SGD(parameters, rate, options.momentum, weight_decay=decay)
    return ScheduledOptimizer(
        made, options.learning_rate_at, options.betas_at if options.second_beta else None
    )


def parameters_of(optimiser: Optimizer) -> list[Tensor]:
    """All that the optimizer moves, in its order."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def average_gradients(optimiser: Optimizer) -> None:
    """Makes every gradient that is there the mean over the ranks: that of the whole batch's loss."""
    moved = [one for one in parameters_of(optimiser) if one.grad is not None]
    averaged = averaged_over_ranks([one.grad for one in moved if one.grad is not None])
    for parameter, gradient in zip(moved, averaged, strict=True):
        parameter.grad = gradient


def add_clipped_gradient(optimiser: Optimizer, term: Scalar) -> None:
    """Adds the gradient of `term` to those that are there, scaled down to their length where it is longer.

    Adaptive clipping (Belghazi et al. 2018, arXiv 1801.04062): g = min(|a|, |m|) m / |m|, for
    the adversarial gradient a and that of the term m, both over all parameters and the whole batch.
    """
    parameters = parameters_of(optimiser)
    gradients = torch.autograd.grad(term, parameters, allow_unused=True)
    pairs = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
    averaged = averaged_over_ranks([g for _, g in pairs])
    moved = [(p, g) for (p, _), g in zip(pairs, averaged, strict=True)]
    there = [p.grad for p in parameters if p.grad is not None]
    length = torch.linalg.vector_norm(torch.stack(torch._foreach_norm([g for _, g in moved])))
    most = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(there)))
    scale = torch.where(length > most, most / length, torch.ones_like(length))
    for parameter, gradient in moved:
        scaled = gradient * scale
        parameter.grad = scaled if parameter.grad is None else parameter.grad + scaled
