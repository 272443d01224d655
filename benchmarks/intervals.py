"""Does each stated 95% interval hold what it promises? docs/benchmarks.md shows the table.

Clouds of several dimensions and counts, the same and different distributions, drawn again and again. *Width*
is the root mean square of the interval's standard deviation (its width by 2 x 1.96) by the true one, that of
the values; *holds* is how often the interval held the mean value of all draws at that count.

    python benchmarks/intervals.py [--metrics recall ...] [--dimensions 2 8 32] [--counts 200 500]
        [--draws 200]

Of `memorisation` the reference is one, as its interval says; of all others both sides are drawn. All of it
takes some 15 minutes on one core; `--metrics recall --dimensions 8` two.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from kennel.evaluation.metrics import builtin
from kennel.evaluation.metrics.base import METRICS, MetricResult
from kennel.evaluation.metrics.context import NORMAL_95, FeatureSide, MetricContext
from kennel.features.moments import moments

NAMES = (
    *("fid", "mifid", "kid", "inception_score", "diversity", "precision", "recall", "f1", "density"),
    *("coverage", "memorisation"),
)
CLASSES = 10
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """`dimension`, `count` of a side and the reference's `reference`; `shifted`, whether the sides differ."""

    dimension: int
    count: int
    reference: int
    shifted: bool

    def images(self, random: np.random.Generator) -> Rows:
        """A draw of the judged side: where it differs, less varied and with its mean 1 away."""
        rows = random.standard_normal((self.count, self.dimension), dtype=np.float32)
        return 0.8 * rows + np.float32(self.dimension**-0.5) if self.shifted else rows

    def words(self) -> str:
        """For a table."""
        sides = "different" if self.shifted else "the same"
        return f"{self.dimension} | {self.count} v {self.reference} | {sides}"


@dataclass(frozen=True)
class Found:
    """What became of one metric in one case."""

    mean: float
    width: float
    holds: float


def measured(names: list[str], case: Case, draws: int, seed: int = 0) -> dict[str, Found]:
    """Of these metrics in one case, those that have an interval there."""
    random = np.random.default_rng([seed, case.dimension, case.count, case.reference, case.shifted])
    naming = np.random.default_rng(1).standard_normal((case.dimension, CLASSES), dtype=np.float32)
    training = random.standard_normal((case.reference, case.dimension), dtype=np.float32)
    findings: dict[str, list[MetricResult]] = {name: [] for name in names}
    for _ in range(draws):
        images = case.images(random)
        reference = random.standard_normal((case.reference, case.dimension), dtype=np.float32)
        fresh, against_training = (_evidence(images, rows, naming) for rows in (reference, training))
        for name, found in findings.items():
            found.append(METRICS[name].compute(against_training if name == "memorisation" else fresh))
    return {name: _of(found) for name, found in findings.items() if all(one.interval for one in found)}


def _evidence(images: Rows, reference: Rows, naming: Rows) -> MetricContext:
    # Features of networks are not centred, and a cosine asks for a direction.
    sides = [FeatureSide(rows + np.float32(2.0), logits=2 * rows @ naming) for rows in (images, reference)]
    return MetricContext(sides[0], sides[1], moments(sides[1].features), "pixels")


def _of(findings: list[MetricResult]) -> Found:
    values = np.array([one.value for one in findings])
    lows, highs = np.array([one.interval for one in findings]).T
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    own = float(np.sqrt(np.mean((highs - lows) ** 2))) / 2 / NORMAL_95
    holds = float(np.mean((lows <= mean) & (mean <= highs)))
    return Found(mean, own / spread if spread else float("inf"), holds)


def cases(dimensions: list[int], counts: list[int]) -> Iterator[Case]:
    """Every dimension with every count, and 300 against 1,500 once each."""
    for dimension in dimensions:
        for count, reference in [*((count, count) for count in counts), (300, 1500)]:
            for shifted in (False, True):
                yield Case(dimension, count, reference, shifted)


def main() -> None:
    """A table for each metric, and its range over all cases."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    arguments.add_argument("--metrics", nargs="*", default=list(NAMES), choices=NAMES)
    arguments.add_argument("--dimensions", nargs="*", type=int, default=[2, 8, 32])
    arguments.add_argument("--counts", nargs="*", type=int, default=[200, 500])
    arguments.add_argument("--draws", type=int, default=200)
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    assert builtin  # they register themselves
    began = time.monotonic()
    ranges: dict[str, list[Found]] = {name: [] for name in chosen.metrics}
    print("| dimension | images | sides | metric | mean | width | holds |")
    print("|---|---|---|---|---|---|---|")
    for case in cases(chosen.dimensions, chosen.counts):
        for name, found in measured(chosen.metrics, case, chosen.draws).items():
            ranges[name].append(found)
            row = (case.words(), name, f"{found.mean:.4g}", f"{found.width:.2f}", f"{found.holds:.0%}")
            print(f"| {' | '.join(row)} |", flush=True)
    print("\n| metric | width | holds |\n|---|---|---|")
    for name, all_found in ranges.items():
        widths, holds = [one.width for one in all_found], [one.holds for one in all_found]
        if all_found:
            row = (f"{min(widths):.2f} to {max(widths):.2f}", f"{min(holds):.0%} to {max(holds):.0%}")
            print(f"| `{name}` | {' | '.join(row)} |")
    print(f"\n{time.monotonic() - began:,.0f} seconds.")


if __name__ == "__main__":
    main()
