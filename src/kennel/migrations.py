"""Checkpoints of older formats become ones of today's: a named, pure step for each format that there was."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

FORMAT = 2
"""What today's checkpoints say of themselves. It rises by one where a file of before would be misread, and
with it comes a migration from the format before."""

Content = tuple[Mapping[str, Tensor], Mapping[str, Any]]
"""A checkpoint's tensors by name, and what it says about itself."""


@dataclass(frozen=True)
class Migration:
    """One step from a format to the next: its name, what changed, and the function that makes up for it."""

    name: str
    summary: str
    apply: Callable[[Mapping[str, Tensor], Mapping[str, Any]], Content]


MIGRATIONS: dict[int, Migration] = {}
"""By the format that they begin from."""


def migration(
    begins: int,
) -> Callable[[Callable[[Mapping[str, Tensor], Mapping[str, Any]], Content]], Callable[..., Content]]:
    """Registers a function as the way from format `begins` to the next. It changes nothing in place."""

    def register(
        function: Callable[[Mapping[str, Tensor], Mapping[str, Any]], Content],
    ) -> Callable[..., Content]:
        if begins in MIGRATIONS:
            raise ValueError(f"two migrations begin from format {begins}")
        summary = (function.__doc__ or "").strip().partition("\n")[0]
        MIGRATIONS[begins] = Migration(function.__name__, summary, function)
        return function

    return register


def migrated(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> tuple[Content, list[Migration]]:
    """The content in today's format, and the steps that led there, oldest first."""
    steps = [MIGRATIONS[number] for number in range(about["format"], FORMAT)]
    for number, step in enumerate(steps, about["format"] + 1):
        tensors, about = step.apply(tensors, about)
        about = {**about, "format": number}
    return (tensors, about), steps


@migration(1)
def words_under_a_seal(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Content:
    """What a checkpoint says of itself is sealed too, and always names the kennel that wrote it.

    Format 1 had a checksum over the tensors alone: a flipped bit in the count of images went unseen. Its
    words are taken as they are, since there is nothing to hold against them.
    """
    return tensors, {"kennel": "of an early version", "tick_due": False, **about}
