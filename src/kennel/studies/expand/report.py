"""The files that the study ends in: tables as Markdown, JSON and CSV, a figure, and generated images."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import kennel
from kennel.comparison.seed_statistics import paired_interval
from kennel.comparison.tables import Table
from kennel.images import save_png, tile
from kennel.reporting.plots import COLORS, DARK, GRAY, LIGHT, SILVER, new_figure
from kennel.sampling.png_metadata import grid_text
from kennel.storage.atomic_io import atomic_file, write_text
from kennel.studies.expand.arms import ArmResult, SeedResult, balanced
from kennel.studies.expand.config import ARMS, ExpandConfig
from kennel.studies.expand.sets import StudySets

COLUMNS, REAL_COLUMNS = 16, 4
"""Images of a row of the grid, and how many of them, on the left, are real."""
PAIRS = (("augmented", "scarce"), ("generated", "scarce"), ("generated", "augmented"), ("both", "augmented"))
"""The differences that are shown: the first arm minus the second."""


def write_results(study: ExpandConfig, sets: StudySets, found: Sequence[SeedResult], out: Path) -> list[Path]:
    """Writes `results.md`, `.json`, `.csv`, `accuracy.png` and `generated.png`; returns their paths."""
    tables = result_tables(sets, found)
    names = ("results.md", "results.json", "results.csv", "accuracy.png", "generated.png")
    files = [out / name for name in names]
    write_text(files[0], _markdown(study, sets, found, tables))
    write_text(files[1], json.dumps(_content(study, sets, found), indent=1, allow_nan=False) + "\n")
    write_text(files[2], _csv(sets, found))
    draw_accuracies(sets, found, files[3])
    _write_grid(sets, found[0], files[4])
    return files


def result_tables(sets: StudySets, found: Sequence[SeedResult]) -> list[Table]:
    """Accuracy of each arm on all, scarce and other classes; differences of the arms; accuracy by class."""
    groups = _groups(sets)
    rows = [
        (arm, *(_mean([balanced(_arm(one, arm), labels) for one in found]) for labels in groups.values()))
        for arm in ARMS
    ]
    seeds = f"{len(found)} seed{'s' * (len(found) != 1)}"
    note = f"Means of the classes' accuracies in % on real test images; mean ± standard deviation of {seeds}."
    tables = [Table("Accuracy", ("trained on", *groups), tuple(rows), notes=(note,))]
    if len(found) > 1:
        tables.append(_differences(found, groups))
    names = _class_names(sets)
    by_class = [
        (name, *(_mean([_arm(one, arm).accuracies[label] for one in found]) for arm in ARMS))
        for label, name in enumerate(names)
    ]
    note = "Scarce classes are marked *."
    return [*tables, Table("Accuracy by class", ("class", *ARMS), tuple(by_class), notes=(note,))]


def _differences(found: Sequence[SeedResult], groups: dict[str, Sequence[int]]) -> Table:
    rows: list[tuple[str, ...]] = []
    bold: set[tuple[int, int]] = set()
    for first, second in PAIRS:
        cells = [f"{first} - {second}"]
        for place, labels in enumerate(groups.values(), 1):
            low, mean, high = paired_interval(_paired(found, first, second, labels))
            cells.append(f"{100 * mean:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})")
            if not low <= 0 <= high:
                bold.add((len(rows), place))
        rows.append(tuple(cells))
    note = (
        "Percentage points, with 95% intervals over seeds (paired, Student's t); bold where 0 is outside. "
        "A seed draws other kept images, and trains another generator and other classifiers."
    )
    return Table("Differences", ("", *groups), tuple(rows), frozenset(bold), (note,))


def _paired(found: Sequence[SeedResult], first: str, second: str, labels: Sequence[int]) -> list[float]:
    return [balanced(_arm(one, first), labels) - balanced(_arm(one, second), labels) for one in found]


def _groups(sets: StudySets) -> dict[str, Sequence[int]]:
    count = len(sets.test.classes)
    others = [label for label in range(count) if label not in sets.scarce]
    return {"all classes": range(count), "scarce classes": sets.scarce, "other classes": others}


def _arm(one: SeedResult, arm: str) -> ArmResult:
    return next(result for result in one.arms if result.arm == arm)


def _class_names(sets: StudySets) -> list[str]:
    return [f"{name} *" if label in sets.scarce else name for label, name in enumerate(sets.test.classes)]


def _mean(values: Sequence[float]) -> str:
    """In percent, with the standard deviation of two or more."""
    mean = f"{100 * float(np.mean(values)):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {100 * float(np.std(values, ddof=1)):.2f}"


def _facts(study: ExpandConfig, sets: StudySets, found: Sequence[SeedResult]) -> list[str]:
    """Sentences on what was compared."""
    drawn = sum(one.expanded.generated_count for one in found)
    rejected = sum(one.rejected for one in found)
    counts = found[0].expanded.about["class_counts"]
    scarce = ", ".join(sets.test.classes[label] for label in sets.scarce)
    return [
        f"Data: {sets.data}. Of the scarce classes ({scarce}) {study.keep} images each were kept and filled "
        f"up to {min(counts[label] for label in sets.scarce):,}; tested on {len(sets.test_rows):,} real "
        "images that no part was trained on.",
        *(f"{arm}: {words}, {_arm(found[0], arm).training_images:,} images." for arm, words in ARMS.items()),
        f"{rejected:,} of {drawn + rejected:,} drawn images were rejected as copies or repetitions.",
    ]


def _markdown(
    study: ExpandConfig, sets: StudySets, found: Sequence[SeedResult], tables: Sequence[Table]
) -> str:
    facts = _facts(study, sets, found)
    lines = [f"# Study: {study.name}", study.description, facts[0]]
    lines.append("\n".join(f"- {fact}" for fact in facts[1:]))
    lines += [table.to_markdown().strip() for table in tables]
    lines += [
        "![accuracy by class](accuracy.png)",
        f"![images of the scarce classes](generated.png)\n\nA row for each scarce class, seed "
        f"{found[0].seed}: {REAL_COLUMNS} real images on the left, then generated ones, not selected.",
        "## The study",
        "```yaml\n" + study.to_yaml() + "```",
        f"Written by kennel {kennel.__version__}.",
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _content(study: ExpandConfig, sets: StudySets, found: Sequence[SeedResult]) -> dict[str, Any]:
    groups = _groups(sets)
    differences = (
        {
            f"{first} - {second}": {
                name: dict(
                    zip(
                        ("low", "mean", "high"),
                        paired_interval(_paired(found, first, second, labels)),
                        strict=True,
                    )
                )
                for name, labels in groups.items()
            }
            for first, second in PAIRS
        }
        if len(found) > 1
        else {}
    )
    return {
        "study": study.model_dump(mode="json"),
        "kennel": kennel.__version__,
        "data": sets.data,
        "classes": list(sets.test.classes),
        "scarce": list(sets.scarce),
        "test_images": len(sets.test_rows),
        "differences": differences,
        "seeds": [
            {
                "seed": one.seed,
                "generated": one.expanded.generated_count,
                "rejected": one.rejected,
                "arms": {
                    arm.arm: {
                        "training_images": arm.training_images,
                        "accuracies": list(arm.accuracies),
                        **{name: balanced(arm, labels) for name, labels in groups.items()},
                    }
                    for arm in one.arms
                },
            }
            for one in found
        ],
    }


def _csv(sets: StudySets, found: Sequence[SeedResult]) -> str:
    """A row for each seed, arm and class."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("seed", "trained_on", "class", "scarce", "test_images", "accuracy"))
    for one in found:
        for arm in one.arms:
            for label, name in enumerate(sets.test.classes):
                scarce = int(label in sets.scarce)
                writer.writerow(
                    (one.seed, arm.arm, name, scarce, arm.test_counts[label], f"{arm.accuracies[label]:.6f}")
                )
    return text.getvalue()


