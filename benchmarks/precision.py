"""Compares the FID of a recipe trained in float32 and in bfloat16, with several seeds each.

The recipe is `dcgan` at half its width. The averaged generator of each run is judged by FID with the
`mobilenet` extractor, on samples of the same seeds against another set (the test images). A row gives a run's
FID with the 95% interval of its samples; the last lines give the mean of each precision over the seeds with
its 95% interval (Student's t), and that of the differences of pairs with equal seeds.

    python benchmarks/precision.py --train SET --test SET --weights FILE [--images 250k] [--seeds 3]
                                   [--workers 2] [--out FOLDER]
"""

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from scipy.stats import t as student

from kennel.config.compute import preset
from kennel.config.recipe import override, parse_count
from kennel.data.dataset import ImageDataset
from kennel.evaluation.judge import Evaluator
from kennel.features.factory import open_extractor
from kennel.recipes import get_recipe
from kennel.sampling.load import load_run
from kennel.storage.atomic_io import write_text
from kennel.training.run import train

RECIPE = "dcgan"
SETTINGS = [
    "generator.base_channels=32",
    "discriminator.base_channels=32",
    "validation.every_ticks=0",
    "num_ticks=5",
]
PRECISIONS = ("float32", "bfloat16")
SAMPLES = 5_000
SAMPLE_SEED = 3_000_000


def run_job(job: tuple[str, int, argparse.Namespace]) -> dict[str, object]:
    """Trains and judges one run."""
    precision, seed, given = job
    torch.set_num_threads(1)
    folder = given.out / f"{precision}-{seed}"
    settings = [*preset(precision), *SETTINGS, f"budget.images={given.images}", f"seed={seed}"]
    train(override(get_recipe(RECIPE), settings), given.train, folder)
    judge = Evaluator(ImageDataset(given.test), open_extractor("mobilenet", given.weights))
    found = judge.judge(load_run(folder).sampled_set(SAMPLES, SAMPLE_SEED), ("fid",), count=SAMPLES)[0]
    return {"precision": precision, "seed": seed, "fid": found.value, "interval": list(found.interval or ())}


def with_interval(values: list[float]) -> str:
    """Formats the mean and its 95% interval, assuming a normal distribution."""
    half = student.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.1f} ± {half:.1f}"


def table(runs: list[dict[str, object]]) -> str:
    """Formats a Markdown table with a row per seed, then the means."""
    found = {(str(one["precision"]), one["seed"]): one for one in runs}
    seeds = sorted({int(str(one["seed"])) for one in runs})
    lines = ["| seed | float32 | bfloat16 |", "|---|---|---|"]
    for seed in seeds:
        cells = []
        for precision in PRECISIONS:
            interval = " to ".join(f"{end:.1f}" for end in found[precision, seed]["interval"])  # type: ignore[attr-defined]
            cells.append(f"{found[precision, seed]['fid']:.1f}" + (f" ({interval})" if interval else ""))
        lines.append(f"| {seed} | {' | '.join(cells)} |")
    values = {
        precision: [float(str(found[precision, seed]["fid"])) for seed in seeds] for precision in PRECISIONS
    }
    lines.append(
        "| mean | " + " | ".join(with_interval(values[precision]) for precision in PRECISIONS) + " |"
    )
    pairs = [low - full for full, low in zip(*(values[precision] for precision in PRECISIONS), strict=True)]
    lines += ["", f"bfloat16 less float32, by seed: {with_interval(pairs)}."]
    return "\n".join(lines)


def main() -> None:
    """Prints the table and writes all values to `precision.json` in the folder of the runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("--train", "--test", "--weights"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--images", type=parse_count, default=250_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("precision-runs"))
    given = parser.parse_args()
    jobs = [(precision, seed, given) for seed in range(given.seeds) for precision in PRECISIONS]
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(run_job, jobs))
    write_text(given.out / "precision.json", json.dumps(runs, indent=2) + "\n")
    print(table(runs))


if __name__ == "__main__":
    main()
