"""The seams that a technique may implement, what it is handed there, and where it is registered."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from kennel import rng
from kennel.config.base import Config
from kennel.config.recipe import OptimizerConfig
from kennel.distributed import rank, world_size
from kennel.losses import Targets
from kennel.networks import Discriminator, Generator
from kennel.registry import Registry
from kennel.shapes import Embedded, Features, Images, Indices, Labels, Latents, Logits, Scalar, Styles

Kind = Literal["real", "fake"]
KINDS: tuple[Kind, Kind] = ("real", "fake")
Stage = Literal["initialise", "replace", "reparametrise", "copy"]
STAGES: tuple[Stage, ...] = ("initialise", "replace", "reparametrise", "copy")
"""Surgery happens in this order whatever the list says: spectral norm before an initialization would leave
weights that are not what the initialization promised, and a copy taken early copies the wrong network."""


@dataclass
class Networks:
    """The two networks. A technique's `build` may replace either."""

    generator: Generator
    discriminator: Discriminator

    def both(self) -> tuple[nn.Module, nn.Module]:
        """Generator and discriminator, for what treats them alike."""
        return self.generator, self.discriminator


@dataclass(frozen=True)
class StepContext:
    """One player's turn: when it is, whose, and the random draws that belong to it."""

    images_seen: int
    total_images: int
    player: Literal["discriminator", "generator"]
    number: int
    """How many turns this player has had before."""
    seed: int
    device: torch.device
    images_in_step: float = 0.0
    """This turn's share of the images that its round shows."""

    @property
    def progress(self) -> float:
        """0 at the start of the run, 1 at the end of its budget."""
        return self.images_seen / self.total_images

    def is_due(self, every: int) -> bool:
        """Whether something that happens on every so-manieth turn of this player happens now."""
        return self.number % every == 0

    def key(self, purpose: str, rank: int = 0) -> int:
        """The key of this turn's draws for `purpose`, those of all ranks together or of one `rank` alone."""
        return rng.key(self.seed, f"{self.player} {self.number} {purpose}", self.images_seen, rank)

    def random(self, purpose: str) -> rng.Draws:
        """Fresh draws on the device for `purpose`, for this rank's rows; the same turn gives the same."""
        generator = torch.Generator(device=self.device).manual_seed(self.key(purpose))
        return rng.Draws(generator, rank(), world_size())


@dataclass(frozen=True)
class ForwardOutput:
    """What a turn has come to when its loss is made: images, logits and the last hidden layer on both sides.

    Where several ranks share a batch, all of it is of this rank's rows. What mixes images goes by
    `mean_over_ranks` or `gathered` of `kennel.distributed`, and a term's mean over the ranks counts.

    `real` and `fake` are the images as they came from the set and from the generator; `real_seen` and
    `fake_seen` are what the discriminator saw of them, after every `view`, and `real_embedded` and
    `fake_embedded` what its trained layers start from (`Discriminator.embed`). In a generator's turn all that
    is real is there only where the loss or a technique asks for it.
    """

    networks: Networks
    context: StepContext
    latents: Latents
    labels: Labels | None
    fake: Images
    fake_seen: Images
    fake_embedded: Embedded
    fake_features: Features
    fake_logits: Logits
    discriminate: Callable[[Images], Logits]
    """The discriminator on other images of the same labels, in the step's precision and without a `view`."""
    generate: Callable[[Styles], Images]
    """The images of other styles, in the step's precision, where the generator has a mapping network."""
    real: Images | None = None
    real_seen: Images | None = None
    real_embedded: Embedded | None = None
    real_features: Features | None = None
    real_logits: Logits | None = None


