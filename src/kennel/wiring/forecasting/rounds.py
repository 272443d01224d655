"""The rounds of a run by what happens in them, how many there are of each kind, and playing one of each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, gcd, lcm

import torch

from kennel.monitor import Tally
from kennel.recipe import Recipe, Turns
from kennel.sampler import draw_latents
from kennel.step import Step
from kennel.trainer import Batches, Plan, Trainer

LONGEST_PERIOD = 1000
"""Rounds whose kinds are looked at, where the terms' common period is longer."""
EXTRA_TURNS = 4
"""More turns of the discriminator in the round that tells what one of them costs."""

Due = tuple[str, ...]
"""The names of the terms that are due in a turn."""


@dataclass(frozen=True)
class RoundKind:
    """Rounds in whose turns the same terms are due: the same work."""

    discriminator: tuple[Due, ...]
    generator: tuple[Due, ...]


@dataclass(frozen=True)
class Rounds:
    """The rounds of a run, or of what is left of it.

    `numbers` has the rounds of each kind within the first `period`; `count` rounds are played, and
    `extra_turns` of the discriminator that boosted rounds have beyond the others.
    """

    numbers: Mapping[RoundKind, tuple[int, ...]]
    period: int
    count: int
    extra_turns: int
    images: int

    def share(self, kind: RoundKind) -> float:
        """Which part of all rounds is of this kind."""
        return len(self.numbers[kind]) / self.period

    def number(self, kind: RoundKind, index: int) -> int:
        """The `index`-th round of this kind in the run, from 0; from the beginning again past its end."""
        numbers = self.numbers[kind]
        later = index // len(numbers) % max(1, self.count // self.period)
        return numbers[index % len(numbers)] + self.period * later


def rounds_of(plan: Plan, every: Mapping[str, int], images_seen: int = 0) -> Rounds:
    """The rounds that are left after `images_seen` images; `every` names the terms with their `every`."""
    turns = plan.turns
    first = turns.round_after(images_seen // plan.batch)
    last = turns.round_after(ceil(plan.total_images / plan.batch))
    count = max(0, last - first)
    played = turns.discriminator_before(first + count) - turns.discriminator_before(first)
    in_a_round = (turns.discriminator, turns.generator)
    periods = [each // gcd(each, many) for each in every.values() for many in in_a_round]
    period = max(1, min(lcm(*periods), LONGEST_PERIOD, last))
    numbers: dict[RoundKind, list[int]] = {}
    for number in range(period):
        kind = RoundKind(_due_in(number, turns.discriminator, every), _due_in(number, turns.generator, every))
        numbers.setdefault(kind, []).append(number)
    return Rounds(
        {kind: tuple(found) for kind, found in numbers.items()},
        period,
        count,
        played - count * turns.discriminator,
        played * plan.batch,
    )


def _due_in(number: int, turns: int, every: Mapping[str, int]) -> tuple[Due, ...]:
    return tuple(
        tuple(name for name, each in every.items() if turn % each == 0)
        for turn in range(number * turns, (number + 1) * turns)
    )


class Player:
    """Plays single rounds with the trainer that a run has; what they teach the networks is thrown away."""

    def __init__(self, step: Step, stream: Batches, recipe: Recipe, plan: Plan, rounds: Rounds) -> None:
        """Nothing is played yet."""
        self._rounds, self._plan = rounds, replace(plan, turns=_unboosted(plan.turns))
        more = self._plan.turns.model_copy(update={"discriminator": plan.turns.discriminator + EXTRA_TURNS})
        self._trainers = [
            Trainer(step, stream, lambda count, random: draw_latents(recipe.latent, count, random), one)
            for one in (self._plan, replace(plan, turns=more))
        ]
        self._played: dict[RoundKind, int] = {}

    @property
    def tally(self) -> Tally:
        """The statistics of what was played."""
        return self._trainers[0].tally

    def play(self, kind: RoundKind) -> None:
        """The next round of this kind."""
        index = self._played.get(kind, 0)
        self._played[kind] = index + 1
        trainer = self._trainers[0]
        number = self._rounds.number(kind, index)
        trainer.progress.images_seen = number * self._plan.turns.discriminator * self._plan.batch
        trainer.round()

    def play_longer(self) -> None:
        """A round with `EXTRA_TURNS` more turns of the discriminator."""
        trainer = self._trainers[1]
        trainer.progress.images_seen = 0
        trainer.round()


def _unboosted(turns: Turns) -> Turns:
    return turns.model_copy(update={"boost": None})


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
