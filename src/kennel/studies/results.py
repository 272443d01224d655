"""A study's results: every finished run judged by one protocol, and one comparison for each data set."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from kennel.comparison.result import Comparison, compare_runs
from kennel.comparison.runs import read_runs
from kennel.comparison.scores import JudgeOptions, common_protocol
from kennel.data.dataset import ImageDataset
from kennel.errors import JudgementError
from kennel.evaluation.metrics.context import MetricSettings
from kennel.evaluation.score import read_judgements, write_judgements
from kennel.features.classifier import Classifier, classifier_file_for
from kennel.features.extract import Progress
from kennel.features.train_classifier import train_classifier
from kennel.runs import checkpoint
from kennel.sampling.load import LoadedRun, load_run
from kennel.studies.config import JudgeConfig, StudyConfig
from kennel.studies.matrix import StudyRun
from kennel.studies.runner import RunState


def _no_progress(label: str) -> Progress:
    return lambda done, total: None


@dataclass(frozen=True)
class DataResult:
    """One data set of a study: its name, the comparison of its runs, and sentences about what is missing.

    `comparison` is None where fewer than two runs can be compared.
    """

    data: str
    comparison: Comparison | None
    notes: tuple[str, ...]


def results(
    study: StudyConfig,
    states: Sequence[RunState],
    *,
    device: torch.device,
    weights: Path | None = None,
    shown: int = 16,
    on_progress: Callable[[str], Progress] = _no_progress,
) -> list[DataResult]:
    """Judges what is not judged yet, and compares the runs of each data set.

    A run that failed, or has no checkpoint, is left out and named. Scores are kept in the runs, under the
    protocol and the checkpoint: a second call judges nothing again.
    """
    found = []
    for data in dict.fromkeys(state.run.data for state in states):
        of_set = [state for state in states if state.run.data == data]
        notes = [f"{state.run.label} failed: {state.error}" for state in of_set if state.failed]
        ready = [state.run for state in of_set if checkpoint.in_folder(state.run.folder.checkpoints)]
        named = {state.run.label for state in of_set if state.failed}
        missing = [
            state.run.label for state in of_set if state.run not in ready and state.run.label not in named
        ]
        if missing:
            notes.append(f"No checkpoint yet: {', '.join(missing)}.")
        comparison = None
        if len(ready) > 1:
            judge_missing(ready, study.judge, device, weights, on_progress)
            comparison = compare_runs(
                [run.path for run in ready],
                checkpoint=study.judge.checkpoint,
                shown=shown,
                seed=study.judge.seed,
                device=device,
            )
        found.append(DataResult(data, comparison, tuple(notes)))
    return found


def judge_missing(
    runs: Sequence[StudyRun],
    judge: JudgeConfig,
    device: torch.device,
    weights: Path | None,
    on_progress: Callable[[str], Progress],
) -> None:
    """Judges the runs of one data set that have no scores of this protocol and checkpoint yet.

    The `classifier` extractor of a set that has none yet is trained first.
    """
    if judge.extractor == Classifier.name and weights is None:
        dataset = ImageDataset(runs[0].set_path)
        if classifier_file_for(dataset.fingerprint) is None:
            train_classifier(dataset, device=device, on_progress=on_progress("classifier"))
    compared = read_runs([run.path for run in runs]) if len(runs) > 1 else []
    loaded = [
        (one, load_run(one.folder.path, one.folder.best_or_newest(judge.checkpoint), device))
        for one in compared
    ]
    options = JudgeOptions(runs[0].set_path, judge.metrics, judge.extractor, weights, judge.count)
    settings = MetricSettings(seed=judge.seed, device=device, floor=True)
    protocol = common_protocol(loaded, options, settings)
    for one, generator in loaded:
        file = one.folder.judgements / f"study-{_digest(generator, protocol, judge)}.json"
        if _is_read(file):
            continue
        protocol.evaluator.prepare(on_progress("reference"))
        scores = protocol.evaluator.judge(
            generator.sampled_set(protocol.count, judge.seed),
            protocol.metrics,
            count=protocol.count,
            settings=settings,
            on_progress=on_progress(one.label),
        )
        for older in one.folder.judgements.glob("study-*.json"):
            older.unlink()  # of an older checkpoint or another protocol: the comparison takes the newest only
        file.parent.mkdir(exist_ok=True)
        write_judgements(file, scores)


def _digest(generator: LoadedRun, protocol: object, judge: JudgeConfig) -> str:
    """Equal for equal weights judged in the same way."""
    evaluator = protocol.evaluator  # type: ignore[attr-defined]
    parts = [
        generator.fingerprint,
        evaluator.reference.fingerprint,
        evaluator.extractor.name,
        str(evaluator.extractor.weights_digest),
        judge.model_dump_json(),
    ]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=6).hexdigest()


def _is_read(file: Path) -> bool:
    try:
        return file.is_file() and bool(read_judgements(file))
    except JudgementError:  # damaged: it is judged again
        return False
