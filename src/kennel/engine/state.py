"""The state that a run shares with its callbacks: the training step, the plan and the progress."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch

from kennel.config.recipe import StepsConfig
from kennel.engine.best_metric import BestMetric
from kennel.engine.running_means import RunningMeans
from kennel.engine.step import GANStep
from kennel.shapes import Images, Labels, Latents, Pixels


@dataclass(frozen=True)
class TrainPlan:
    """A run's length and its division into ticks, in images shown to the discriminator over all ranks."""

    batch_size: int
    steps: StepsConfig
    total_images: int
    tick_images: int
    seed: int
    device: torch.device


@runtime_checkable
class Batches(Protocol):
    """A source of real images, such as a `BatchLoader`. With several ranks, each gets its own rows."""

    def at(self, images_seen: int) -> tuple[Pixels | Images, Labels | None]:
        """The batch after `images_seen` images, on the device, with its labels if there are any."""


DrawLatents = Callable[[int, torch.Generator], Latents]
"""`draw_latents(count, random)`: latents (count, latent_dim) on the device of `random`."""


@dataclass
class TrainState:
    """The state of a run in training, for the callbacks.

    `images_seen` counts images shown to the discriminator, `seconds` the training time over all processes.
    `tick_due`: a tick's iterations are done, but not all of its callbacks. `best` tracks the deciding metric,
    `is_best` says whether this tick improved it, and `best_before` is `best` before a tick whose checkpoint
    is not written yet. `checkpointed_tick` is `images_seen` at the newest checkpoint of a tick, -1 for none.
    A callback that sets `stop_requested` ends the run with a checkpoint, as Ctrl-C does; it can be resumed.
    """

    step: GANStep
    plan: TrainPlan
    batches: Batches
    draw_latents: DrawLatents
    best: BestMetric = field(default_factory=lambda: BestMetric("fid"))
    running_means: RunningMeans = field(default_factory=RunningMeans)
    images_seen: int = 0
    seconds: float = 0.0
    tick_due: bool = False
    is_best: bool = False
    best_before: BestMetric | None = None
    checkpointed_tick: int = -1
    rollbacks: int = 0
    finished: bool = False
    stop_requested: bool = False

    def __post_init__(self) -> None:
        """Keeps the optimizers with the recipe's learning rates, to scale them after a rollback."""
        step = self.step
        self._optimizers = (
            step.discriminator_optimizer,
            step.generator_optimizer,
            dict(step.auxiliary_optimizers),
        )

    def scale_learning_rates(self, factor: float) -> None:
        """Sets learning rates to `factor` times those of the recipe."""
        discriminator, generator, auxiliary = self._optimizers
        self.step.discriminator_optimizer = discriminator.scaled(factor)
        self.step.generator_optimizer = generator.scaled(factor)
        self.step.auxiliary_optimizers = {name: one.scaled(factor) for name, one in auxiliary.items()}

    @property
    def tick(self) -> int:
        """The number of the current tick, from 0."""
        return self.images_seen // self.plan.tick_images

    @property
    def is_over(self) -> bool:
        return self.images_seen >= self.plan.total_images
