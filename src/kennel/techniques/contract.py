"""The seams that a technique may implement, what it is handed there, and where it is registered."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from kennel import randomness
from kennel.losses import Targets
from kennel.networks import Discriminator, Generator
from kennel.options import Options
from kennel.registry import Registry
from kennel.shapes import Images, Labels, Logits, Scalar

Kind = Literal["real", "fake"]
Stage = Literal["initialise", "replace", "reparametrise", "copy"]
STAGES: tuple[Stage, ...] = ("initialise", "replace", "reparametrise", "copy")
"""Surgery happens in this order whatever the list says: spectral norm before an initialisation would leave
weights that are not what the initialisation promised, and a copy taken early copies the wrong network."""


@dataclass
class Players:
    """The two networks. A technique's `build` may replace either."""

    generator: Generator
    discriminator: Discriminator

    def both(self) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator, for what treats them alike."""
        return self.generator, self.discriminator


@dataclass(frozen=True)
class Turn:
    """One player's turn: when it is, whose, and the random generators that belong to it."""

    images_seen: int
    total_images: int
    player: Literal["discriminator", "generator"]
    number: int
    """How many turns this player has had before."""
    seed: int
    device: torch.device
    images_in_turn: float = 0.0
    """This turn's share of the images that its round shows."""

    @property
    def progress(self) -> float:
        """0 at the start of the run, 1 at the end of its budget."""
        return self.images_seen / self.total_images

    def due(self, every: int) -> bool:
        """Whether something that happens on every so-manieth turn of this player happens now."""
        return self.number % every == 0

    def key(self, purpose: str) -> int:
        """The key of this turn's draws for `purpose`."""
        return randomness.key(self.seed, f"{self.player} {self.number} {purpose}", self.images_seen)

    def random(self, purpose: str) -> torch.Generator:
        """A fresh generator on the device for `purpose`; the same turn gives the same draws."""
        return torch.Generator(device=self.device).manual_seed(self.key(purpose))


@dataclass(frozen=True)
class Play:
    """What a technique's term may look at: the images as the discriminator saw them, and its logits.

    In a generator's turn `real` and `real_logits` are there only where the loss asks for them.
    """

    players: Players
    turn: Turn
    real: Images | None
    fake: Images
    labels: Labels | None
    real_logits: Logits | None
    fake_logits: Logits


class Technique(Options):
    """One trick of one paper. A subclass implements the seams it uses and leaves the others alone.

    `stage` says when `build` runs. `needs` lists what it needs of the loss ("labels", ...).
    """

    stage: ClassVar[Stage] = "replace"
    needs: ClassVar[frozenset[str]] = frozenset()
    splits_batches: ClassVar[bool] = False
    """True where real and fake images must go through the discriminator in passes of their own."""

    def build(self, players: Players, random: torch.Generator) -> None:
        """Reworks the networks once, before the first round."""

    def augment(self, real: Images, turn: Turn) -> Images:
        """Varies the real images as they come from the set."""
        return real

    def view(self, images: Images, turn: Turn, kind: Kind) -> Images:
        """Transforms what the discriminator sees, real and fake alike; `kind` keeps their noise apart."""
        return images

    def targets(self, targets: Targets, turn: Turn) -> Targets:
        """Changes the labels of a loss that has labels, in the discriminator's turn."""
        return targets

    def after_discriminator(self, players: Players, turn: Turn) -> None:
        """Acts on weights after the discriminator's update."""

    def after_generator(self, players: Players, turn: Turn) -> None:
        """Acts on weights after the generator's update."""

    def sampling_generator(self) -> Generator | None:
        """The generator to sample from, where this technique keeps a better one."""
        return None

    def state_dict(self) -> dict[str, Tensor]:
        """What it remembers between turns, by name."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state_dict` gave."""


class Term(Technique):
    """A technique that adds a term to a loss.

    `weight` multiplies its terms; with `every` > 1 they are computed on every so-manieth turn only, and
    multiplied by `every`.
    """

    weight: float = 1.0
    every: PositiveInt = 1

    def discriminator_term(self, play: Play) -> Scalar | None:
        """Adds to the discriminator's loss; None for nothing."""
        return None

    def generator_term(self, play: Play) -> Scalar | None:
        """Adds to the generator's loss; None for nothing."""
        return None


TECHNIQUES: Registry[type[Technique]] = Registry("technique")
