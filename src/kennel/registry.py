"""Typed registries: each name is given once, and a misspelt one is answered with the nearest.

What other packages add comes from plugins: entry points of the group `kennel.plugins`, each a module that
registers on import. They are loaded once, before the first unknown name is refused or names are listed.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from kennel.errors import UnknownNameError

T = TypeVar("T")

PLUGINS = "kennel.plugins"
"""The group of entry points whose values are modules that register networks, losses, techniques, ..."""
_plugins_asked: list[None] = []
"""Not empty once plugins were looked for."""


MOST_NAMED = 3
"""Names that are equally near are all given, up to so many."""
NEAR = 0.55
"""The likeness from which on a name is offered."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not among `known`: with the nearest right ones, else with all of them."""
    names = sorted(known)
    hint = did_you_mean(name, names) or f"known: {', '.join(names) or 'none'}."
    return UnknownNameError(f"there is no {kind} '{name}': {hint}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question with the nearest of `known`; nothing where none is near."""
    found = [f"'{one}'" for one in nearest(name, known)[:MOST_NAMED]]
    return f"did you mean {' or '.join(found)}?" if found else ""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Of `known` those that are most like `name`, equally so; none where the likeness is accidental."""
    scores = {one: likeness(name, one) for one in known}
    best = max(scores.values(), default=0.0)
    return sorted(one for one, score in scores.items() if score == best and score >= NEAR)


def likeness(given: str, known: str) -> float:
    """How well `given` may be meant for `known`, from 0 to 1.

    A word of it (`dogs` for `dcgan.dogs`), its initials (`lr` for `learning_rate`), its beginning (`gen`), or
    a slip of the fingers: letters that are missing, added, wrong, or exchanged with a neighbour.
    """
    a, b = _words(given), _words(known)
    whole = "_".join(a), "_".join(b)
    if whole[0] == whole[1]:
        return 1.0
    score = _typed(*whole)
    if len(whole[0]) < 2:
        return score
    if set(a) <= set(b) or set(b) <= set(a):
        score = max(score, 0.85 + 0.1 * min(len(a), len(b)) / max(len(a), len(b)))
    if whole[0] == "".join(word[0] for word in b if word):
        score = max(score, 0.8)
    if whole[1].startswith(whole[0]) or (len(whole[1]) > 2 and whole[0].startswith(whole[1])):
        score = max(score, 0.75)
    if len(whole[0]) > 2:
        slips = [_typed(one, other) for one in a for other in b]
        score = max(score, 0.72 if any(word.startswith(whole[0]) for word in b) else 0.0)
        score = max(score, 0.7 if max(slips, default=0.0) > 0.8 else 0.0)
        score = max(score, 0.65 if whole[0] in whole[1] else 0.0)
    return score


def _words(name: str) -> list[str]:
    return re.split(r"[\W_]+", name.strip("-_ ").casefold())


def _typed(a: str, b: str) -> float:
    """1 minus the share of letters that differ: the optimal string alignment distance, in which two letters
    that were exchanged count once (Boytsov 2011, section 2.2)."""
    above: list[int] = []
    last: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        above, last, row = last, row, [i]
        for j, other in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return 1 - row[-1] / max(len(a), len(b), 1)


def load_plugins() -> None:
    """Imports the modules of all installed plugins, at the first call; one that fails is a warning.

    The warning is one line on standard error: a broken plugin does not keep the others, or kennel, from
    working.
    """
    if _plugins_asked:
        return
    _plugins_asked.append(None)  # first: a plugin may ask a registry itself
    from importlib.metadata import entry_points

    for plugin in sorted(entry_points(group=PLUGINS), key=lambda plugin: plugin.name):
        try:
            plugin.load()
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            print(f"Warning: the plugin {plugin.name} ({plugin.value}) failed: {reason}", file=sys.stderr)


class Registry(Generic[T]):
    """Names to things of one kind, for example `Registry[type[Loss]]("loss")`.

    A name is given once: a second registration under it raises `ValueError`, unless it is the same class or
    function defined again (a cell of a notebook that is run twice). Asking for an unknown name raises
    `UnknownNameError` with the nearest known one. Plugins are loaded before a name is called unknown, and
    before names are listed.
    """

    def __init__(self, kind: str) -> None:
        """`kind` is the word that messages use: "loss", "technique", ..."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    @property
    def registered(self) -> Mapping[str, T]:
        """What is registered by now, plugins that are not loaded yet left out."""
        return self._entries

    def register(self, name: str, *, replace: bool = False) -> Callable[[T], T]:
        """Decorator: `@LOSSES.register("hinge")`; with `replace` it takes the place of what has the name."""

        def add(entry: T) -> T:
            there = self._entries.get(name)
            if there is not None and not replace and not same_definition(there, entry):
                raise ValueError(f"{self.kind} '{name}' is registered twice: give another name")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        if name not in self._entries:
            load_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(sorted(self._entries))

    def items(self) -> Iterator[tuple[str, T]]:
        """Names and entries, by name."""
        load_plugins()
        return iter(sorted(self._entries.items(), key=lambda item: item[0]))

    def __len__(self) -> int:
        load_plugins()
        return len(self._entries)


def same_definition(one: object, other: object) -> bool:
    """Whether two classes or functions come from the same place of a module: one was defined again."""
    places = [(getattr(it, "__module__", None), getattr(it, "__qualname__", None)) for it in (one, other)]
    return places[0] == places[1] and None not in places[0]
