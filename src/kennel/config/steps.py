"""The steps of an iteration, and how long a run is."""

from bisect import bisect_left
from math import ceil

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from kennel.config.base import Config
from kennel.errors import RecipeError


class ExtraDiscriminatorSteps(Config):
    """More discriminator turns in the first `first` rounds and in every `every`-th (0: no other).

    WGAN's released code trains its critic 100 times in the first 25 rounds and in every 500th.
    """

    steps: PositiveInt = 100
    first: NonNegativeInt = 25
    interval: NonNegativeInt = 500


class StepsConfig(Config):
    """Turns of each player in a round; `boost` gives the discriminator more in some rounds.

    With `same_fakes` the generator learns from the images that the discriminator saw last, as many training
    loops have it; by default each turn draws its own. It saves one drawing a round.
    """

    discriminator: PositiveInt = 1
    generator: PositiveInt = 1
    extra_d_steps: ExtraDiscriminatorSteps | None = None
    reuse_fakes: bool = False

    @model_validator(mode="after")
    def _only_one_turn_can_use_them(self) -> "StepsConfig":
        if self.reuse_fakes and self.generator > 1:
            raise ValueError(
                "same_fakes is for one turn of the generator a round, since a second would learn from fakes "
                "of a generator that has moved on: give generator 1, or same_fakes=false"
            )
        return self

    def discriminator_steps_in(self, number: int) -> int:
        """The discriminator's turns in the round of this number, from 0."""
        boost = self.extra_d_steps
        if boost is not None and (number < boost.first or (boost.interval and number % boost.interval == 0)):
            return boost.steps
        return self.discriminator

    def discriminator_steps_before(self, number: int) -> int:
        """The discriminator's turns in all rounds before this one."""
        boost = self.extra_d_steps
        if boost is None:
            return number * self.discriminator
        boosted = min(number, boost.first)
        if boost.interval and number > boost.first:  # multiples of `every` from `first` to `number` - 1
            boosted += ceil(number / boost.interval) - ceil(boost.first / boost.interval)
        return number * self.discriminator + boosted * (boost.steps - self.discriminator)

    def iteration_after(self, discriminator_turns: int) -> int:
        """The number of the round that follows after so many turns of the discriminator."""
        return bisect_left(
            range(discriminator_turns + 1), discriminator_turns, key=self.discriminator_steps_before
        )


MOST_IMAGES = 10**15
"""No run is longer: at a million images a second it would take thirty years."""


class Budget(Config):
    """How long a run is: images shown to the discriminator, or passes over the set. Exactly one.

    At most `MOST_IMAGES`.
    """

    images: PositiveInt | None = None
    epochs: PositiveFloat | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Budget":
        if (self.images is None) == (self.epochs is None):
            raise ValueError("give a budget in images or in epochs, one of the two")
        if (self.images or 0) > MOST_IMAGES or (self.epochs or 0) > MOST_IMAGES:
            raise ValueError(_TOO_MUCH)
        return self

    def in_images(self, set_size: int) -> int:
        """The budget in images, for a set of `set_size` images; `RecipeError` beyond `MOST_IMAGES`."""
        if self.images is not None:
            return self.images
        images = max(1, round((self.epochs or 0) * set_size))
        if images > MOST_IMAGES:
            raise RecipeError(f"recipe.budget: {_TOO_MUCH}")
        return images


_TOO_MUCH = f"a budget is at most {MOST_IMAGES:,} images, and this is more: give fewer --images or --epochs"
