"""A whole comparison: runs, samples, curves, scores and tables, and the files it is written as."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kennel.comparison.curves import Chart, charts_of, group_labels
from kennel.comparison.picture import side_by_side
from kennel.comparison.runs import ComparedRun, groups_of, read_runs, recipe_differences
from kennel.comparison.scores import JudgeOptions, ScoreTable, common_protocol, judge_all, stored_tables
from kennel.comparison.seed_statistics import seed_difference_table, seed_table
from kennel.comparison.tables import Table, cost_table, difference_table, recipe_table, score_table
from kennel.data.images import PixelArray
from kennel.errors import RunError
from kennel.evaluation.metrics.context import MetricSettings
from kennel.features.extract import Progress
from kennel.images import save_png
from kennel.networks.summary import parameter_count
from kennel.sampling.load import LoadedRun, load_networks
from kennel.sampling.png_metadata import grid_text
from kennel.storage.atomic_io import write_text

FORMATS = {
    ".html": "a page with pictures and charts",
    ".md": "Markdown",
    ".csv": "CSV, the scores or else the costs",
    ".tex": "LaTeX",
    ".json": "all figures as JSON",
    ".png": "the grids of samples",
}
"""The endings of files that a comparison can be written as."""


@dataclass(frozen=True)
class Comparison:
    """Everything that is known of several runs.

    `samples` by label: uint8 (N, C, H, W) of the seeds `seed` to `seed + N - 1`; `at` by label: the images
    that the checkpoint had seen; `parameters` by label: the generator's and the discriminator's. `notes` are
    sentences about what could not be compared.
    """

    runs: Sequence[ComparedRun]
    samples: dict[str, PixelArray]
    at: dict[str, int]
    parameters: dict[str, tuple[int, int]]
    charts: Sequence[Chart]
    scores: Sequence[ScoreTable]
    seed: int
    notes: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()

    def tables(self) -> list[Table]:
        """All tables in the order in which they are read."""
        found: list[Table] = []
        for number, scores in enumerate(self.scores):
            title = "Scores" if len(self.scores) == 1 else f"Scores, protocol {number + 1}"
            tables = (
                seed_table(scores, self.runs, f"{title}, mean ± standard deviation over seeds"),
                seed_difference_table(scores, self.runs),
                score_table(scores, self.runs, title),
                difference_table(scores),
            )
            found += [table for table in tables if table is not None]
        found.append(cost_table(self.runs, self.parameters))
        settings = recipe_table(self.runs)
        return [*found, settings] if settings is not None else found

    def shown(self) -> list[tuple[str, str]]:
        """(label, title) of the runs whose samples are shown: of those that differ in their seed, one."""
        groups = groups_of(self.runs)
        return [
            (group[0].label, title)
            for group, title in zip(groups, group_labels(groups), strict=True)
            if group[0].label in self.samples
        ]

    def picture(self) -> Any:
        """The grids of `shown` as one picture (H, W) or (H, W, 3); the same place is the same seed."""
        labels = [label for label, _ in self.shown()]
        titles = [f"{title}, {self.at[label]:,} images" for label, title in self.shown()]
        return side_by_side([self.samples[label] for label in labels], titles)

    def save(self, file: str | Path) -> Path:
        """Writes the comparison as the file's ending says (`FORMATS`); returns its path."""
        write_comparison(self, Path(file))
        return Path(file)

    def __str__(self) -> str:
        return "\n\n".join(table.to_markdown().strip() for table in self.tables())

    def _repr_markdown_(self) -> str:
        return str(self)

    def to_json(self) -> dict[str, Any]:
        """All but the pictures, as plain values."""
        return {
            "runs": [
                {
                    "label": run.label,
                    "path": str(run.folder.path),
                    "recipe": run.recipe.name,
                    "seed": run.recipe.seed,
                    "set": run.set_name,
                    "set_fingerprint": run.set_fingerprint,
                    "images": run.images,
                    "seconds": run.seconds,
                    "sampled_at": self.at.get(run.label),
                    "parameters": self.parameters.get(run.label),
                }
                for run in self.runs
            ],
            "charts": [asdict(chart) for chart in self.charts],
            "scores": [
                {
                    "protocol": table.protocol,
                    "floor": dict(table.floor),
                    "floor_count": table.floor_count,
                    "scores": {
                        label: [score.model_dump(mode="json") for score in scores.values()]
                        for label, scores in table.scores.items()
                    },
                    "differences": [asdict(one) for one in table.differences],
                }
                for table in self.scores
            ],
            "settings": [{"key": key, "values": values} for key, values in recipe_differences(self.runs)],
            "notes": list(self.notes),
        }


