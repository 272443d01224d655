"""`kennel techniques`, `kennel losses` and `kennel metrics`."""

from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from kennel.cli.commands import first_sentence
from kennel.cli.recipes import reflowed


def techniques(name: str | None = typer.Argument(None, help="The technique to explain.")) -> None:
    """List the techniques, or explain one with its options.

    Example: kennel techniques ema
    """
    from kennel.techniques import TECHNIQUES

    if name is None:
        _list("technique", {one: TECHNIQUES[one].__doc__ or "" for one in TECHNIQUES})
        _print_footer("techniques", "`--set techniques.NAME=on` adds one to a recipe.")
    else:
        _explain(TECHNIQUES[name], f"techniques.{name}", f"techniques.{name}=on")


def losses(name: str | None = typer.Argument(None, help="The loss to explain.")) -> None:
    """List the adversarial losses, or explain one with its options.

    Example: kennel losses hinge
    """
    from kennel.losses import LOSSES

    if name is None:
        _list("loss", {one: LOSSES[one].__doc__ or "" for one in LOSSES})
        _print_footer("losses", "`--set loss=NAME` chooses one for a recipe.")
    else:
        _explain(LOSSES[name], "loss", f"loss={name}")


def metrics(name: str | None = typer.Argument(None, help="The metric or group to explain.")) -> None:
    """List the metrics of `kennel judge`, or explain one.

    Example: kennel metrics fid
    """
    from kennel.cli.console import console
    from kennel.evaluation.metrics import builtin  # noqa: F401 - registers the metrics
    from kennel.evaluation.metrics.base import ALIASES, GROUPS, METRICS, in_order, metric_names

    if name is None:
        _list(
            "metric",
            {one: f"{METRICS[one].label}. {METRICS[one].summary}" for one in in_order(METRICS)},
            whole=True,
        )
        groups = ", ".join(f"{group} ({', '.join(members)})" for group, members in GROUPS.items())
        console.message(f"\nGroups: {groups}; all.")
        _print_footer("metrics", "`kennel judge ... --metrics NAME,NAME` measures them.")
        return
    for one in metric_names([name]):
        metric = METRICS[one]
        console.message(f"{metric.label}: {reflowed(cleandoc(metric.compute.__doc__ or metric.summary))}")
        direction = "Neither lower nor higher" if metric.direction == "neither" else metric.direction.title()
        console.message(f"\n{direction} is better. Needs {_needs(metric.needs)}.")
        if aliases := [alias for alias, known in ALIASES.items() if known == one]:
            console.print(f"Also called {', '.join(aliases)}.")
        console.print(f"\n  kennel judge RUN --reference SET --metrics {one}")


def _needs(needs: Iterable[str]) -> str:
    words = {
        "logits": "an extractor with class probabilities",
        "labels": "classes of both sets",
        "pyramid": "images whose side is a power of two, at least 16",
    }
    return " and ".join(["features of both sets", *(words[need] for need in sorted(needs))])


def _list(heading: str, descriptions: Mapping[str, str], *, whole: bool = False) -> None:
    """Prints a table of names and descriptions; unless `whole`, only the first sentence of each."""
    from kennel.cli.console import print_list

    rows = [(name, text if whole else first_sentence(cleandoc(text))) for name, text in descriptions.items()]
    print_list((heading, "description"), rows)


def _print_footer(command: str, usage: str) -> None:
    from kennel.cli.console import console

    console.message(f"\n`kennel {command} NAME` explains one. {usage}")


def _explain(component: Any, prefix: str, setting: str) -> None:
    """Prints a component's docstring, the `setting` that chooses it, and its options with defaults."""
    from rich.table import Table

    from kennel.cli.console import console

    console.message(reflowed(cleandoc(component.__doc__ or "")))
    console.message(f"\n  --set {setting}\n")
    options = list(_options(component))
    if not options:
        console.print("It has no options.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("option", "default", "values"):
        table.add_column(column, overflow="fold")
    for option in options:
        table.add_row(*option)
    console.print(table)
    console.message(f"\nSet an option with --set {prefix}.{options[0][0]}=VALUE.")


def _options(component: Any, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yields the dotted name, the default and the allowed values of each option, nested ones included."""
    from kennel.config.base import Config

    for name, field in component.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Config):
            yield from _options(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _default(field), _values(kind, field.metadata)


def _default(field: Any) -> str:
    if field.is_required():
        return "(required)"
    value = field.get_default(call_default_factory=True)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _values(annotation: Any, limits: Iterable[Any]) -> str:
    """Describes the allowed values: `a number, over 0`, or `b, g, c`."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", NoneType: "null"}
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in names:
        words = names[annotation]
    elif origin is Literal:
        words = ", ".join(map(str, parts))
    elif origin is Annotated:
        return _values(parts[0], [*parts[1:], *limits])
    elif origin in (Union, UnionType):
        words = " or ".join(_values(part, ()) for part in parts)
    else:
        words = "a list" if origin in (tuple, list) else "a value"
    words_of = {"gt": "over", "ge": "from", "lt": "under", "le": "to"}
    known = [(word, getattr(limit, name, None)) for limit in limits for name, word in words_of.items()]
    bounds = " ".join(f"{word} {value:g}" for word, value in known if value is not None)
    return f"{words}, {bounds}" if bounds else words
