"""Options of the alarms: what is monitored, the thresholds, and the reaction."""

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from kennel.config.base import Config

ALARM_NAMES = (
    "vanishing_gradient",
    "discriminator_saturation",
    "falling_diversity",
    "exploding_spectrum",
)
"""The keys of `AlarmsConfig` that are alarms; each can be set to `on` or `off`."""


class VanishingGradient(Config):
    """The generator's gradient norm is below `below` times its maximum so far for `ticks` ticks."""

    below: float = Field(0.03, gt=0, lt=1)
    ticks: PositiveInt = 2


class DiscriminatorSaturation(Config):
    """The discriminator's adversarial loss is below `below` times that of zero logits for `ticks` ticks."""

    below: float = Field(0.003, gt=0, lt=1)
    ticks: PositiveInt = 2


class FallingDiversity(Config):
    """The diversity of a batch is below `below` times its maximum so far for `ticks` ticks.

    The alarm also goes off when diversity is below `dull` times that of real images for `dull_ticks` ticks,
    counted after the first `dull_images` images of the run.
    """

    below: float = Field(0.6, gt=0, lt=1)
    ticks: PositiveInt = 2
    dull: float = Field(0.1, ge=0, lt=1)
    dull_ticks: PositiveInt = 5
    dull_images: NonNegativeInt = 10_000


class ExplodingSpectrum(Config):
    """A matrix's largest singular value is `factor` times its maximum up to `within` ticks ago."""

    factor: float = Field(4.0, gt=1, allow_inf_nan=False)
    within: PositiveInt = 3


class AlarmsConfig(Config):
    """`policy` is the reaction to an alarm: print a warning, stop the run, or roll back to a good checkpoint.

    After the n-th rollback every random draw has a new key, and learning rates are multiplied by
    `rate_factor` to the power of n. After `max_rollbacks` the next alarm stops the run. An alarm that is
    `off` (null) is disabled. `spectra` monitors singular values with `spectra_iterations` of power iteration
    a tick. Non-finite values are always detected; with `warn` they stop the run.
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
    def _parse_switches(cls, given: Any) -> Any:
        """Accepts `off` and `on` in place of an alarm's options."""
        if not isinstance(given, dict):
            return given
        switches: dict[bool, dict[str, Any] | None] = {False: None, True: {}}
        return {
            key: switches[value] if key in ALARM_NAMES and isinstance(value, bool) else value
            for key, value in given.items()
        }

    @property
    def max_lag(self) -> int:
        """The maximum number of ticks between the start of a problem and its alarm."""
        alarms = (self.vanishing_gradient, self.discriminator_saturation, self.falling_diversity)
        lags = [alarm.ticks for alarm in alarms if alarm is not None]
        if self.falling_diversity is not None and self.falling_diversity.dull > 0:
            lags.append(self.falling_diversity.dull_ticks)
        if self.exploding_spectrum is not None:
            lags.append(self.exploding_spectrum.within)
        return max([2, *lags])  # non-finite values roll back by two ticks
