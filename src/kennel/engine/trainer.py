"""The loop: rounds of turns until the budget is spent, a tick now and then, and callbacks for the rest."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch

from kennel.cancellation import CancelledError
from kennel.config.recipe import StepsConfig
from kennel.distributed import rank
from kennel.engine.observer import Entry
from kennel.engine.running_means import RunningMeans, refuse_non_finite
from kennel.engine.step import GANStep
from kennel.images import to_float
from kennel.rng import seed_layers
from kennel.shapes import Images, Labels, Latents, Pixels
from kennel.techniques import StepContext


@dataclass(frozen=True)
class TrainPlan:
    """How long and in which portions, all in images shown to the discriminator, over all ranks."""

    batch_size: int
    steps: StepsConfig
    total_images: int
    tick_images: int
    seed: int
    device: torch.device


@dataclass
class Progress:
    """Where a run is. `seconds` is training time, over all its sittings.

    `tick_due`: the rounds of a tick are played, and its callbacks have not run to their end.
    """

    images_seen: int = 0
    seconds: float = 0.0
    tick_due: bool = False


Callback = Callable[[Entry, Progress], None]
"""What happens at a tick: it may read and add to the tick's `entry` in the log."""


@runtime_checkable
class Batches(Protocol):
    """Where real images come from: a `Stream`, or anything that gives a batch by how many were shown.

    Of several ranks each gets its own rows of the batch.
    """

    def at(self, images_seen: int) -> tuple[Pixels | Images, Labels | None]:
        """The batch after `images_seen` images, on the device, and its labels where there are some."""


DrawLatents = Callable[[int, torch.Generator], Latents]


class Trainer:
    """Plays the rounds of one run."""

    def __init__(
        self,
        step: GANStep,
        stream: Batches,
        draw_latents: DrawLatents,
        plan: TrainPlan,
        *,
        at_tick: Sequence[Callback] = (),
        at_round: Callable[[int], None] = lambda images_seen: None,
        at_stop: Callable[[Progress], None] = lambda progress: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`at_stop` saves what is there when `should_stop` turns true between two rounds."""
        self.step = step
        self.stream = stream
        self.draw_latents = draw_latents
        self.plan = plan
        self.at_tick = at_tick
        self.at_round = at_round
        self.at_stop = at_stop
        self.should_stop = should_stop
        self.running_means = RunningMeans()
        self.progress = Progress()

    def run(self) -> bool:
        """Plays until the budget is spent (True), or until `should_stop` (False)."""
        plan, progress = self.plan, self.progress
        started, before = time.monotonic(), progress.seconds
        outside = 0.0  # seconds spent in callbacks, which are not training
        tick_began = (progress.images_seen, progress.seconds)
        while progress.tick_due or progress.images_seen < plan.total_images:
            if self.should_stop():
                refuse_non_finite(self.running_means.means(), progress.images_seen)
                self.at_stop(progress)
                return False
            if not progress.tick_due:
                tick = progress.images_seen // plan.tick_images
                self.iteration()
                progress.seconds = before + time.monotonic() - started - outside
                self.at_round(progress.images_seen)
                finished = progress.images_seen >= plan.total_images
                progress.tick_due = progress.images_seen // plan.tick_images > tick or finished
            if progress.tick_due:
                callbacks_began = time.monotonic()
                self._tick(tick_began)
                outside += time.monotonic() - callbacks_began
                tick_began = (progress.images_seen, progress.seconds)
        return True

    def iteration(self) -> None:
        """The discriminator's turns, then the generator's."""
        plan, progress = self.plan, self.progress
        number_of_round = plan.steps.iteration_after(progress.images_seen // plan.batch_size)
        discriminator_turns = plan.steps.discriminator_steps_in(number_of_round)
        real: Images | None = None
        labels: Labels | None = None
        latents: Latents | None = None
        for left in reversed(range(discriminator_turns)):
            number = progress.images_seen // plan.batch_size
            context = self._turn("discriminator", number, float(plan.batch_size))
            real, labels = self._real(context)
            drawn, keep = self._latents(context), plan.steps.reuse_fakes and left == 0
            latents = drawn if keep else None
            self.running_means.add(self.step.discriminator_step(real, drawn, labels, context, keep))
            progress.images_seen += plan.batch_size
        if not self.step.generator_needs_real:
            real = None
        share = plan.batch_size * discriminator_turns / plan.steps.generator
        for index in range(plan.steps.generator):
            context = self._turn("generator", number_of_round * plan.steps.generator + index, share)
            drawn = self._latents(context) if latents is None else latents
            self.running_means.add(self.step.generator_step(real, drawn, labels, context))

    def _turn(self, player: Literal["discriminator", "generator"], number: int, share: float) -> StepContext:
        plan = self.plan
        context = StepContext(
            self.progress.images_seen, plan.total_images, player, number, plan.seed, plan.device, share
        )
        # Layers such as dropout draw from the global generator: it too depends on the turn alone.
        seed_layers(context.key("layers", rank()), plan.device)
        return context

    def _real(self, context: StepContext) -> tuple[Images, Labels | None]:
        pixels, labels = self.stream.at(context.images_seen)
        real = to_float(pixels)
        for technique in self.step.techniques:
            real = technique.augment_real(real, context)
        return real, labels

    def _latents(self, context: StepContext) -> Latents:
        random = context.random("latents")
        latents = random.own(self.draw_latents(self.plan.batch_size, random.generator))
        for technique in self.step.techniques:
            latents = technique.transform_latents(latents, context)
        return latents

    def _tick(self, began: tuple[int, float]) -> None:
        """Where a callback is given up, the tick stays due and the tally full, as before it."""
        full = self.running_means.state_dict()
        means: Mapping[str, float] = self.running_means.read()
        refuse_non_finite(means, self.progress.images_seen)
        images, seconds = self.progress.images_seen - began[0], self.progress.seconds - began[1]
        entry: Entry = {
            "images": self.progress.images_seen,
            "seconds": round(self.progress.seconds, 3),
            "images_per_second": round(images / seconds, 2) if seconds > 0 else None,
            **means,
        }
        self.progress.tick_due = False
        try:
            for callback in self.at_tick:
                callback(entry, self.progress)
        except CancelledError:
            self.running_means.load_state_dict(full)
            self.progress.tick_due = True
