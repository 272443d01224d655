"""Prints judgements: a table, the protocol, and warnings."""

from typing import Any


def print_judgements(notes: list[str], judgements: list[Any]) -> None:
    from kennel.cli.console import console, print_warnings

    for note in notes:
        console.message(note, "yellow")
    console.print(_table(judgements))
    console.message(judgements[-1].protocol.words())
    for settings, metrics in _settings(judgements).items():
        console.message(f"{metrics}: {settings}.")
    print_warnings(judgements)


def _settings(judgements: list[Any]) -> dict[str, str]:
    """Returns the settings that metrics add to the protocol, each with the labels of these metrics."""
    from kennel.evaluation.metrics.base import METRICS
    from kennel.reporting.format import label, protocol_value

    labels: dict[str, list[str]] = {}
    for judgement in judgements:
        options = judgement.protocol.options.items()
        settings = ", ".join(f"{label(name)} {protocol_value(value)}" for name, value in options)
        if settings:
            labels.setdefault(settings, []).append(METRICS[judgement.metric].label)
    return {settings: ", ".join(metrics) for settings, metrics in labels.items()}


def _table(judgements: list[Any]) -> Any:
    from rich.table import Table

    from kennel.evaluation.metrics.base import METRICS

    unfair = any(judgement.protocol.unfair for judgement in judgements)
    title = "Judgement (not fair: see the warning below)" if unfair else "Judgement"
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95% interval", justify="right")
    table.add_column("better")
    table.add_column("details")
    for judgement in judgements:
        metric = METRICS[judgement.metric]
        interval = "" if judgement.interval is None else " to ".join(map(number, judgement.interval))
        details = _details(judgement.metric, judgement.details)
        table.add_row(metric.label, number(judgement.value), interval, direction(metric), details)
    return table


def number(value: float) -> str:
    """Formats a score: 2 decimals from 1 on, 4 digits below."""
    return f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}"


def direction(metric: Any) -> str:
    """Returns "lower" or "higher"; empty if neither is better."""
    return "" if metric.direction == "neither" else str(metric.direction)


def _details(metric: str, details: dict[str, Any]) -> str:
    """Formats the parts of a score; lists and tables stay in the JSON."""
    from kennel.reporting.format import figure

    if metric == "fid" and "real_v_real" in details:
        return f"real v real, {details['real_v_real_count']:,} a side: {details['real_v_real']:.2f}"
    if metric == "mifid":
        penalty = "none" if details["penalty"] == 1 else f"FID / {details['penalty']:.4f}"
        words = (
            f"FID {details['fid']:.2f}, distance {details['distance']:.4f}, "
            f"epsilon {details['epsilon']}, penalty {penalty}"
        )
        if "held_out_distance" in details:
            words += f"; distance of held-out reals {details['held_out_distance']:.4f}"
        return words
    if metric == "inception_score":
        return f"± {details['deviation']:.2f} over the splits"
    return ", ".join(
        f"{name.replace('_', ' ')} {figure(value)}"
        for name, value in details.items()
        if not isinstance(value, list | dict)
    )