class Technique(Config):
    """One trick of one paper. A subclass implements the seams it uses and leaves the others alone.

    `stage` says when `build` runs. `needs` lists what it needs of the loss ("labels") or of the recipe
    ("classes", "normal_latents").
    """

    stage: ClassVar[Stage] = "replace"
    needs: ClassVar[frozenset[str]] = frozenset()
    splits_batches: ClassVar[bool] = False
    """True where real and fake images must go through the discriminator in passes of their own."""
    generator_needs_real: ClassVar[bool] = False
    """True where it looks at real images in the generator's turn too."""
    supplies_class_signal: ClassVar[bool] = False
    """True where it makes the generator's class matter even if the discriminator reads no labels."""

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Reworks the networks once, before the first round; raises `RecipeError` where they do not fit."""

    def weights_replaced(self, networks: Networks) -> None:
        """Sees to what must hold of weights that took the place of those which `build` met."""

    def augment_real(self, real: Images, context: StepContext) -> Images:
        """Varies the real images as they come from the set."""
        return real

    def transform_latents(self, latents: Latents, context: StepContext) -> Latents:
        """Changes the latents that a turn draws."""
        return latents

    def transform_styles(
        self, styles: Styles, mapped: Callable[[Latents], Styles], context: StepContext
    ) -> Styles:
        """Changes the styles that a turn's images are drawn from, where the generator has a mapping network.

        `mapped` gives the styles of other latents, of the same labels.
        """
        return styles

    def transform_inputs(self, images: Images, context: StepContext, kind: Kind) -> Images:
        """Transforms what the discriminator sees, real and fake alike; `kind` keeps their noise apart."""
        return images

    def modify_targets(self, targets: Targets, context: StepContext) -> Targets:
        """Changes the labels of a loss that has labels, in the discriminator's turn."""
        return targets

    def select_fakes(self, fake_logits: Logits, context: StepContext) -> Indices | None:
        """Which images of a generator's turn its adversarial loss is made of; None for all.

        The logits are those of the whole batch, over all ranks.
        """
        return None

    def after_discriminator(self, output: ForwardOutput) -> None:
        """Acts on weights, or learns from the turn, after the discriminator's update."""

    def after_generator(self, output: ForwardOutput) -> None:
        """Acts on weights, or learns from the turn, after the generator's update."""

    def statistics(self) -> dict[str, Tensor]:
        """Scalars for the log (under the technique's name), asked for after every generator's turn."""
        return {}

    def sampling_generator(self) -> Generator | None:
        """The generator to sample from, where this technique keeps a better one."""
        return None

    def state_dict(self) -> dict[str, Tensor]:
        """What it remembers between turns, by name."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state_dict` gave."""


class LossTerm(Technique):
    """A technique that adds a term to a loss.

    `weight` multiplies its terms; with `every` > 1 they are computed on every so-manieth turn only, and
    multiplied by `every`. Each term's mean is logged, unweighted, under the technique's name.
    """

    gradients_of: ClassVar[frozenset[Kind]] = frozenset()
    """Images that the discriminator's term differentiates with respect to: `output.real`, `output.fake`."""
    clipped: ClassVar[bool] = False
    """True where the gradient of the generator's term is scaled down to the length of the rest's."""

    weight: NonNegativeFloat = 1.0
    interval: PositiveInt = 1

    @property
    def replaces_adversarial(self) -> bool:
        """Whether the generator minimises the terms alone, without the adversarial loss."""
        return False

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        """Adds to the discriminator's loss; None for nothing."""
        return None

    def generator_term(self, output: ForwardOutput) -> Scalar | None:
        """Adds to the generator's loss; None for nothing."""
        return None


class AuxiliaryNetwork(LossTerm):
    """A technique with a network of its own, which is trained after each of the generator's turns.

    `modify_networks` makes the network from `random`; the step trains it by `optimizer` and its
    `auxiliary_loss`.
    """

    optimizer: OptimizerConfig = OptimizerConfig()

    @property
    def network(self) -> nn.Module:
        """The network, once `build` has made it."""
        raise NotImplementedError  # abstract

    def auxiliary_loss(self, output: ForwardOutput) -> Scalar:
        """What the network minimises; the players' tensors must be detached."""
        raise NotImplementedError  # abstract


TECHNIQUES: Registry[type[Technique]] = Registry("technique")
