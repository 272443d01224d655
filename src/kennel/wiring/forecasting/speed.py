"""How fast the rounds are: medians of real rounds, and what a bare product of matrices reaches."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn.functional import linear

from kennel.wiring.forecasting.rounds import EXTRA_TURNS, Player, RoundKind, Rounds, wait_for

LEAST_SAMPLES = 3
WARM_UP = 2
"""Rounds of each kind that are played before the clock starts, beside the one that was counted."""
WARM_SECONDS = 1.0
"""Slower rounds are warm after one."""
BLOCK_SECONDS = 0.05
"""On a GPU so many rounds are timed together that waiting for the device does not tell."""


@dataclass(frozen=True)
class Speed:
    """Seconds of a round, its kinds by their shares.

    `seconds` rests on medians, `fast` and `slow` on quartiles; `samples` is how many rounds were timed.
    `extra_turn` are the seconds of one more turn of the discriminator, where the recipe has boosted rounds.
    """

    seconds: float
    fast: float
    slow: float
    samples: int
    extra_turn: float | None = None


def measured_speed(player: Player, rounds: Rounds, device: torch.device, seconds: float) -> Speed:
    """Plays rounds for about `seconds`, and at least `LEAST_SAMPLES` of each kind."""
    kinds = list(rounds.numbers)
    for kind in kinds:
        began = time.perf_counter()
        for _ in range(WARM_UP):
            player.play(kind)
            if time.perf_counter() - began > WARM_SECONDS:
                break
    block = {kind: _block(partial(player.play, kind), device) for kind in kinds}
    times: dict[RoundKind, list[float]] = {kind: [] for kind in kinds}
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or min(map(len, times.values())) < LEAST_SAMPLES:
        few = [kind for kind in kinds if len(times[kind]) < LEAST_SAMPLES]
        # Whoever is furthest behind its share is next.
        kind = min(few or kinds, key=lambda kind: len(times[kind]) / rounds.share(kind))
        times[kind].append(timed(partial(player.play, kind), device, block[kind]))
    shares = [rounds.share(kind) for kind in kinds]

    def mean(of: Callable[[list[float]], float]) -> float:
        return sum(share * of(times[kind]) for share, kind in zip(shares, kinds, strict=True))

    middle = mean(statistics.median)
    extra = None
    if rounds.extra_turns:
        player.play_longer()
        longer = statistics.median(timed(player.play_longer, device) for _ in range(LEAST_SAMPLES))
        extra = max(0.0, longer - middle) / EXTRA_TURNS
    samples = sum(len(times[kind]) * block[kind] for kind in kinds)
    fast, slow = (mean(partial(_quartile, which)) for which in (0, 2))
    return Speed(middle, fast, slow, samples, extra)


def _quartile(which: int, times: list[float]) -> float:
    return statistics.quantiles(times, n=4, method="inclusive")[which]


def _block(play: Callable[[], object], device: torch.device) -> int:
    if device.type == "cpu":
        return 1
    return max(1, round(BLOCK_SECONDS / max(timed(play, device), 1e-6)))


def timed(play: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Seconds of one call, the device's work included: the mean of `times` calls in a row."""
    wait_for(device)
    began = time.perf_counter()
    for _ in range(times):
        play()
    wait_for(device)
    return (time.perf_counter() - began) / times


def median_seconds(play: Callable[[], object], device: torch.device, seconds: float) -> float:
    """The median of calls for about `seconds`, at least 2, after one that does not count."""
    play()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 2:
        times.append(timed(play, device))
    return statistics.median(times)


def product_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.5) -> float:
    """FLOP/s of a bare matrix product: the ceiling that the machine offers here and now."""
    side = 2048 if device.type == "cpu" else 8192
    left = torch.randn(side, side, device=device, dtype=dtype)
    right = torch.randn(side, side, device=device, dtype=dtype)
    return 2 * side**3 / median_seconds(lambda: linear(left, right), device, seconds)
