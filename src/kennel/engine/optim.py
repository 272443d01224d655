"""Builds optimizers, with schedules of their learning rates and of Adam's second beta."""

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
    """An optimizer with a learning rate, and optionally Adam's betas, as functions of the run's progress.

    They are not saved: a resumed run computes them from its progress.
    """

    optimizer: Optimizer
    rate: Callable[[float], float]
    betas: Callable[[float], tuple[float, float]] | None = None

    def at(self, progress: float) -> Optimizer:
        """The optimizer, with the learning rate and the betas of `progress`."""
        settings: dict[str, object] = {"lr": self.rate(progress)}
        if self.betas is not None:
            settings["betas"] = self.betas(progress)
        for group in self.optimizer.param_groups:
            group.update(settings)
        return self.optimizer

    def scaled(self, factor: float) -> "ScheduledOptimizer":
        return self if factor == 1 else replace(self, rate=lambda progress: factor * self.rate(progress))


def build_optimizer(
    options: OptimizerConfig, parameters: Iterable[Tensor], device: torch.device
) -> ScheduledOptimizer:
    parameters, rate, decay = list(parameters), options.learning_rate, options.weight_decay
    optimizer: Optimizer
    match options.name:
        case "adam":
            fused = device.type in ("cpu", "cuda")
            optimizer = Adam(parameters, rate, options.betas, options.eps, decay, fused=fused)
        case "rmsprop":
            optimizer = RMSprop(parameters, rate, options.alpha, options.eps, decay, options.momentum)
        case "sgd":
            optimizer = SGD(parameters, rate, options.momentum, weight_decay=decay)
    betas = options.betas_at if options.second_beta else None
    return ScheduledOptimizer(optimizer, options.learning_rate_at, betas)


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """All parameters that the optimizer updates, in its order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def average_gradients(optimizer: Optimizer) -> None:
    """Replaces every gradient by its mean over the ranks, which is the gradient of the whole batch's loss."""
    parameters = [one for one in parameters_of(optimizer) if one.grad is not None]
    averaged = averaged_over_ranks([one.grad for one in parameters if one.grad is not None])
    for parameter, gradient in zip(parameters, averaged, strict=True):
        parameter.grad = gradient


def add_clipped_gradient(optimizer: Optimizer, term: Scalar) -> None:
    """Adds the gradient of `term` to the existing gradients, scaled down to their norm if it is longer.

    Adaptive clipping (Belghazi et al. 2018, arXiv 1801.04062): g = min(|a|, |m|) m / |m|, with
    the adversarial gradient a and the gradient m of the term, both over all parameters and the whole batch.
    """
    parameters = parameters_of(optimizer)
    gradients = torch.autograd.grad(term, parameters, allow_unused=True)
    pairs = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
    averaged = averaged_over_ranks([g for _, g in pairs])
    pairs = [(p, g) for (p, _), g in zip(pairs, averaged, strict=True)]
    existing = [p.grad for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm([g for _, g in pairs])))
    limit = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(existing)))
    scale = torch.where(norm > limit, limit / norm, torch.ones_like(norm))
    for parameter, gradient in pairs:
        scaled = gradient * scale
        parameter.grad = scaled if parameter.grad is None else parameter.grad + scaled
