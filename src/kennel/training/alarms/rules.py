"""Alarms by name: each looks at the ticks so far and says what it saw, why it matters and what to try.

An alarm is a pure function of the run's log: nothing of it has to be saved, and a run that resumes raises the
same ones. Thresholds are its options in the recipe (`kennel.config.alarms`).
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
"""The log's key for the diversity of generated images as a share of the real ones'."""
ADVERSARIAL = "adversarial_discriminator_loss"
"""The log's key for the discriminator's loss without techniques' terms, where there are some."""


@dataclass(frozen=True)
class Tick:
    """What is known of one tick: its line of the log, and its spectra by player and layer."""

    images: int
    log: Mapping[str, Any]
    spectra: Mapping[str, Spectrum]

    def value(self, key: str) -> float | None:
        """A number of the log's line."""
        value = self.log.get(key)
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True)
class AlarmSignal:
    """What an alarm saw, in a sentence without its end, and until which image count all was well."""

    saw: str
    good_until: int


OptionsOf = TypeVar("OptionsOf", bound=Config)


class Alarm(Generic[OptionsOf]):
    """Looks at all ticks so far and finds the same signs as long as they last."""

    why: ClassVar[str]
    """Why it matters: a sentence without its end."""
    remedies: ClassVar[str]
    """What to try: a sentence without its end."""

    def __init__(self, options: OptionsOf) -> None:
        """`options` are the recipe's."""
        self.options = options

    def look(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        """The sign that the newest tick completes or continues, oldest tick first; None where all is well."""
        raise NotImplementedError  # abstract


ALARMS: Registry[type[Alarm[Any]]] = Registry("alarm")

NON_FINITE = "non_finite"
"""The alarm that waits for no tick: the sentinel's, in `diagnosis`."""


def alarms_of(options: AlarmsConfig) -> dict[str, Alarm[Any]]:
    """The alarms that are on, by name."""
    chosen = {name: getattr(options, name) for name in ALARMS}
    return {name: ALARMS[name](one) for name, one in chosen.items() if one is not None}


def newly_raised(alarm: Alarm[Any], ticks: Sequence[Tick]) -> AlarmSignal | None:
    """The alarm's sign where it was not there at the tick before already."""
    sign = alarm.look(ticks)
    return sign if sign is not None and alarm.look(ticks[:-1]) is None else None


def _good_until(ticks: Sequence[Tick], signs: int) -> int:
    """Where all was well, if the last so many ticks have signs; 0 where there is no tick before them."""
    return ticks[-signs - 1].images if len(ticks) > signs else 0


@ALARMS.register("vanishing_gradient")
class GeneratorGradientVanishes(Alarm[VanishingGradient]):
    """Against the highest of the run's earlier ticks; or, from the first tick on, next to nothing.

    A single tick with a huge gradient makes no later one small: of three ticks in a row the median counts.
    """

    why: ClassVar[str] = (
        "the generator is no longer told how to change, and what it draws will stay as it is or drift"
    )
    remedies: ClassVar[str] = (
        "a loss that does not saturate (loss.name=bce, hinge or relativistic_paired), fewer turns or a lower "
        "learning rate for the discriminator, techniques.instance_noise=on, or techniques.r1=on"
    )

    def look(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        """Both forms, over the last ticks."""
        need = self.options.ticks
        norms = [tick.value("generator_gradient_norm") for tick in ticks]
        last = [norm for norm in norms[-need:] if norm is not None]
        if len(last) < need:
            return None
        highest = max(last)
        before = [norm for norm in norms[:-need] if norm is not None]
        threes = (before[place : place + 3] for place in range(len(before) - 2))
        usual = max([*before[:1], *map(statistics.median, threes)], default=0.0)
        if highest < self.options.below * usual:
            how = f"{self.options.below:g} times its highest before ({usual:.3g})"
        elif highest < NOTHING:
            how = f"{NOTHING:g}, which is nothing to any optimiser"
        else:
            return None
        return AlarmSignal(
            f"the generator's gradient has a length of {last[-1]:.3g} and was below {how} for {need} ticks",
            _good_until(ticks, need),
        )


NOTHING = 1e-6
"""A gradient's length that moves nothing: with a thousand weights or more it is a root mean square of 3e-8 at
most, and Adam's step shrinks where that nears its epsilon of 1e-8."""


@ALARMS.register("discriminator_saturation")
class DiscriminatorIsCertain(Alarm[DiscriminatorSaturation]):
    """By the adversarial loss, as a share of that of a discriminator that gives 0 to every image.

    That reads alike for every loss that cannot be less than 0. Wasserstein's has no such floor: a critic that
    tells the sides apart is doing its work, and the alarm is silent there.
    """

    why: ClassVar[str] = (
        "it tells every real image from every generated one, so the generator learns little and unsteadily "
        "from it"
    )
    remedies: ClassVar[str] = (
        "techniques.r1=on, techniques.instance_noise=on, techniques.one_sided_smoothing=on, "
        "techniques.diff_augment=on where the set is small, a smaller discriminator, or a lower "
        "discriminator_optimizer.learning_rate"
    )

    def look(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        """Over the last ticks; `ignorant_loss` in their lines is the loss to compare with."""
        need = self.options.ticks
        shares = [_certainty(tick) for tick in ticks[-need:]]
        known = [share for share in shares if share is not None]
        if len(known) < need or max(known) >= self.options.below:
            return None
        return AlarmSignal(
            f"the discriminator's adversarial loss is {known[-1]:.2%} of that of one that knows nothing, and "
            f"was below {self.options.below:.2%} for {need} ticks",
            _good_until(ticks, need),
        )


IGNORANT = "ignorant_loss"
"""A tick's key for the adversarial loss at logits of 0; it is the same all through a run and not logged."""


def _certainty(tick: Tick) -> float | None:
    loss, ignorant = tick.value(ADVERSARIAL), tick.value(IGNORANT)
    loss = tick.value("discriminator_loss") if loss is None else loss
    return None if loss is None or not ignorant else loss / ignorant


@ALARMS.register("falling_diversity")
class DiversityFalls(Alarm[FallingDiversity]):
    """Mode collapse: images of different latents come to look alike."""

    why: ClassVar[str] = "different latents give nearly the same image: the generator collapses to few modes"
    remedies: ClassVar[str] = (
        "a lower generator_optimizer.learning_rate, techniques.minibatch_discrimination=on or "
        "techniques.minibatch_stddev=on, techniques.r1=on, techniques.instance_noise=on, a larger batch, or "
        "the checkpoint from before (--checkpoint best)"
    )

    def look(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        """A fall from the ticks before; or little beside the real images, also where it never was more."""
        return self._fallen(ticks) or self._dull(ticks)

    def _fallen(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        """Against the highest of the ticks before, and of no more than what real images have."""
        need = self.options.ticks
        values = [tick.value(DIVERSITY) for tick in ticks]
        last = [value for value in values[-need:] if value is not None]
        before = [value for value in values[:-need] if value is not None]
        if len(last) < need or not before:
            return None
        usual = min(1.0, max(before))
        if max(last) >= self.options.below * usual:
            return None
        return AlarmSignal(
            f"the nearest other image in a batch is {last[-1]:.2f} times as far as among real images, "
            f"against {usual:.2f} before: below {self.options.below:g} times that for {need} ticks",
            _good_until(ticks, need),
        )

    def _dull(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        """Against the real images: a generator that is dull from its start has nothing to fall from.

        One that has learned nothing draws alike too, so the first images of a run do not count.
        """
        need, dull = self.options.dull_ticks, self.options.dull
        late = [tick for tick in ticks[-need:] if tick.images > self.options.dull_images]
        last = [value for tick in late if (value := tick.value(DIVERSITY)) is not None]
        if len(last) < need or max(last) >= dull:
            return None
        return AlarmSignal(
            f"the nearest other image in a batch is {last[-1]:.2f} times as far as among real images, and "
            f"was below {dull:g} times that for {need} ticks",
            _good_until(ticks, need),
        )


@dataclass(frozen=True)
class Growth:
    """How a matrix's first singular value grew: `player` and `layer`, from `before` to `now`."""

    player: str
    layer: str
    before: float
    now: float

    @property
    def factor(self) -> float:
        """By how much; 0 where there was nothing before."""
        return self.now / self.before if self.before > 0 else 0.0


def growths(now: Mapping[str, Spectrum], past: Sequence[Mapping[str, Spectrum]]) -> Iterator[Growth]:
    """Of every matrix of `now` against its highest in the `past`, or against the newest median of its
    network where that is more: a matrix that starts at zero grows without end, and says nothing.

    Spectra by player. What reparametrized layers use has a median of its own: under spectral normalization
    those values are all about 1.
    """
    for player, spectrum in now.items():
        histories = [one.get(player, {}) for one in past]
        for layer, values in spectrum.items():
            firsts = [
                other[0]
                for name, other in (histories[-1] if histories else {}).items()
                if name.endswith(USED) == layer.endswith(USED)
            ]
            usual = statistics.median(firsts) if firsts else math.inf
            before = max([usual, *(one[layer][0] for one in histories if layer in one)])
            yield Growth(player, layer, before, values[0])


@ALARMS.register("exploding_spectrum")
class SpectrumExplodes(Alarm[ExplodingSpectrum]):
    """Brock et al. 2019, section 4.1: first singular values explode as a generator collapses.

    What the optimizer moves is followed, also where a spectral norm divides it by that value at each pass,
    as in the networks of that paper; and what such a layer uses, which the division holds near 1 as long as
    its singular vector keeps up with the weight.
    """

    why: ClassVar[str] = "weights that grow so fast are the mark of a collapse under way (Brock et al. 2019)"
    remedies: ClassVar[str] = (
        "lower learning rates, techniques.singular_value_clamp=on for the generator, techniques.r1=on or "
        "techniques.spectral_norm=on for the discriminator, or a larger batch"
    )

    def look(self, ticks: Sequence[Tick]) -> AlarmSignal | None:
        """Every matrix against what it was at most until `within` ticks ago."""
        within = self.options.within
        past = [tick for tick in ticks[:-within] if tick.spectra]
        if not past:
            return None
        found = growths(ticks[-1].spectra, [tick.spectra for tick in past])
        worst = max(found, key=lambda growth: growth.factor, default=None)
        if worst is None or worst.factor <= self.options.factor:
            return None
        return AlarmSignal(
            f"the first singular value of {worst.player} {layer_in_words(worst.layer)} is {worst.now:.3g}, "
            f"{worst.factor:.1f} times the {worst.before:.3g} that it was at most until {within} ticks ago",
            past[-1].images,
        )
