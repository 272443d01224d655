"""The alarms by name: each checks the ticks so far, and says what it saw, why it matters and what to try.

An alarm is a pure function of the run's log, so that a resumed run raises the same alarms. Its thresholds are
options of the recipe (`kennel.config.alarms`).
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from kennel.config.alarms import (
    AlarmsConfig,
    DiscriminatorSaturation,
    ExplodingSpectrum,
    FallingDiversity,
    VanishingGradient,
)
from kennel.config.base import Config
from kennel.engine.singular_values import USED, Spectrum, layer_in_words
from kennel.registry import Registry

DIVERSITY = "batch_diversity"
"""Log key: the diversity of generated images divided by that of real ones."""
ADVERSARIAL = "adversarial_discriminator_loss"
"""Log key: the discriminator's loss without terms of techniques, if there are any."""
LOSS_AT_ZERO = "loss_at_zero_logits"
"""Key of a `Tick` for the adversarial loss at logits of 0, which is constant and not logged."""
NEGLIGIBLE_GRADIENT = 1e-6
"""A gradient norm that changes nothing: with a thousand weights or more its root mean square is at most 3e-8,
and Adam's step shrinks as that nears its epsilon of 1e-8."""
NON_FINITE = "non_finite"
"""The alarm that is raised between ticks too; see `diagnosis`."""


@dataclass(frozen=True)
class Tick:
    """One tick's log line, and its spectra by network and layer."""

    images: int
    log: Mapping[str, Any]
    spectra: Mapping[str, Spectrum]

    def value(self, key: str) -> float | None:
        value = self.log.get(key)
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class AlarmSignal:
    """What an alarm saw, as a clause, and the last image count without that sign."""

    saw: str
    good_until: int


OptionsOf = TypeVar("OptionsOf", bound=Config)


