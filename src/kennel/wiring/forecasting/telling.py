"""A forecast in words: a heading, and a row for each thing that a run takes."""

from collections.abc import Iterator
from datetime import datetime

from kennel.wiring.forecasting.results import Forecast, clock, size_words

PARTS_A_ROW = 3


def heading(found: Forecast) -> str:
    """What would be trained on what."""
    channels, height, width = found.shape
    kind = "grey" if channels == 1 else "colour"
    return (
        f"{found.recipe} on {found.data} ({found.set_size:,} images, {width}x{height}, {kind}), "
        f"{found.device}, {found.precision}, batch {found.batch}"
    )


def rows(found: Forecast, now: datetime) -> Iterator[tuple[str, str]]:
    """(what, how much); a row without a name goes on with the one before."""
    yield "parameters", ", ".join(f"{name} {count:,}" for name, count in found.parameters.items())
    yield from _work(found)
    yield from _memory(found)
    disk = found.disk
    yield (
        "disk",
        f"{size_words(disk.total)}, {size_words(disk.free)} free: {disk.checkpoints} checkpoints of "
        f"{size_words(disk.checkpoint_bytes)}, {disk.grids} grids of {size_words(disk.grid_bytes)}",
    )
    yield from _times(found, now)


def _work(found: Forecast) -> Iterator[tuple[str, str]]:
    flops = found.flops
    kinds = "" if found.kinds == 1 else f", mean of {found.kinds} kinds of rounds"
    yield (
        "work",
        f"{flops / 1e9:,.1f} GFLOP a round, {flops / found.round_images / 1e9:,.3g} an image{kinds}",
    )
    product = found.products[found.precision]
    rate, speed = found.images_per_second, found.speed
    if rate is None or speed is None or found.flops_per_second is None:
        return
    yield (
        "speed",
        f"{_rate(rate)} images/s (median of {speed.samples} rounds, the middle half "
        f"{_rate(rate * speed.seconds / speed.slow)} to {_rate(rate * speed.seconds / speed.fast)})",
    )
    yield (
        "",
        f"{found.flops_per_second / 1e9:,.0f} GFLOP/s, {found.flops_per_second / product:.0%} of a bare "
        f"product's {product / 1e9:,.0f} in {found.precision}",
    )


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def _memory(found: Forecast) -> Iterator[tuple[str, str]]:
    memory, state = found.memory, found.memory.state
    free = "how much is free nobody can tell" if memory.free is None else f"{size_words(memory.free)} free"
    measured = "" if memory.measured is None else f"; measured peak {size_words(memory.measured)}"
    yield "memory", f"{size_words(memory.total)} at most, {free}{measured}"
    parts = {
        "weights": state.weights,
        "gradients": state.gradients,
        "optimisers": state.optimisers,
        "averages": state.averages,
        "a round's activations": memory.round,
        "data set": memory.set,
        "judging": memory.judging,
        "a checkpoint": memory.checkpoint if memory.checkpoint > memory.round else 0,
    }
    told = [f"{name} {size_words(count)}" for name, count in parts.items() if count]
    for start in range(0, len(told), PARTS_A_ROW):
        yield "", ", ".join(told[start : start + PARTS_A_ROW])


def _times(found: Forecast, now: datetime) -> Iterator[tuple[str, str]]:
    times = found.times
    if times is None:
        return
    epochs = found.images_left / found.set_size
    left = f" left of {found.images_seen + found.images_left:,}" if found.images_seen else ""
    yield "training", f"{clock(times.training)} for {found.images_left:,} images{left} ({epochs:,.3g} epochs)"
    if (one := found.validation) is not None:
        yield (
            "validation",
            f"{clock(times.validation)}: {times.validations} of {one.seconds:.1f} s "
            f"({one.count:,} samples {one.sampling:.1f}, {one.extractor} {one.features:.1f}, "
            f"{', '.join(one.metrics)} {one.metric:.1f})",
        )
        yield "", f"the set's own features {clock(times.reference)}, once"
    yield (
        "other",
        f"{clock(times.looks)} for spectra and diversity, {clock(times.writing)} for grids and checkpoints, "
        f"{clock(times.start)} to start",
    )
    per_tick = (times.total - times.start - times.reference) / max(1, found.ticks.count)
    yield (
        "total",
        f"{clock(times.total)}, {clock(per_tick)} for each of {found.ticks.count} ticks; begun now it "
        f"{_end(times.ends(now), now)}",
    )


def _end(ends: datetime | None, now: datetime) -> str:
    """The hour today, the day this year, the year later on."""
    if ends is None:
        return "would end after the year 9999"
    if ends.date() == now.date():
        return f"ends {ends:%H:%M}"
    return f"ends {ends:%a %d %b %H:%M}" if ends.year == now.year else f"ends {ends:%a %d %b %Y}"
