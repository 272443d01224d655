"""What a run shares with its callbacks: what is trained, the plan, and where the run is."""

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
    """How long a run is and how it is divided, in images shown to the discriminator, over all ranks."""

    batch_size: int
    steps: StepsConfig
    total_images: int
    tick_images: int
    seed: int
    device: torch.device


@runtime_checkable
class Batches(Protocol):
    """Where real images come from: a `BatchLoader`, or anything that gives a batch by how many were shown.

    With several ranks each gets its own rows of the batch.
    """

    def at(self, images_seen: int) -> tuple[Pixels | Images, Labels | None]:
        """The batch after `images_seen` images, on the device, and its labels where there are some."""


DrawLatents = Callable[[int, torch.Generator], Latents]
"""`draw_latents(count, random)`: latents (count, latent_dim) on the device of `random`."""


@dataclass
class TrainState:
    """A run while it trains. Callbacks read it, and change what is theirs.

    `images_seen` counts images shown to the discriminator, `seconds` the time of training over all sessions.
    `tick_due`: the iterations of a tick are done, and its callbacks have not all run. `best` is how the
    deciding metric stands, `is_best` whether this tick improved it, and `best_before` how it stood before a
    tick whose checkpoint is not written yet. `checkpointed_tick` are the images seen at the newest checkpoint
    that was written at a tick, -1 for none. `rollbacks` counts how often the run was taken back.
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

    def __post_init__(self) -> None:
        """Keeps the optimizers as the recipe has them, from which a rollback derives others."""
        step = self.step
        self._optimizers = (
            step.discriminator_optimizer,
            step.generator_optimizer,
            dict(step.auxiliary_optimizers),
        )

    def scale_learning_rates(self, factor: float) -> None:
        """From here on learning rates are `factor` times those of the recipe."""
        discriminator, generator, auxiliary = self._optimizers
        self.step.discriminator_optimizer = discriminator.scaled(factor)
        self.step.generator_optimizer = generator.scaled(factor)
        self.step.auxiliary_optimizers = {name: one.scaled(factor) for name, one in auxiliary.items()}

    @property
    def tick(self) -> int:
        """The number of the tick that the run is in, from 0."""
        return self.images_seen // self.plan.tick_images

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return self.images_seen >= self.plan.total_images