def compare_runs(
    paths: Sequence[Path],
    *,
    checkpoint: str = "best",
    shown: int = 16,
    seed: int = 0,
    truncation: float | None = None,
    device: torch.device | None = None,
    judge: JudgeOptions | None = None,
    on_progress: Callable[[str], Progress] = lambda label: lambda done, total: None,
) -> Comparison:
    """Compares runs: samples of the same seeds, curves, scores, costs, and settings.

    `checkpoint` is "best", which where a run has none is its newest, "newest", "epoch:N" or a count of
    images. With `judge` all are judged again by one protocol; without it, stored scores of equal protocol are
    taken. `on_progress(what)` gives a function of (done, total) for each part of the work. Raises `RunError`.
    """
    runs = read_runs(paths)
    place = device or torch.device("cpu")
    loaded: list[tuple[ComparedRun, LoadedRun]] = []
    parameters: dict[str, tuple[int, int]] = {}
    notes: list[str] = []
    for run in runs:
        which = run.folder.best_or_newest(checkpoint)
        if which != checkpoint:
            notes.append(f"{run.label} has no best checkpoint (it was not validated): its newest is taken.")
        one, networks = load_networks(run.folder.path, which, place)
        parameters[run.label] = (parameter_count(networks.generator), parameter_count(networks.discriminator))
        loaded.append((run, one))
    samples = {run.label: one.samples(shown, seed, truncation).pixels() for run, one in loaded}
    if judge is not None:
        protocol = common_protocol(loaded, judge, MetricSettings(seed=seed, device=place), truncation)
        notes += [protocol.note] if protocol.note else []
        scores = [judge_all(loaded, protocol, on_progress)]
    else:
        scores = stored_tables(runs)
        notes += _missing_scores(runs, scores)
    return Comparison(
        runs,
        samples,
        {run.label: one.images_seen for run, one in loaded},
        parameters,
        charts_of(runs),
        scores,
        seed,
        tuple(notes + _unlike(runs)),
        tuple(dict.fromkeys(one.teacher for _, one in loaded if one.teacher)),
    )


def _missing_scores(runs: Sequence[ComparedRun], scores: Sequence[ScoreTable]) -> list[str]:
    if not scores:
        return ["No two of the runs were judged by one protocol: --judge judges all of them by one."]
    missing = [run.label for run in runs if all(run.label not in table.scores for table in scores)]
    if missing:
        return [f"{', '.join(missing)}: not judged by a protocol that another run shares: --judge does it."]
    return []


def _unlike(runs: Sequence[ComparedRun]) -> list[str]:
    """What a reader should know before comparing."""
    notes = []
    sets = {run.set_fingerprint: run.set_name for run in runs}
    if len(sets) > 1:
        notes.append(
            f"The runs were trained on {len(sets)} different sets ({', '.join(sets.values())}): their curves "
            "and scores are not comparable across sets."
        )
    images = {run.images for run in runs}
    if len(images) > 1 and min(images) * 1.05 < max(images):
        notes.append(f"The runs have seen {min(images):,} to {max(images):,} images.")
    return notes


def refuse_other_formats(files: Sequence[Path]) -> None:
    """Raises `RunError` for a file whose ending is none of `FORMATS`."""
    for file in files:
        if file.suffix.lower() not in FORMATS:
            known = ", ".join(FORMATS)
            raise RunError(f"{file} cannot be written: --out takes a file that ends in one of {known}")


def write_comparison(comparison: Comparison, file: Path) -> None:
    """Writes the comparison as the file's ending says; atomically."""
    refuse_other_formats([file])
    file.parent.mkdir(parents=True, exist_ok=True)
    match file.suffix.lower():
        case ".html":
            from kennel.comparison.page import Part, page

            labels = ", ".join(run.label for run in comparison.runs)
            title = f"{len(comparison.runs)} runs compared"
            write_text(file, page([Part("", comparison)], title, [labels]))
        case ".md":
            notes = "".join(f"- {note}\n" for note in comparison.notes)
            write_text(
                file, "\n\n".join([*(one.to_markdown().strip() for one in comparison.tables()), notes])
            )
        case ".csv":
            write_text(file, comparison.tables()[0].to_csv())
        case ".tex":
            write_text(file, "\n".join(table.to_latex() for table in comparison.tables()))
        case ".json":
            write_text(file, json.dumps(comparison.to_json(), indent=2, allow_nan=False) + "\n")
        case _:
            write_grids(comparison, file)


def write_grids(comparison: Comparison, file: Path) -> None:
    """Writes the picture of all grids; its text says that GANs made the images."""
    count = len(next(iter(comparison.samples.values())))
    seeds = range(comparison.seed, comparison.seed + count)
    prints = ", ".join(run.folder.fingerprint() for run in comparison.runs)
    newest = max(comparison.at.values())
    text = grid_text(prints, newest, seeds, ", ".join(comparison.teachers) or None)
    text["kennel:images_seen"] = ", ".join(str(seen) for seen in comparison.at.values())
    save_png(file, comparison.picture(), text)