class Alarm(Generic[OptionsOf]):
    """Checks all ticks so far; the signal lasts as long as its sign. `why` and `remedies` are clauses."""

    why: ClassVar[str]
    remedies: ClassVar[str]

    def __init__(self, options: OptionsOf) -> None:
        self.options = options

    def check(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        """The signal at the newest of `ticks`, which are in order of age; None without a sign."""
        raise NotImplementedError  # abstract


ALARMS: Registry[type[Alarm[Any]]] = Registry("alarm")


def alarms_of(options: AlarmsConfig) -> dict[str, Alarm[Any]]:
    """The alarms that are on, by name."""
    chosen = {name: getattr(options, name) for name in ALARMS}
    return {name: ALARMS[name](one) for name, one in chosen.items() if one is not None}


def newly_raised(alarm: Alarm[Any], ticks: Sequence[Tick]) -> AlarmSignal | None:
    """The alarm's signal, if there was none at the tick before."""
    signal = alarm.check(ticks)
    return signal if signal is not None and alarm.check(ticks[:-1]) is None else None


def _good_until(ticks: Sequence[Tick], count: int) -> int:
    """The image count before the last `count` ticks, 0 if there is no earlier tick."""
    return ticks[-count - 1].images if len(ticks) > count else 0


def _values(ticks: Sequence[Tick], key: str) -> list[float]:
    return [value for tick in ticks if (value := tick.value(key)) is not None]


@ALARMS.register("vanishing_gradient")
class VanishingGradientAlarm(Alarm[VanishingGradient]):
    """The gradient norm is small compared with the run's highest so far, or is negligible.

    The highest is that of medians of three ticks in a row, so that a single outlier does not count.
    """

    why: ClassVar[str] = "the generator gets no useful gradient, so its images will not change or will drift"
    remedies: ClassVar[str] = (
        "a loss that does not saturate (loss.name=bce, hinge or relativistic_paired), fewer steps or a lower "
        "learning rate for the discriminator, techniques.instance_noise=on, or techniques.r1=on"
    )

    def check(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        count = self.options.ticks
        last, before = (_values(part, "generator_gradient_norm") for part in (ticks[-count:], ticks[:-count]))
        if len(last) < count:
            return None
        highest = max(last)
        threes = (before[start : start + 3] for start in range(len(before) - 2))
        usual = max([*before[:1], *map(statistics.median, threes)], default=0.0)
        if highest < self.options.below * usual:
            limit = f"{self.options.below:g} times its highest before ({usual:.3g})"
        elif highest < NEGLIGIBLE_GRADIENT:
            limit = f"{NEGLIGIBLE_GRADIENT:g}, which is too small for any optimizer"
        else:
            return None
        return AlarmSignal(
            f"the generator's gradient norm is {last[-1]:.3g} and was below {limit} for {count} ticks",
            _good_until(ticks, count),
        )


@ALARMS.register("discriminator_saturation")
class DiscriminatorSaturationAlarm(Alarm[DiscriminatorSaturation]):
    """The adversarial loss is a small share of its value at logits of 0.

    That is comparable between all losses that cannot be negative. Wasserstein losses can be, and a critic
    that separates real and generated images is no bad sign, so the alarm does not apply to them.
    """

    why: ClassVar[str] = (
        "the discriminator separates all real and generated images, so the generator gets little useful "
        "gradient"
    )
    remedies: ClassVar[str] = (
        "techniques.r1=on, techniques.instance_noise=on, techniques.one_sided_smoothing=on, "
        "techniques.diff_augment=on if the set is small, a smaller discriminator, or a lower "
        "discriminator_optimizer.learning_rate"
    )

    def check(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        count = self.options.ticks
        shares = [share for tick in ticks[-count:] if (share := _loss_share(tick)) is not None]
        if len(shares) < count or max(shares) >= self.options.below:
            return None
        return AlarmSignal(
            f"the discriminator's adversarial loss is {shares[-1]:.2%} of its value at logits of 0, and was "
            f"below {self.options.below:.2%} for {count} ticks",
            _good_until(ticks, count),
        )


def _loss_share(tick: Tick) -> float | None:
    loss, at_zero = tick.value(ADVERSARIAL), tick.value(LOSS_AT_ZERO)
    loss = tick.value("discriminator_loss") if loss is None else loss
    return None if loss is None or not at_zero else loss / at_zero


@ALARMS.register("falling_diversity")
class FallingDiversityAlarm(Alarm[FallingDiversity]):
    """Mode collapse: images of different latents become alike."""

    why: ClassVar[str] = "different latents give nearly the same image: the generator collapses to few modes"
    remedies: ClassVar[str] = (
        "a lower generator_optimizer.learning_rate, techniques.minibatch_discrimination=on or "
        "techniques.minibatch_stddev=on, techniques.r1=on, techniques.instance_noise=on, a larger batch, or "
        "the checkpoint from before (--checkpoint best)"
    )

    def check(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        return self._fallen(ticks) or self._low(ticks)

    def _fallen(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        """Compared with the run's highest so far, or with real images if that is less."""
        count = self.options.ticks
        last, before = _values(ticks[-count:], DIVERSITY), _values(ticks[:-count], DIVERSITY)
        if len(last) < count or not before:
            return None
        usual = min(1.0, max(before))
        if max(last) >= self.options.below * usual:
            return None
        return AlarmSignal(
            f"the nearest other image in a batch is {last[-1]:.2f} times as far as among real images, down "
            f"from {usual:.2f}: below {self.options.below:g} times that for {count} ticks",
            _good_until(ticks, count),
        )

    def _low(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        """Compared with real images, for a generator whose diversity is low from the start.

        The first images of a run do not count, because an untrained generator's images are alike too.
        """
        count, limit = self.options.dull_ticks, self.options.dull
        late = [tick for tick in ticks[-count:] if tick.images > self.options.dull_images]
        last = _values(late, DIVERSITY)
        if len(last) < count or max(last) >= limit:
            return None
        return AlarmSignal(
            f"the nearest other image in a batch is {last[-1]:.2f} times as far as among real images, and "
            f"was below {limit:g} times that for {count} ticks",
            _good_until(ticks, count),
        )


@dataclass(frozen=True)
class Growth:
    """The growth of a matrix's first singular value from `before` to `now`."""

    network: str
    layer: str
    before: float
    now: float

    @property
    def factor(self) -> float:
        """The ratio; 0 if `before` is 0."""
        return self.now / self.before if self.before > 0 else 0.0


def growths(now: Mapping[str, Spectrum], past: Sequence[Mapping[str, Spectrum]]) -> Iterator[Growth]:
    """Compares each matrix of `now` with its highest value in `past`; spectra are by network.

    If the newest median of the network's layers is higher, that counts instead, because a matrix that starts
    at zero grows without limit. Weights after a reparametrization have a median of their own, since spectral
    normalization keeps them all near 1.
    """
    for network, spectrum in now.items():
        history = [one.get(network, {}) for one in past]
        for layer, values in spectrum.items():
            firsts = [
                other[0]
                for name, other in (history[-1] if history else {}).items()
                if name.endswith(USED) == layer.endswith(USED)
            ]
            usual = statistics.median(firsts) if firsts else math.inf
            before = max([usual, *(one[layer][0] for one in history if layer in one)])
            yield Growth(network, layer, before, values[0])


@ALARMS.register("exploding_spectrum")
class ExplodingSpectrumAlarm(Alarm[ExplodingSpectrum]):
    """The first singular values explode as a generator collapses (Brock et al. 2019, section 4.1).

    It follows the weights that the optimizer updates, as in that paper, also if a spectral norm divides them
    at each pass; and the divided weights, which stay near 1 if the singular vector keeps up with the weight.
    """

    why: ClassVar[str] = "weights that grow so fast are the sign of a collapse (Brock et al. 2019)"
    remedies: ClassVar[str] = (
        "lower learning rates, techniques.singular_value_clamp=on for the generator, techniques.r1=on or "
        "techniques.spectral_norm=on for the discriminator, or a larger batch"
    )

    def check(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        within = self.options.within
        past = [tick for tick in ticks[:-within] if tick.spectra]
        if not past:
            return None
        found = growths(ticks[-1].spectra, [tick.spectra for tick in past])
        worst = max(found, key=lambda growth: growth.factor, default=None)
        if worst is None or worst.factor <= self.options.factor:
            return None
        return AlarmSignal(
            f"the first singular value of {worst.network} {layer_in_words(worst.layer)} is {worst.now:.3g}, "
            f"{worst.factor:.1f} times its highest value until {within} ticks ago ({worst.before:.3g})",
            past[-1].images,
        )
