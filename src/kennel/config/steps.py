"""The steps of an iteration, and the length of a run."""

from bisect import bisect_left
from math import ceil

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from kennel.config.base import Config
from kennel.errors import RecipeError


class ExtraDiscriminatorSteps(Config):
    """`steps` discriminator steps in the first `first` iterations and in every `interval`-th (0: none).

    WGAN's released code trains its critic 100 times in the first 25 iterations and in every 500th.
    """

    steps: PositiveInt = 100
    first: NonNegativeInt = 25
    interval: NonNegativeInt = 500


class StepsConfig(Config):
    """Steps of each network in an iteration; `extra_d_steps` adds discriminator steps in some iterations.

    With `reuse_fakes` the generator step uses the images of the last discriminator step, as many training
    loops do. By default each step draws new images.
    """

    discriminator: PositiveInt = 1
    generator: PositiveInt = 1
    extra_d_steps: ExtraDiscriminatorSteps | None = None
    reuse_fakes: bool = False

    @model_validator(mode="after")
    def _check(self) -> "StepsConfig":
        if self.reuse_fakes and self.generator > 1:
            raise ValueError(
                f"reuse_fakes needs one generator step per iteration, and generator is {self.generator}: set "
                "generator=1, or reuse_fakes=false"
            )
        return self

    def discriminator_steps_in(self, number: int) -> int:
        """The number of discriminator steps in iteration `number`, counted from 0."""
        extra = self.extra_d_steps
        if extra is not None and (number < extra.first or (extra.interval and number % extra.interval == 0)):
            return extra.steps
        return self.discriminator

    def discriminator_steps_before(self, number: int) -> int:
        """The number of discriminator steps in all iterations before `number`."""
        extra = self.extra_d_steps
        if extra is None:
            return number * self.discriminator
        extended = min(number, extra.first)
        if extra.interval and number > extra.first:  # multiples of `interval` from `first` to `number` - 1
            extended += ceil(number / extra.interval) - ceil(extra.first / extra.interval)
        return number * self.discriminator + extended * (extra.steps - self.discriminator)

    def iteration_after(self, discriminator_steps: int) -> int:
        """The number of the iteration that follows after this number of discriminator steps."""
        return bisect_left(
            range(discriminator_steps + 1), discriminator_steps, key=self.discriminator_steps_before
        )


MAX_IMAGES = 10**15
"""The longest budget; at a million images a second it takes thirty years."""


class Budget(Config):
    """The length of a run, in images shown to the discriminator or in epochs. Exactly one of the two.

    At most `MAX_IMAGES`.
    """

    images: PositiveInt | None = None
    epochs: PositiveFloat | None = None

    @model_validator(mode="after")
    def _check(self) -> "Budget":
        if (self.images is None) == (self.epochs is None):
            raise ValueError("give a budget in images or in epochs, one of the two")
        if (self.images or 0) > MAX_IMAGES or (self.epochs or 0) > MAX_IMAGES:
            raise ValueError(_TOO_LARGE)
        return self

    def in_images(self, set_size: int) -> int:
        """The budget in images for a set of `set_size` images. Raises `RecipeError` above `MAX_IMAGES`."""
        if self.images is not None:
            return self.images
        images = max(1, round((self.epochs or 0) * set_size))
        if images > MAX_IMAGES:
            raise RecipeError(f"recipe.budget: {_TOO_LARGE}")
        return images


_TOO_LARGE = f"a budget is at most {MAX_IMAGES:,} images, and this is more: give fewer --images or --epochs"
