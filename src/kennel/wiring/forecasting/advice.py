"""What the figures of a forecast give reason to say: each line with what it rests on."""

from math import ceil

from kennel.wiring.forecasting.results import Forecast, clock, size_words

LONG_VALIDATION = 0.3
"""A share of the whole time above which validations are worth a word."""
SHORT_VALIDATION = 0.1
"""The share that the advice brings them down to."""
DEAR_TERM = 0.2
"""A share of a round's operations above which a term of every turn is worth a word."""
LAZY = 16
"""Every so-manieth turn: the interval of Karras et al. 2020 (arXiv 1912.04958)."""
FASTER = 1.5
"""How many times faster the other precision must be to be worth a word."""


def advice(found: Forecast) -> tuple[str, ...]:
    """Sentences; none where there is nothing to say."""
    return tuple(
        line
        for line in (
            _memory(found),
            _small_set(found),
            _validation(found),
            *_terms(found),
            _precision(found),
            _disk(found),
        )
        if line
    )


def _memory(found: Forecast) -> str:
    memory = found.memory
    if memory.fits or memory.free is None:
        return ""
    start = (
        f"It needs {size_words(memory.total)} and {size_words(memory.free)} are free, so nothing was timed"
    )
    if (batch := memory.batch_that_fits) is None:
        return f"{start}: what it keeps from round to round does not fit at any batch."
    return f"{start}: --set batch={batch} would fit (what a round holds was counted at two smaller batches)."


def _small_set(found: Forecast) -> str:
    if found.set_size >= found.batch:
        return ""
    return (
        f"The set has {found.set_size:,} images, fewer than a batch of {found.batch:,}: every batch shows "
        "some of them twice. Give --set batch=... or a larger set."
    )


def _validation(found: Forecast) -> str:
    times = found.times
    if times is None or found.validation is None or times.validations < 2:
        return ""
    share = times.validation / times.total if times.total else 0.0
    if share < LONG_VALIDATION:
        return ""
    rest = times.total - times.validation
    wanted = max(1, int(SHORT_VALIDATION * rest / (1 - SHORT_VALIDATION) // found.validation.seconds))
    every = ceil(found.ticks.count / wanted) * found.validation_every
    each = found.validation.seconds
    fewer = ceil(found.ticks.count / every)
    return (
        f"Validation takes {share:.0%} of the time: --set validation.every_ticks={every} would take "
        f"{clock(each * fewer)} in place of {clock(times.validation)} (measured: {each:.1f} s each)."
    )


def _terms(found: Forecast) -> list[str]:
    lines = []
    for name, share in found.term_shares.items():
        if share >= DEAR_TERM:
            lazily = 1 - share * (1 - 1 / LAZY)
            lines.append(
                f"{name} at every turn is {share:.0%} of the operations (counted): lazily, by "
                f"--set techniques.{name}.every={LAZY}, a round would have {lazily:.0%} of them. "
                "It is another training then."
            )
    return lines


def _precision(found: Forecast) -> str:
    rates = found.products
    other = next((name for name in rates if name != found.precision), None)
    if other is None or found.precision not in rates or rates[other] < FASTER * rates[found.precision]:
        return ""
    times = rates[other] / rates[found.precision]
    return f"A bare product is {times:.1f} times as fast in {other} here (measured): try --speed {other}."


def _disk(found: Forecast) -> str:
    disk = found.disk
    if disk.total <= disk.free:
        return ""
    return (
        f"The run will write {size_words(disk.total)}, and the disk has {size_words(disk.free)} free: "
        "free some, or give --set keep_checkpoints=1, --set keep_every_ticks=0 or fewer ticks."
    )
