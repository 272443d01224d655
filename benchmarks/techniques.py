"""Each technique alone on Fashion-MNIST: same pair, budget and seed (docs/results/techniques.md).

The baseline is `improved.fashion_mnist.baseline` at a quarter of its width, with learning rates and a batch
size that give recognizable clothes within two epochs; every row only adds settings. Each run is judged by FID
with the `mobilenet` extractor on 1,000 samples of the same seeds against the 10,000 test images, and its grid
of the same 64 latents is kept.

    python benchmarks/techniques.py --train SET --test SET --weights FILE [--images 100k] [--workers 2] \\
        [--out FOLDER]
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from PIL import Image

from kennel.config.recipe import override, parse_count
from kennel.data.dataset import ImageDataset
from kennel.evaluation.judge import Evaluator
from kennel.features.factory import open_extractor
from kennel.images import save_png, tile
from kennel.recipes import get_recipe
from kennel.sampling.load import load_run
from kennel.storage.atomic_io import write_text
from kennel.training.run import train

RECIPE = "improved.fashion_mnist.baseline"
SAMPLES = 1_000
SAMPLE_SEED = 3_000_000

SMALL_AND_FAST = [
    "generator.base_channels=32",
    "discriminator.base_channels=16",
    "discriminator.hidden=256",
    "batch_size=50",
    *(f"{network}_optimizer.learning_rate=1e-3" for network in ("generator", "discriminator")),
]

ROWS: dict[str, list[str]] = {
    "baseline": [],
    "baseline, seed 1": ["seed=1"],
    "baseline, seed 2": ["seed=2"],
    "orthogonal_init": ["techniques.orthogonal_init=on"],
    "one_sided_smoothing": ["techniques.one_sided_smoothing=on"],
    "noisy_labels": ["techniques.noisy_labels=on"],
    "instance_noise": ["techniques.instance_noise.variance=0.1"],
    "horizontal_flip": ["techniques.horizontal_flip=on"],
    "random_resized_crop": ["techniques.random_resized_crop=on"],
    "diff_augment": ["techniques.diff_augment=on"],
    "ada": ["techniques.ada=on"],
    "consistency": ["techniques.consistency=on"],
    "feature_matching": ["techniques.feature_matching=on"],
    "minibatch_discrimination": ["techniques.minibatch_discrimination=on"],
    "minibatch_stddev": ["techniques.minibatch_stddev=on"],
    "historical_averaging": ["techniques.historical_averaging=on"],
    "parameter_averaging": ["techniques.parameter_averaging=on"],
    "virtual_batch_norm": ["techniques.virtual_batch_norm=on"],
    "spectral_norm": ["techniques.spectral_norm=on"],
    "orthogonal_regularisation": ["techniques.orthogonal_regularisation=on"],
    "weight_clipping (wgan, 5 turns)": [
        "techniques.weight_clipping=on",
        "loss.name=wgan",
        "steps.discriminator=5",
        *(f"{network}_optimizer.name=rmsprop" for network in ("generator", "discriminator")),
        *(f"{network}_optimizer.learning_rate=2e-4" for network in ("generator", "discriminator")),
    ],
    "singular_value_clamp": ["techniques.singular_value_clamp=on"],
    "singular_value_penalty": ["techniques.singular_value_penalty=on"],
    "r1": ["techniques.r1.weight=1", "techniques.r1.interval=4"],
    "r2": ["techniques.r2.weight=1", "techniques.r2.interval=4"],
    "gradient_penalty": ["techniques.gradient_penalty.interval=4"],
    "dragan": ["techniques.dragan.interval=4"],
    "lecam": ["techniques.lecam.start_images=10k"],
    "top_k": ["techniques.top_k=on"],
    "truncated_prior": ["techniques.truncated_prior=on"],
    "mine": ["techniques.mine=on"],
    "ema": ["techniques.ema=on"],
    "TTUR (5e-4, 2e-3)": [
        "generator_optimizer.learning_rate=5e-4",
        "discriminator_optimizer.learning_rate=2e-3",
    ],
    "linear decay of the rates": [
        f"{network}_optimizer.schedule.decay=linear" for network in ("generator", "discriminator")
    ],
    "without separate_batches": ["techniques.separate_batches=off"],
    "all five of the report": [
        "techniques.virtual_batch_norm.reference=100",
        "techniques.minibatch_discrimination=on",
        "techniques.feature_matching.adversarial=true",
        "techniques.parameter_averaging=on",
        "techniques.one_sided_smoothing=on",
    ],
}


def run_row(name: str, given: argparse.Namespace) -> dict[str, object]:
    """Trains and judges one row."""
    torch.set_num_threads(1)
    folder = given.out / "runs" / "".join(letter if letter.isalnum() else "_" for letter in name)
    plain = ["validation.every_ticks=0", "num_ticks=4", f"budget.images={given.images}"]
    settings = [*SMALL_AND_FAST, *ROWS[name]]
    began = time.process_time()
    train(override(get_recipe(RECIPE), [*plain, *settings]), given.train, folder)
    trained = time.process_time()
    judge = Evaluator(ImageDataset(given.test), open_extractor("mobilenet", given.weights))
    judgement = judge.judge(load_run(folder).sampled_set(SAMPLES, SAMPLE_SEED), ("fid",), count=SAMPLES)[0]
    grid = tile(load_run(folder).samples(64).pixels(), columns=8)
    save_png(folder / "grid.png", grid)
    command = " ".join(f"--set {one}" for one in settings)
    return {
        "row": name,
        "fid": judgement.value,
        "training_seconds": trained - began,
        "judging_seconds": time.process_time() - trained,
        "command": f"kennel train {RECIPE} --data sets/fashion_mnist --out runs/{folder.name} "
        f"--images {given.images} {command}".strip(),
        "grid": str(folder / "grid.png"),
    }


def table(outcomes: list[dict[str, object]]) -> str:
    """Formats rows sorted by FID, with the change from the baseline and the training time."""
    baseline = next(one for one in outcomes if one["row"] == "baseline")
    lines = ["| row | FID | against the baseline | CPU seconds | settings |", "|---|---|---|---|---|"]
    for one in sorted(outcomes, key=lambda one: float(str(one["fid"]))):
        change = float(str(one["fid"])) / float(str(baseline["fid"])) - 1
        shown = "" if one is baseline else f"{change:+.0%}"
        settings = ", ".join(f"`{setting}`" for setting in ROWS[str(one["row"])])
        lines.append(
            f"| {one['row']} | {one['fid']:.1f} | {shown} | {one['training_seconds']:.0f} | {settings} |"
        )
    return "\n".join(lines)


def contact_sheet(outcomes: list[dict[str, object]], destination: Path) -> None:
    """Draws the first row of every grid, the best first, below each other."""
    strips = []
    for one in sorted(outcomes, key=lambda one: float(str(one["fid"]))):
        with Image.open(str(one["grid"])) as grid:
            strips.append(grid.crop((0, 0, grid.width, grid.height // 8)).convert("L"))
    sheet = Image.new("L", (strips[0].width, sum(strip.height for strip in strips)), 255)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    sheet.save(destination)


def main() -> None:
    """Runs the rows, and writes techniques.md, techniques.json and techniques.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True, help="the packed Fashion-MNIST")
    parser.add_argument("--test", type=Path, required=True, help="its test images, packed")
    parser.add_argument("--weights", type=Path, required=True, help="weights of the mobilenet extractor")
    parser.add_argument("--images", type=parse_count, default=100_000)
    parser.add_argument("--only", nargs="*", choices=list(ROWS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("comparison"))
    given = parser.parse_args()
    os.environ.setdefault("KENNEL_CACHE", str(given.out / "cache"))
    Evaluator(
        ImageDataset(given.test), open_extractor("mobilenet", given.weights)
    ).prepare()  # once for all rows
    outcomes = []
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run_row, name, given) for name in given.only or ROWS]
        for job in waiting:
            outcomes.append(job.result())
            one = outcomes[-1]
            print(
                f"{one['row']}: FID {one['fid']:.1f}, {one['training_seconds']:.0f} + "
                f"{one['judging_seconds']:.0f} CPU s",
                flush=True,
            )
            write_text(given.out / "techniques.json", json.dumps(outcomes, indent=1))
    contact_sheet(outcomes, given.out / "techniques.png")
    if any(one["row"] == "baseline" for one in outcomes):
        write_text(given.out / "techniques.md", table(outcomes) + "\n")
        print(table(outcomes))


if __name__ == "__main__":
    main()
