"""Scores of several runs in one table: stored ones of equal protocol, or all judged again by one protocol."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from kennel.comparison.paired_differences import Difference, differences
from kennel.comparison.runs import ComparedRun
from kennel.data.image_files import open_images
from kennel.errors import RunError
from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.base import in_order
from kennel.evaluation.metrics.context import MetricContext, MetricSettings
from kennel.evaluation.score import Score, warnings_about
from kennel.features.extract import Progress
from kennel.features.factory import better_extractor_note, open_extractor
from kennel.reporting.score_tables import judgement_tables
from kennel.sampling.load import LoadedRun
from kennel.sampling.loaded_generator import default_sample_count


@dataclass(frozen=True)
class ScoreTable:
    """Scores that were measured in one way: for each run its scores by metric.

    `floor` are the scores of one half of the reference against the other, by metric, with `floor_count`
    images a side. `differences` are against the first run that has scores.
    """

    scores: Mapping[str, Mapping[str, Score]]
    floor: Mapping[str, float] = field(default_factory=dict)
    floor_count: int = 0
    differences: tuple[Difference, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """The metrics that any of the runs has, as tables order them."""
        return in_order({name for scores in self.scores.values() for name in scores})

    @property
    def floor_label(self) -> str:
        """What the row of the reference's halves is called."""
        return f"real, {self.floor_count:,} v {self.floor_count:,}"

    @property
    def protocol(self) -> str:
        """How all of them were measured, in sentences."""
        first = next(iter(next(iter(self.scores.values())).values())).protocol
        return (
            f"{first.sample_count:,} samples against {first.reference_count:,} images of "
            f"{first.reference}, extractor {first.extractor} ({first.resize})."
        )

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before quoting a value, each with the runs that it is about."""
        found: dict[str, list[str]] = {}
        for label, scores in self.scores.items():
            for score in scores.values():
                for text in warnings_about(score):
                    if label not in found.setdefault(text, []):
                        found[text].append(label)
        everybody = list(self.scores)
        return [
            text if labels == everybody else f"{', '.join(labels)}: {text}" for text, labels in found.items()
        ]


def stored_tables(runs: Sequence[ComparedRun]) -> list[ScoreTable]:
    """A table for each protocol by which at least two of the runs have been judged, the fullest first.

    Of several judgements of a run by one protocol the newest counts.
    """
    found: dict[str, dict[str, dict[str, Score]]] = {}
    for run in runs:
        tables, _ = judgement_tables(run.folder.judgements)
        for table in tables:
            for row in table.rows:
                comparable = dict(row.judgement.protocol.comparable)
                comparable.pop("options")
                key = json.dumps(comparable, sort_keys=True)
                found.setdefault(key, {}).setdefault(run.label, {})[row.judgement.metric] = row.judgement
    shared = []
    for scores in found.values():
        if len(scores) > 1:
            equal = _equal_options(scores)
            shared.append(ScoreTable(equal, *_floor(next(iter(equal.values())))))
    return sorted(shared, key=lambda table: -len(table.scores))


def _equal_options(scores: dict[str, dict[str, Score]]) -> dict[str, dict[str, Score]]:
    """Without the scores whose metric was measured with other options than in the first run that has it."""
    first: dict[str, dict[str, Any]] = {}
    kept: dict[str, dict[str, Score]] = {}
    for label, by_metric in scores.items():
        kept[label] = {
            name: score
            for name, score in by_metric.items()
            if first.setdefault(name, score.protocol.options) == score.protocol.options
        }
    return {label: by_metric for label, by_metric in kept.items() if by_metric}


def _floor(scores: Mapping[str, Score]) -> tuple[dict[str, float], int]:
    """The scores of the reference's halves against each other by metric, and their count; empty without."""
    known = {name: score.details for name, score in scores.items() if "real_v_real" in score.details}
    count = max((int(details["real_v_real_count"]) for details in known.values()), default=0)
    return {name: float(details["real_v_real"]) for name, details in known.items()}, count


@dataclass(frozen=True)
class JudgeOptions:
    """How all runs are judged. None: the set that they were trained on, the usual metrics, 10,000 samples.

    `extractor` "auto" is the best that taught none of them and whose weights are there. `half_samples` are
    drawn for the intervals of differences; 0 for none.
    """

    reference: Path | None = None
    metrics: Sequence[str] | None = None
    extractor: str = "auto"
    weights: Path | None = None
    count: int | None = None
    batch: int = 64
    half_samples: int = 16


@dataclass(frozen=True)
class Protocol:
    """One protocol for all runs: `count` samples each, from seed `settings.seed` on."""

    evaluator: Evaluator
    count: int
    metrics: Sequence[str] | None
    settings: MetricSettings
    half_samples: int
    truncation: float | None = None
    note: str = ""


def common_protocol(
    runs: Sequence[tuple[ComparedRun, LoadedRun]],
    options: JudgeOptions,
    settings: MetricSettings,
    truncation: float | None = None,
) -> Protocol:
    """The protocol by which all of the runs can be judged; nothing is computed yet.

    Raises `RunError` where the runs have different sets and no reference is given, and where the set of all
    is not at its place any more.
    """
    reference = options.reference
    if reference is None:
        if len({run.set_fingerprint for run, _ in runs}) > 1:
            raise RunError("the runs were trained on different sets: give --reference, one set for all")
        reference = Path(str(runs[0][0].about["data"]["path"]))
        if not reference.exists():
            raise RunError(f"the runs' set {reference} is not there any more: give --reference")
    real = open_images(reference)
    teacher = next((loaded.teacher for _, loaded in runs if loaded.teacher), None)
    extractor = open_extractor(
        options.extractor,
        options.weights,
        device=torch.device(settings.device),
        fingerprint=real.fingerprint,
        teacher=teacher,
    )
    note = better_extractor_note(extractor.name) if options.extractor == "auto" else None
    count = options.count or default_sample_count(len(real))
    evaluator = Evaluator(real, extractor, batch=options.batch)
    return Protocol(
        evaluator,
        count,
        options.metrics,
        settings,
        options.half_samples,
        truncation,
        note or extractor.caution,
    )


def judge_all(
    runs: Sequence[tuple[ComparedRun, LoadedRun]],
    protocol: Protocol,
    on_progress: Callable[[str], Progress],
) -> ScoreTable:
    """Judges every run by one protocol, with the halves of the reference as the floor, and compares them.

    `on_progress(label)` gives a function of (done, total) for each run's pass.
    """
    protocol.evaluator.prepare(on_progress("reference"))
    scores: dict[str, dict[str, Score]] = {}
    contexts: dict[str, MetricContext] = {}
    settings = replace(protocol.settings, floor=True)
    for run, loaded in runs:
        images = loaded.sampled_set(protocol.count, settings.seed, protocol.truncation)
        judged = protocol.evaluator.judge(
            images,
            protocol.metrics,
            count=protocol.count,
            settings=settings,
            on_progress=on_progress(run.label),
        )
        scores[run.label] = {score.metric: score for score in judged}
        assert protocol.evaluator.context is not None
        contexts[run.label] = protocol.evaluator.context
    floor, count = _floor(next(iter(scores.values())))
    compared = differences(scores, contexts, protocol.half_samples, settings.seed, on_progress("differences"))
    return ScoreTable(scores, floor, count, tuple(compared))
