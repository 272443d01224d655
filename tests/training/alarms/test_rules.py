"""Alarms see what they are named after, stay silent on the rest, and say why it matters and what to try."""

import re
from typing import Any

import pytest

from kennel.config.alarms import ALARM_NAMES, AlarmsConfig
from kennel.config.recipe import override
from kennel.errors import RecipeError
from kennel.recipes import get_recipe
from kennel.training.alarms.diagnosis import REMEDIES
from kennel.training.alarms.rules import (
    ADVERSARIAL,
    ALARMS,
    DIVERSITY,
    LOSS_AT_ZERO,
    NON_FINITE,
    Tick,
    alarms_of,
    newly_raised,
)

GOOD: dict[str, Any] = {
    "generator_gradient_norm": 2.0,
    "discriminator_loss": 1.2,
    LOSS_AT_ZERO: 1.4,
    DIVERSITY: 0.8,
}
SPECTRA = {
    "generator": {"a": [1.0, 0.9], "b": [2.0, 1.0], "new": [0.0]},
    "discriminator": {"c": [1.0, 0.5]},
}
BAD: dict[str, dict[str, Any]] = {
    "vanishing_gradient": {"generator_gradient_norm": 0.01},
    "discriminator_saturation": {"discriminator_loss": 0.003},
    "falling_diversity": {DIVERSITY: 0.1},
    "exploding_spectrum": {"a": 9.0},
}


def tick(number: int, **changes: Any) -> Tick:
    """A good tick but for the changes; `a` is the first value of the generator's matrix a."""
    spectra = {player: dict(spectrum) for player, spectrum in SPECTRA.items()}
    if "a" in changes:
        spectra["generator"]["a"] = [changes.pop("a"), 0.9]
    return Tick(number * 100, {**GOOD, **changes}, spectra)


def ticks(count: int, *, bad: int = 0, **changes: Any) -> list[Tick]:
    """So many good ticks, then so many with the changes."""
    return [
        *(tick(n) for n in range(1, count + 1)),
        *(tick(n, **changes) for n in range(count + 1, count + bad + 1)),
    ]


@pytest.mark.parametrize("name", list(ALARMS))
def test_every_alarm_has_options_a_switch_a_reason_and_a_remedy(name):
    assert name in ALARM_NAMES
    assert name in AlarmsConfig.model_fields
    alarm = ALARMS[name]
    assert len(alarm.why) > 20
    assert not alarm.why.endswith(".")
    assert not alarm.remedies.endswith(".")
    off = override(get_recipe("digits"), [f"alarms.{name}=off"]).alarms
    assert name not in alarms_of(off)
    on = override(get_recipe("digits"), [f"alarms.{name}=off", f"alarms.{name}=on"]).alarms
    assert on == AlarmsConfig()
    # What is advised is a setting that exists.
    for setting in re.findall(r"techniques\.\w+=on|[\w.]+learning_rate", alarm.remedies):
        override(get_recipe("digits"), [setting if "=" in setting else f"{setting}=1e-4"])


def test_the_switches_are_those_of_the_registry():
    assert set(ALARM_NAMES) == set(ALARMS)


@pytest.mark.parametrize("name", list(ALARMS))
def test_every_alarm_is_silent_on_good_ticks_and_on_none(name):
    alarm = alarms_of(AlarmsConfig())[name]
    for count in range(8):
        assert alarm.check(ticks(count)) is None


@pytest.mark.parametrize("name", list(ALARMS))
def test_every_alarm_finds_its_own_sign_within_two_ticks_and_no_others(name):
    history = ticks(6, bad=2, **BAD[name])
    signs = {other: alarm.check(history) for other, alarm in alarms_of(AlarmsConfig()).items()}
    assert [other for other, sign in signs.items() if sign is not None] == [name]
    sign = signs[name]
    assert 0 < sign.good_until <= 600
    assert not sign.saw.endswith(".")


@pytest.mark.parametrize("name", list(ALARMS))
def test_an_alarm_is_raised_once_as_long_as_its_signs_last(name):
    history = ticks(6, bad=3, **BAD[name])
    alarm = alarms_of(AlarmsConfig())[name]
    raised = [count for count in range(1, 10) if newly_raised(alarm, history[:count])]
    assert len(raised) == 1


@pytest.mark.parametrize("name", ["vanishing_gradient", "discriminator_saturation", "falling_diversity"])
def test_one_bad_tick_is_no_alarm(name):
    history = ticks(6, bad=1, **BAD[name])
    assert alarms_of(AlarmsConfig())[name].check(history) is None
    assert alarms_of(AlarmsConfig())[name].check([*history, tick(9)]) is None


def test_what_a_run_says_where_all_was_well_is_the_tick_before_the_signs():
    history = ticks(6, bad=2, **BAD["falling_diversity"])
    assert alarms_of(AlarmsConfig())["falling_diversity"].check(history).good_until == 600
    assert alarms_of(AlarmsConfig())["falling_diversity"].check(history[5:]).good_until == 600


