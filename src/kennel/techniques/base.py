"""The base class of techniques, the arguments of its methods, and the registry."""

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
"""The order of `modify_networks`, independent of the order of the recipe: initialization precedes spectral
norm, and copies are made last."""


@dataclass
class Networks:
    """The two networks. `modify_networks` of a technique may replace either."""

    generator: Generator
    discriminator: Discriminator

    def both(self) -> tuple[nn.Module, nn.Module]:
        return self.generator, self.discriminator


@dataclass(frozen=True)
class StepContext:
    """One training step: its network, its position in the run, and its random draws."""

    images_seen: int
    total_images: int
    network: Literal["discriminator", "generator"]
    number: int
    """The number of previous steps of this network."""
    seed: int
    device: torch.device
    images_in_step: float = 0.0
    """This step's share of the images of its iteration."""

    @property
    def progress(self) -> float:
        """0 at the start of the run, 1 at the end of its budget."""
        return self.images_seen / self.total_images

    def is_due(self, interval: int) -> bool:
        """Whether this is every `interval`-th step of this network."""
        return self.number % interval == 0

    def key(self, purpose: str, rank: int = 0) -> int:
        """The random key of this step for `purpose`, shared by all ranks or for one `rank`."""
        return rng.key(self.seed, f"{self.network} {self.number} {purpose}", self.images_seen, rank)

    def random(self, purpose: str) -> rng.Draws:
        """Random draws on the device for `purpose`, for this rank's rows; the same for the same step."""
        generator = torch.Generator(device=self.device).manual_seed(self.key(purpose))
        return rng.Draws(generator, rank(), world_size())


@dataclass(frozen=True)
class ForwardOutput:
    """The forward pass of a step: images, logits and last hidden layers of both sides.

    With several ranks, tensors hold this rank's rows. To combine images of all ranks use `mean_over_ranks` or
    `all_gather` of `kennel.distributed`; loss terms are averaged over ranks.

    `real` and `fake` are the images from the set and from the generator. `real_seen` and `fake_seen` are the
    discriminator's inputs, after every `transform_inputs`; `real_embedded` and `fake_embedded` are the inputs
    of its trained layers (`Discriminator.embed`). In a generator step the real tensors are None unless the
    loss or a technique needs them.
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
    """The discriminator on other images with the same labels, at the step's precision, not transformed."""
    generate: Callable[[Styles], Images]
    """The images of other styles, at the step's precision, for a generator with a mapping network."""
    real: Images | None = None
    real_seen: Images | None = None
    real_embedded: Embedded | None = None
    real_features: Features | None = None
    real_logits: Logits | None = None


class Technique(Config):
    """A training technique. A subclass overrides the methods that it needs.

    `stage` is the stage of `modify_networks`. `needs` lists requirements on the loss ("labels") and on the
    recipe ("classes", "normal_latents").
    """

    stage: ClassVar[Stage] = "replace"
    needs: ClassVar[frozenset[str]] = frozenset()
    splits_batches: ClassVar[bool] = False
    """True if real and fake images need separate passes through the discriminator."""
    generator_needs_real: ClassVar[bool] = False
    """True if it uses real images in the generator step too."""
    supplies_class_signal: ClassVar[bool] = False
    """True if the generator learns its classes from it, even if the discriminator reads no labels."""

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Changes the networks once, before training. Raises `RecipeError` if they are unsuitable."""

    def weights_replaced(self, networks: Networks) -> None:
        """Restores its constraints on weights that were loaded after `modify_networks`."""

    def augment_real(self, real: Images, context: StepContext) -> Images:
        """Augments the real images from the set."""
        return real

    def transform_latents(self, latents: Latents, context: StepContext) -> Latents:
        """Changes the latents of a step."""
        return latents

    def transform_styles(
        self, styles: Styles, mapped: Callable[[Latents], Styles], context: StepContext
    ) -> Styles:
        """Changes the styles of a step's images, for a generator with a mapping network.

        `mapped` maps other latents, with the same labels, to styles.
        """
        return styles

    def transform_inputs(self, images: Images, context: StepContext, kind: Kind) -> Images:
        """Transforms the discriminator's input; use `kind` in the purpose of random draws."""
        return images

    def modify_targets(self, targets: Targets, context: StepContext) -> Targets:
        """Changes the labels of the discriminator's loss, if it has labels."""
        return targets

    def select_fakes(self, fake_logits: Logits, context: StepContext) -> Indices | None:
        """The images of a generator step that its adversarial loss uses; None for all.

        The logits are those of the whole batch, over all ranks.
        """
        return None

    def after_discriminator(self, output: ForwardOutput) -> None:
        """Called after the discriminator's update."""

    def after_generator(self, output: ForwardOutput) -> None:
        """Called after the generator's update."""

    def statistics(self) -> dict[str, Tensor]:
        """Scalars for the log, prefixed with the technique's name; called after every generator step."""
        return {}

    def sampling_generator(self) -> Generator | None:
        """The generator to sample from, if the technique has one (an average)."""
        return None

    def state_dict(self) -> dict[str, Tensor]:
        """Its state between steps, by name."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores the result of `state_dict`."""


class LossTerm(Technique):
    """A technique that adds a term to a loss.

    `weight` multiplies its terms. With `interval` > 1 they are computed in every n-th step only, and
    multiplied by n. The mean of each term is logged, unweighted, under the technique's name.
    """

    gradients_of: ClassVar[frozenset[Kind]] = frozenset()
    """The images by which the discriminator's term differentiates: `output.real`, `output.fake`."""
    clipped: ClassVar[bool] = False
    """True if the gradient of the generator's term is clipped to the norm of the rest's."""

    weight: NonNegativeFloat = 1.0
    interval: PositiveInt = 1

    @property
    def replaces_adversarial(self) -> bool:
        """Whether the generator minimizes only the terms, without the adversarial loss."""
        return False

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        """The term of the discriminator's loss; None for none."""
        return None

    def generator_term(self, output: ForwardOutput) -> Scalar | None:
        """The term of the generator's loss; None for none."""
        return None


class AuxiliaryNetwork(LossTerm):
    """A technique with a network of its own, which is trained after each generator step.

    `modify_networks` makes the network; the step trains it with `optimizer` on `auxiliary_loss`.
    """

    optimizer: OptimizerConfig = OptimizerConfig()

    @property
    def network(self) -> nn.Module:
        """The network; available after `modify_networks`."""
        raise NotImplementedError  # abstract

    def auxiliary_loss(self, output: ForwardOutput) -> Scalar:
        """The network's loss; tensors of the generator and the discriminator must be detached."""
        raise NotImplementedError  # abstract


TECHNIQUES: Registry[type[Technique]] = Registry("technique")
