"""Typed registries: a name is asked for once, never twice given, and helped when it is misspelt."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from kennel.errors import UnknownNameError

T = TypeVar("T")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not among `known`: with the nearest right one, else with all of them."""
    names = sorted(known)
    within = [known_name for known_name in names if len(name) > 2 and name in known_name]
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if within and not difflib.get_close_matches(name, names, n=1, cutoff=0.8):
        nearest = within[:1]  # `dogs` means `dcgan.dogs` rather than what it happens to resemble
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"known: {', '.join(names) or 'none'}."
    return UnknownNameError(f"there is no {kind} '{name}': {hint}")


class Registry(Generic[T]):
    """Names to things of one kind, for example `Registry[type[Loss]]("loss")`.

    A name is given once: a second registration under it raises `ValueError`. Asking for an unknown name
    raises `UnknownNameError` with the nearest known one.
    """

    def __init__(self, kind: str) -> None:
        """`kind` is the word that messages use: "loss", "technique", ..."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: `@LOSSES.register("hinge")`."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def items(self) -> Iterator[tuple[str, T]]:
        """Names and entries, by name."""
        return iter(sorted(self._entries.items(), key=lambda item: item[0]))

    def __len__(self) -> int:
        return len(self._entries)