def test_a_single_huge_gradient_makes_no_later_one_vanish():
    history = [*ticks(3), tick(4, generator_gradient_norm=1e6), *(tick(n) for n in (5, 6, 7))]
    assert alarms_of(AlarmsConfig())["vanishing_gradient"].check(history) is None


def test_a_gradient_that_was_never_there_has_vanished_too():
    history = [tick(n, generator_gradient_norm=1e-9) for n in (1, 2)]
    assert alarms_of(AlarmsConfig())["vanishing_gradient"].check(history) is not None


def test_a_loss_without_a_floor_makes_no_discriminator_certain():
    history = [tick(n, discriminator_loss=-5.0, **{LOSS_AT_ZERO: None}) for n in range(1, 5)]
    assert alarms_of(AlarmsConfig())["discriminator_saturation"].check(history) is None


def test_certainty_is_read_off_the_adversarial_loss_without_terms():
    history = [tick(n, discriminator_loss=3.0, **{ADVERSARIAL: 1e-4}) for n in (1, 2)]
    assert "0.01%" in alarms_of(AlarmsConfig())["discriminator_saturation"].check(history).saw


def test_noise_that_was_more_diverse_than_real_images_is_not_asked_for_again():
    history = [tick(1, **{DIVERSITY: 3.0}), tick(2, **{DIVERSITY: 0.7}), tick(3, **{DIVERSITY: 0.6})]
    assert alarms_of(AlarmsConfig())["falling_diversity"].check(history) is None


def test_a_run_that_is_dull_from_its_start_is_told_beside_the_real_images():
    alarm = alarms_of(AlarmsConfig())["falling_diversity"]
    # A tick is 100 images; the first 10,000 do not count.
    history = [tick(n, **{DIVERSITY: 0.05}) for n in range(1, 120)]
    raised = [count for count in range(1, 120) if newly_raised(alarm, history[:count])]
    assert raised == [105]
    sign = alarm.check(history[:105])
    assert sign.good_until == 10_000
    assert "0.05 times as far as among real images, and was below 0.1 times that for 5 ticks" in sign.saw


def test_an_untrained_generators_first_ticks_are_not_called_dull():
    """The least that healthy runs had: `sn_dcgan` 0.15, `acgan` 0.18, `wgan` 0.21 for many ticks."""
    alarm = alarms_of(AlarmsConfig())["falling_diversity"]
    values = (0.16, 0.15, 0.15, 0.15, 0.15, 0.2)
    history = [tick(n, **{DIVERSITY: value}) for n, value in enumerate(values, 101)]
    assert not any(alarm.check(history[:count]) for count in range(7))
    four = [tick(n, **{DIVERSITY: value}) for n, value in enumerate((0.02, 0.02, 0.02, 0.02, 0.3, 0.5), 101)]
    assert not any(alarm.check(four[:count]) for count in range(7))


def test_dullness_is_off_at_0_and_a_rollback_keeps_checkpoints_for_it():
    off = override(get_recipe("digits"), ["alarms.falling_diversity.dull=0"]).alarms
    history = [tick(n, **{DIVERSITY: 0.0}) for n in range(101, 108)]
    assert alarms_of(off)["falling_diversity"].check(history) is None
    assert (off.max_lag, AlarmsConfig().max_lag) == (3, 5)


def test_a_matrix_that_starts_at_zero_may_grow_to_what_the_others_are():
    def grown(number: int, value: float) -> Tick:
        spectra = {"generator": {**SPECTRA["generator"], "new": [value]}, "discriminator": {}}
        return Tick(number * 100, GOOD, spectra)

    history = [*(grown(n, 0.0) for n in range(1, 5)), grown(5, 3.0)]
    assert alarms_of(AlarmsConfig())["exploding_spectrum"].check(history) is None
    exploded = alarms_of(AlarmsConfig())["exploding_spectrum"].check([*history[:-1], grown(5, 40.0)])
    assert "generator layer new is 40" in exploded.saw


def test_a_spectrum_that_grows_slowly_is_no_alarm_and_one_that_jumps_is():
    alarm = alarms_of(AlarmsConfig())["exploding_spectrum"]
    slow = [tick(n, a=1.3**n) for n in range(1, 30)]
    assert not any(alarm.check(slow[:n]) for n in range(1, 30))
    assert alarm.check([*slow[:10], tick(11, a=1.3**10 * 5)]) is not None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("alarms.polisy=stop", "did you mean 'policy'"),
        ("alarms.policy=panic", "policy"),
        ("alarms.falling_diversity.blow=1", "blow"),
        ("alarms.falling_diversity.below=2", "below"),
    ],
)
def test_a_wrong_option_is_told_in_one_sentence(setting, message):
    with pytest.raises(Exception, match=message) as error:
        override(get_recipe("digits"), [setting])
    assert isinstance(error.value, RecipeError) or "did you mean" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [*ALARMS, NON_FINITE])
def test_every_setting_that_is_advised_is_taken(name):
    advised = REMEDIES if name == NON_FINITE else ALARMS[name].remedies
    settings = re.findall(r"[a-z_]\w*(?:\.\w+)*=\w+", advised)
    assert settings
    for setting in settings:
        override(get_recipe("dcgan"), [setting])
