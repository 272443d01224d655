"""Typed registries of unique names; an error for an unknown name suggests the nearest ones.

Plugins are entry points of the group `kennel.plugins`, each a module that registers its parts on import. They
are loaded once, before the first unknown name is refused or names are listed.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from kennel.errors import UnknownNameError

T = TypeVar("T")

PLUGINS = "kennel.plugins"
"""The group of entry points."""
_loaded: list[None] = []
"""Not empty once plugins are loaded."""

MAX_SUGGESTIONS = 3
NEAR = 0.55
"""The least likeness of a suggestion."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name that is not in `known`, with the nearest names or else with all."""
    names = sorted(known)
    hint = did_you_mean(name, names) or f"known: {', '.join(names) or 'none'}."
    return UnknownNameError(f"there is no {kind} '{name}': {hint}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the nearest of `known`; empty if none is near."""
    found = [f"'{one}'" for one in nearest(name, known)[:MAX_SUGGESTIONS]]
    return f"did you mean {' or '.join(found)}?" if found else ""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """The most similar names of `known`, all with the same score; empty if none reaches `NEAR`."""
    scores = {one: likeness(name, one) for one in known}
    best = max(scores.values(), default=0.0)
    return sorted(one for one, score in scores.items() if score == best and score >= NEAR)


def likeness(given: str, known: str) -> float:
    """How likely `given` means `known`, from 0 to 1.

    High for a word of it (`dogs` for `dcgan.dogs`), its initials (`lr` for `learning_rate`), its beginning
    (`gen`), or a typing error: missing, extra, wrong or exchanged letters.
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
    """1 minus the share of different letters: the optimal string alignment distance, in which exchanging two
    letters counts once (Boytsov 2011, section 2.2)."""
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
    """Imports the modules of all installed plugins at the first call.

    A plugin that fails gives one line on standard error, and does not affect others.
    """
    if _loaded:
        return
    _loaded.append(None)  # first, because a plugin may use a registry
    from importlib.metadata import entry_points

    for plugin in sorted(entry_points(group=PLUGINS), key=lambda plugin: plugin.name):
        try:
            plugin.load()
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            print(f"Warning: the plugin {plugin.name} ({plugin.value}) failed: {reason}", file=sys.stderr)


class Registry(Generic[T]):
    """Maps names to objects of one kind, for example `Registry[type[Loss]]("loss")`.

    A second registration of a name raises `ValueError`, unless it is the same class or function defined again
    (in a notebook cell that runs twice). An unknown name raises `UnknownNameError` with the nearest known
    one. Plugins are loaded before a name is refused and before names are listed.
    """

    def __init__(self, kind: str) -> None:
        """`kind` is the word in messages: "loss", "technique", ..."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    @property
    def registered(self) -> Mapping[str, T]:
        """The entries so far, without plugins that are not loaded yet."""
        return self._entries

    def register(self, name: str, *, replace: bool = False) -> Callable[[T], T]:
        """Decorator: `@LOSSES.register("hinge")`; with `replace` it may replace an entry."""

        def add(entry: T) -> T:
            existing = self._entries.get(name)
            if existing is not None and not replace and not same_definition(existing, entry):
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
        load_plugins()
        return iter(sorted(self._entries.items(), key=lambda item: item[0]))

    def __len__(self) -> int:
        load_plugins()
        return len(self._entries)


def same_definition(one: object, other: object) -> bool:
    """Whether two classes or functions have the same module and name, so that one was defined again."""
    places = [(getattr(it, "__module__", None), getattr(it, "__qualname__", None)) for it in (one, other)]
    return places[0] == places[1] and None not in places[0]
