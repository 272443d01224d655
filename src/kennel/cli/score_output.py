"""Judgements in the terminal: a table, how they were measured, and what to know before quoting them."""

from typing import Any


def print_judgements(notes: list[str], judgements: list[Any]) -> None:
    """Prints the scores, how they were measured, and what to know before quoting them."""
    from kennel.cli.console import console
    from kennel.evaluation.score import warnings_about

    for note in notes:
        console.print(note, style="yellow", soft_wrap=True)
    console.print(_table(judgements))
    console.print(judgements[-1].protocol.words(), soft_wrap=True)
    for settings, metrics in _settings(judgements).items():
        console.print(f"{metrics}: {settings}.", soft_wrap=True)
    for warning in dict.fromkeys(text for each in judgements for text in warnings_about(each)):
        console.print(f"Warning: {warning}", style="yellow", soft_wrap=True)


def _settings(judgements: list[Any]) -> dict[str, str]:
    """What each metric adds to the protocol, in words, with the metrics that it is true of."""
    from kennel.evaluation.metrics.base import METRICS
    from kennel.reporting.format import label, protocol_value

    told: dict[str, list[str]] = {}
    for judgement in judgements:
        options = judgement.protocol.options.items()
        words = ", ".join(f"{label(name)} {protocol_value(value)}" for name, value in options)
        if words:
            told.setdefault(words, []).append(METRICS[judgement.metric].label)
    return {words: ", ".join(metrics) for words, metrics in told.items()}


def _table(judgements: list[Any]) -> Any:
    """The scores; how each was measured stands under the table."""
    from rich.table import Table

    from kennel.evaluation.metrics.base import METRICS
    from kennel.reporting.format import figure

    doubtful = any(judgement.protocol.unfair for judgement in judgements)
    title = "Judgement, not a fair one: see the warning below" if doubtful else "Judgement"
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95% interval", justify="right")
    table.add_column("better")
    table.add_column("details")
    for judgement in judgements:
        metric = METRICS[judgement.metric]
        interval = "" if judgement.interval is None else " to ".join(map(_number, judgement.interval))
        better = "" if metric.direction == "neither" else metric.direction
        details = _details(judgement.metric, judgement.details, figure)
        table.add_row(metric.label, _number(judgement.value), interval, better, details)
    return table


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}"


def _details(metric: str, details: dict[str, Any], figure: Any) -> str:
    """A score's parts in words; lists and tables stay in the JSON."""
    if metric == "fid" and "real_v_real" in details:
        count = f"{details['real_v_real_count']:,}"
        return f"real v real, {count} a side: {details['real_v_real']:.2f}"
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
    parts = [
        f"{name.replace('_', ' ')} {figure(value)}"
        for name, value in details.items()
        if not isinstance(value, list | dict)
    ]
    return ", ".join(parts)
