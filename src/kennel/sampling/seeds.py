"""Seeds as text: `0:9` (both ends are included), `3,17,40`, or both."""

import re
from collections.abc import Sequence

from kennel.errors import RunError

MAX_SEEDS = 100_000
"""More seeds in one list are refused."""
_PART = re.compile(r"(\d{1,15})(?::(\d{1,15}))?")


def parse_seeds(text: str, option: str, least: int = 1) -> tuple[int, ...]:
    """Returns the seeds of `text` in order; a range may descend.

    Raises `RunError`, which names `option`, for another text, for fewer than `least` seeds and for more than
    `MAX_SEEDS`.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise RunError(
                f"'{text}' is no list of seeds: write {option} 0:9 for the seeds 0 to 9, or {option} 3,17,40"
            )
        first = int(found[1])
        last = first if found[2] is None else int(found[2])
        if len(seeds) + abs(last - first) + 1 > MAX_SEEDS:
            raise RunError(f"{option} {text} is more than {MAX_SEEDS:,} seeds: give fewer")
        seeds += range(first, last + 1) if last >= first else range(first, last - 1, -1)
    if len(seeds) < least:
        raise RunError(f"{option} {text} is one seed: give at least {least}, such as 0:9")
    return tuple(seeds)


def seed_words(seeds: Sequence[int]) -> str:
    """Returns different seeds as text: `0-63` without gaps in between, else `3,17,40`."""
    distinct = list(dict.fromkeys(seeds))
    if distinct == list(range(distinct[0], distinct[-1] + 1)):
        return f"{distinct[0]}-{distinct[-1]}"
    return ",".join(map(str, distinct))