def draw_accuracies(sets: StudySets, found: Sequence[SeedResult], destination: Path) -> None:
    """Draws the accuracy of every class and arm, with 95% intervals over the seeds if there are several."""
    labels = [*sets.scarce, *(label for label in range(len(sets.test.classes)) if label not in sets.scarce)]
    names = _class_names(sets)
    canvas = new_figure((max(7.0, 1.0 + 0.85 * len(labels)), 4.2), "constrained")
    axes = canvas.add_subplot()
    width = 0.8 / len(ARMS)
    for number, arm in enumerate(ARMS):
        values = np.array([[_arm(one, arm).accuracies[label] for one in found] for label in labels]) * 100
        places = np.arange(len(labels)) + (number - (len(ARMS) - 1) / 2) * width
        reach = None
        if len(found) > 1:
            bounds = [paired_interval(row.tolist()) for row in values]
            # An accuracy cannot leave 0 to 100, an interval of few seeds can.
            reach = np.array([[mean - max(low, 0), min(high, 100) - mean] for low, mean, high in bounds]).T
        axes.errorbar(
            places,
            values.mean(1),
            reach,
            fmt="o",
            color=COLORS[number],
            markersize=5,
            elinewidth=1.4,
            capsize=2.5,
            label=arm,
        )
    axes.axvline(len(sets.scarce) - 0.5, color=SILVER, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xticks(np.arange(len(labels)), [names[label].replace("$", r"\$") for label in labels])
    axes.tick_params(colors=GRAY, labelsize=9.5, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SILVER)
    axes.grid(axis="y", color=LIGHT, linewidth=0.9)
    axes.set_ylabel("accuracy on real test images, %", fontsize=10, color=GRAY)
    if len(found) > 1:
        title = f"Accuracy by class (* scarce): mean and 95% interval of {len(found)} seeds"
    else:
        title = "Accuracy by class (* scarce), one seed"
    axes.set_title(title, fontsize=11, color=DARK, loc="left")
    canvas.legend(loc="outside lower center", ncols=len(ARMS), frameon=False, labelcolor=DARK)
    with atomic_file(destination) as temporary:
        canvas.savefig(temporary, format="png")


def _write_grid(sets: StudySets, one: SeedResult, destination: Path) -> None:
    """Real images of each scarce class, then generated ones: the first of the set."""
    dataset = one.expanded
    labels, drawn = np.asarray(dataset.labels), np.asarray(dataset.generated)
    rows = []
    for label in sets.scarce:
        real = np.flatnonzero((labels == label) & ~drawn)
        fakes = np.flatnonzero((labels == label) & drawn)
        rows += [np.resize(real, REAL_COLUMNS), np.resize(fakes, COLUMNS - REAL_COLUMNS)]
    about = dataset.about["generated"]
    text = grid_text(about["generator_fingerprint"], about["images_seen"], [about["seed"]], about["teacher"])
    text["kennel:real"] = f"the first {REAL_COLUMNS} images of each row are real"
    save_png(destination, tile(dataset.at(np.concatenate(rows)), COLUMNS), text)
