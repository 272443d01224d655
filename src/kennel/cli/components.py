"""`kennel techniques`, `kennel losses` and `kennel metrics`: what a recipe can be made of and judged by."""

from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from kennel.cli.commands import first_sentence
from kennel.cli.recipes import reflowed


def techniques(name: str | None = typer.Argument(None, help="A technique to explain.")) -> None:
    """List the techniques, or explain one with its options.

    Example: kennel techniques ema
    """
    from kennel.techniques import TECHNIQUES

    if name is None:
        _list("technique", {one: TECHNIQUES[one].__doc__ or "" for one in TECHNIQUES})
        _close("techniques", "`--set techniques.NAME=on` adds one to a recipe.")
    else:
        _explain(TECHNIQUES[name], f"techniques.{name}", f"techniques.{name}=on")


def losses(name: str | None = typer.Argument(None, help="A loss to explain.")) -> None:
    """List the adversarial losses, or explain one with its options.

    Example: kennel losses hinge
    """
    from kennel.losses import LOSSES

    if name is None:
        _list("loss", {one: LOSSES[one].__doc__ or "" for one in LOSSES})
        _close("losses", "`--set loss=NAME` takes one in a recipe.")
    else:
        _explain(LOSSES[name], "loss", f"loss={name}")


def metrics(name: str | None = typer.Argument(None, help="A metric to explain.")) -> None:
    """List the metrics of `kennel judge`, or explain one.

    Example: kennel metrics fid
    """
    from kennel.cli.console import console
    from kennel.evaluation.metrics import builtin  # noqa: F401 - they register
    from kennel.evaluation.metrics.base import ALIASES, GROUPS, METRICS, in_order, metric_names

    if name is None:
        _list(
            "metric",
            {one: f"{METRICS[one].label}. {METRICS[one].summary}" for one in in_order(METRICS)},
            whole=True,
        )
        groups = ", ".join(f"{group} ({', '.join(members)})" for group, members in GROUPS.items())
        console.print(f"\nGroups: {groups}; all.", soft_wrap=True)
        _close("metrics", "`kennel judge ... --metrics NAME,NAME` measures them.")
        return
    for one in metric_names([name]):
        metric = METRICS[one]
        console.print(
            f"{metric.label}: {reflowed(cleandoc(metric.compute.__doc__ or metric.summary))}", soft_wrap=True
        )
        better = {"neither": "is neither better high nor low"}.get(
            metric.direction, f"is better {metric.direction}"
        )
        console.print(f"\nIt {better}. It needs {_needs(metric.needs)}.", soft_wrap=True)
        if others := [alias for alias, known in ALIASES.items() if known == one]:
            console.print(f"Also called {', '.join(others)}.")
        console.print(f"\n  kennel judge RUN --reference SET --metrics {one}")


def _needs(needs: Iterable[str]) -> str:
    words = {
        "logits": "the class probabilities of an extractor that has them",
        "labels": "classes on both sides",
        "pyramid": "images with a side that is a power of two, from 16 on",
    }
    return " and ".join(["features of both sides", *(words[need] for need in sorted(needs))])


def _list(heading: str, stories: Mapping[str, str], *, whole: bool = False) -> None:
    from rich.table import Table

    from kennel.cli.console import console

    table = Table(box=None, pad_edge=False)
    table.add_column(heading, no_wrap=True)
    table.add_column("what it is", overflow="fold")
    for name, story in stories.items():
        table.add_row(name, story if whole else first_sentence(cleandoc(story)))
    console.print(table)


def _close(command: str, use: str) -> None:
    from kennel.cli.console import console

    console.print(f"\n`kennel {command} NAME` explains one. {use}", soft_wrap=True)


def _explain(kind: Any, setting: str, first: str) -> None:
    """A part's docstring, and its options with their defaults; `first` is the setting that chooses it."""
    from rich.table import Table

    from kennel.cli.console import console

    console.print(reflowed(cleandoc(kind.__doc__ or "")), soft_wrap=True)
    console.print(f"\n  --set {first}\n", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for column in ("option", "default", "takes"):
        table.add_column(column, overflow="fold")
    for option, default, takes in _options(kind):
        table.add_row(option, default, takes)
    if table.row_count:
        console.print(table)
        example = next(option for option, _, _ in _options(kind))
        console.print(f"\nAn option is set as --set {setting}.{example}=VALUE.", soft_wrap=True)
    else:
        console.print("It has no options.")


def _options(kind: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """The dotted names of options, with their defaults and what they take; groups are opened."""
    from kennel.config.base import Config

    for name, about in kind.model_fields.items():
        inner = about.annotation
        if isinstance(inner, type) and issubclass(inner, Config):
            yield from _options(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _value(about), _takes(inner, about.metadata)


def _value(about: Any) -> str:
    if about.is_required():
        return "(required)"
    value = about.get_default(call_default_factory=True)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _takes(annotation: Any, limits: Iterable[Any]) -> str:
    """What an option may be, in words: `a number, over 0`, `b, g, c`."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "null"}
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in names:
        words = names[annotation]
    elif origin is Literal:
        words = ", ".join(map(str, parts))
    elif origin is Annotated:
        return _takes(parts[0], [*parts[1:], *limits])
    elif origin in (Union, UnionType):
        words = " or ".join(_takes(part, ()) for part in parts)
    else:
        words = "a list" if origin in (tuple, list) else "a value"
    signs = (("gt", "over"), ("ge", "from"), ("lt", "under"), ("le", "to"))
    known = [(word, getattr(limit, sign, None)) for limit in limits for sign, word in signs]
    bounds = " ".join(f"{word} {value:g}" for word, value in known if value is not None)
    return f"{words}, {bounds}" if bounds else words
