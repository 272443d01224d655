"""What is watched over in a run, when an alarm is raised, and what is done then."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from kennel.config.base import Config

ALARMS_OF_TICKS = (
    "vanishing_gradient",
    "discriminator_saturation",
    "falling_diversity",
    "exploding_spectrum",
)
"""The keys of `Alarms` that are alarms with a switch."""


class VanishingGradient(Config):
    """The generator's gradient is below `below` times its highest of the ticks before, `ticks` ticks long."""

    below: float = Field(0.03, gt=0, lt=1)
    ticks: PositiveInt = 2


class DiscriminatorSaturation(Config):
    """The adversarial loss of the discriminator is below `below` times that of one that knows nothing,
    `ticks` ticks long."""

    below: float = Field(0.003, gt=0, lt=1)
    ticks: PositiveInt = 2


class FallingDiversity(Config):
    """The batch's diversity is below `below` times the highest of the ticks before, `ticks` ticks long; or
    below `dull` times that of the real images, whatever was before, `dull_ticks` ticks long after the first
    `dull_images`, until which a generator may have learned nothing."""

    below: float = Field(0.6, gt=0, lt=1)
    ticks: PositiveInt = 2
    dull: float = Field(0.1, ge=0, lt=1)
    dull_ticks: PositiveInt = 5
    dull_images: NonNegativeInt = 10_000


class ExplodingSpectrum(Config):
    """A matrix's first singular value is `factor` times what it was at most until `within` ticks ago."""

    factor: float = Field(4.0, gt=1, allow_inf_nan=False)
    within: PositiveInt = 3


class AlarmsConfig(Config):
    """`policy` says what an alarm does: it is told only, ends the run, or takes it back to a good checkpoint.

    After the n-th rollback every draw has a new key, and learning rates are `rate_factor` to the power of n
    times theirs; after `most_rollbacks` the next alarm ends the run. An alarm that is `off` (null) is not
    raised. `spectra` follows singular values, by `spectra_iterations` of power iteration a tick. What is
    not finite is always found, and `warn` ends the run there too, since it is beyond repair.
    """

    policy: Literal["warn", "stop", "rollback"] = "warn"
    rate_factor: float = Field(1.0, gt=0, le=1)
    max_rollbacks: NonNegativeInt = 3
    spectra: bool = True
    spectra_iterations: PositiveInt = 2
    vanishing_gradient: VanishingGradient | None = VanishingGradient()
    discriminator_saturation: DiscriminatorSaturation | None = DiscriminatorSaturation()
    falling_diversity: FallingDiversity | None = FallingDiversity()
    exploding_spectrum: ExplodingSpectrum | None = ExplodingSpectrum()

    @model_validator(mode="before")
    @classmethod
    def _switched(cls, given: Any) -> Any:
        """`off` and `on` in place of an alarm's options."""
        if not isinstance(given, dict):
            return given
        switches: dict[bool, dict[str, Any] | None] = {False: None, True: {}}
        return {
            key: switches[value] if key in ALARMS_OF_TICKS and isinstance(value, bool) else value
            for key, value in given.items()
        }

    @property
    def longest(self) -> int:
        """How many ticks before an alarm its first signs can lie."""
        alarms = (self.vanishing_gradient, self.discriminator_saturation, self.falling_diversity)
        lags = [one.ticks for one in alarms if one is not None]
        if self.falling_diversity is not None and self.falling_diversity.dull > 0:
            lags.append(self.falling_diversity.dull_ticks)
        if self.exploding_spectrum is not None:
            lags.append(self.exploding_spectrum.within)
        return max([2, *lags])  # 2: what is not finite goes back by two ticks
