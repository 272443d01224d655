"""Counts the modes that losses and techniques recover of 25 Gaussians; docs/modes.md shows the table.

The data are points in the plane, "images" of one pixel with two channels: a mixture of 25 Gaussians of
standard deviation 0.01 on a 5x5 grid of spacing 0.4 (the grid of Srivastava et al. 2017, VEEGAN, arXiv
1705.07761, scaled to [-1, 1]). Both networks are multilayer perceptrons with two hidden layers; each row of
the table changes one thing of the same baseline. Of 2,500 samples, those within 3 standard deviations of a
mode's center are of high quality; a mode with at least one such sample is recovered.

Every row has the same number of iterations; with five discriminator steps it shows five times as many points.

    python benchmarks/modes.py [--rounds 4000] [--seeds 2] [--only NAME ...] [--workers 2] [--out FOLDER]
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import matplotlib
import numpy as np
import torch

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, OptimizerConfig, Recipe, override
from kennel.engine.builder import build_step, sampling_generator
from kennel.engine.latents import draw_latents
from kennel.engine.state import TrainPlan, TrainState
from kennel.engine.trainer import Trainer
from kennel.evaluation.metrics.mode_coverage import modes_of_centers
from kennel.sampling.sampler import labels_of, latents_of
from kennel.storage.atomic_io import write_text

SPREAD = 0.01
CENTERS = torch.cartesian_prod(torch.linspace(-0.8, 0.8, 5), torch.linspace(-0.8, 0.8, 5))
SAMPLES = 2_500
CRITIC = ["steps.discriminator=5", "loss.name=wgan"]
SLOW = [f"{network}_optimizer.betas=[0.0, 0.9]" for network in ("generator", "discriminator")]

ROWS: dict[str, list[str]] = {
    "baseline (bce)": [],
    "minimax": ["loss.name=minimax"],
    "lsgan": ["loss.name=lsgan"],
    "hinge": ["loss.name=hinge"],
    "ralsgan": ["loss.name=ralsgan"],
    "rahinge": ["loss.name=rahinge"],
    "ragan": ["loss.name=ragan"],
    "relativistic_paired": ["loss.name=relativistic_paired"],
    "loss_sensitive": ["loss.name=loss_sensitive"],
    "wgan + weight_clipping": [*CRITIC, "techniques.weight_clipping.limit=0.1"],
    "wgan + gradient_penalty": [*CRITIC, *SLOW, "techniques.gradient_penalty.weight=1"],
    "r3gan (paired + r1 + r2)": [
        *SLOW,
        "loss.name=relativistic_paired",
        "techniques.r1.weight=0.1",
        "techniques.r2.weight=0.1",
    ],
    "one_sided_smoothing": ["techniques.one_sided_smoothing=on"],
    "noisy_labels": ["techniques.noisy_labels=on"],
    "instance_noise": ["techniques.instance_noise=on"],
    "feature_matching": ["techniques.feature_matching=on"],
    "minibatch_discrimination": ["techniques.minibatch_discrimination.kernels=20"],
    "minibatch_stddev": ["techniques.minibatch_stddev=on"],
    "historical_averaging": ["techniques.historical_averaging=on"],
    "parameter_averaging": ["techniques.parameter_averaging=on"],
    "virtual_batch_norm": ["techniques.virtual_batch_norm=on", "generator.batch_norm=true"],
    "batch norm in the generator": ["generator.batch_norm=true"],
    "spectral_norm": ["techniques.spectral_norm=on"],
    "orthogonal_init": ["techniques.orthogonal_init=on"],
    "orthogonal_regularisation": ["techniques.orthogonal_regularisation=on"],
    "singular_value_clamp": ["techniques.singular_value_clamp=on"],
    "singular_value_penalty": ["techniques.singular_value_penalty=on"],
    "r1": ["techniques.r1.weight=0.1"],
    "r2": ["techniques.r2.weight=0.1"],
    "gradient_penalty": ["techniques.gradient_penalty.weight=1"],
    "dragan": ["techniques.dragan.weight=1"],
    "lecam": ["techniques.lecam=on"],
    "top_k": ["techniques.top_k=on"],
    "mine": ["techniques.mine.code=2"],
    "ema": ["techniques.ema=on"],
    "TTUR (discriminator's rate x4)": ["discriminator_optimizer.learning_rate=4e-3"],
    "5 discriminator turns": ["steps.discriminator=5"],
    "classes (conditional)": ["num_classes=25"],
    "classes + auxiliary_classifier": [
        "num_classes=25",
        "discriminator.conditioning=none",
        "techniques.auxiliary_classifier=on",
    ],
}


def baseline(seed: int) -> Recipe:
    """Returns the recipe that every row changes."""
    optimizer = OptimizerConfig(learning_rate=1e-3, betas=(0.5, 0.999))
    return Recipe(
        name="modes",
        image=ImageConfig(size=1, channels=2),
        latent_dim=2,
        generator=ComponentConfig(name="mlp", hidden=(128, 128), batch_norm=False, activation="relu"),
        discriminator=ComponentConfig(name="mlp", hidden=(128, 128), dropout=0.0),
        techniques=(ComponentConfig(name="separate_batches"),),
        generator_optimizer=optimizer,
        discriminator_optimizer=optimizer,
        batch_size=128,
        budget=Budget(images=1),
        seed=seed,
    )


class Points:
    """Batches of the mixture, determined by the number of points shown; labels are the modes."""

    def __init__(self, batch: int, seed: int) -> None:
        self.batch, self.seed = batch, seed

    def at(self, images_seen: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns points (batch, 2, 1, 1) and their modes (batch)."""
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + images_seen)
        labels = torch.randint(len(CENTERS), (self.batch,), generator=random)
        noise = torch.randn((self.batch, 2), generator=random) * SPREAD
        return (CENTERS[labels] + noise)[:, :, None, None], labels


def run_row(name: str, iterations: int, seed: int) -> dict[str, object]:
    """Trains one row with one seed and counts its modes."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    recipe = override(baseline(seed), ROWS[name])
    images = iterations * recipe.batch_size * recipe.steps.discriminator
    step = build_step(recipe, torch.device("cpu"))
    plan = TrainPlan(recipe.batch_size, recipe.steps, images, images, seed, torch.device("cpu"))
    trainer = Trainer(
        TrainState(
            step,
            plan,
            Points(recipe.batch_size, seed),
            lambda count, random: draw_latents(recipe.latent, count, random),
        )
    )
    began = time.perf_counter()
    trainer.run()
    generator = sampling_generator(step).eval()
    seeds = range(10**6, 10**6 + SAMPLES)
    labels = torch.tensor(labels_of(seeds, (1,) * recipe.num_classes)) if recipe.num_classes else None
    with torch.no_grad():
        points = generator(latents_of(seeds, recipe.latent), labels).flatten(1)
    found = modes_of_centers(points.numpy(), CENTERS.numpy(), 3 * SPREAD)
    return {
        "row": name,
        "seed": seed,
        "modes": found.covered,
        "high_quality": found.high_quality,
        "seconds": time.perf_counter() - began,
        "points": points.tolist(),
    }


def table(outcomes: list[dict[str, object]]) -> str:
    """Formats the rows as Markdown: modes and high-quality samples, the mean over seeds and each seed."""
    lines = ["| row | modes of 25 | each seed | high-quality samples | each seed |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(str(one["row"]) for one in outcomes):
        mine = [one for one in outcomes if one["row"] == name]
        modes, good = [int(one["modes"]) for one in mine], [float(one["high_quality"]) for one in mine]
        lines.append(
            f"| {name} | {statistics.mean(modes):.1f} | {', '.join(map(str, modes))} | "
            f"{statistics.mean(good):.1%} | {', '.join(f'{one:.1%}' for one in good)} |"
        )
    return "\n".join(lines)


def draw(outcomes: list[dict[str, object]], destination: Path) -> None:
    """Draws the samples of every row's first seed as small plots."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    first = {str(one["row"]): one for one in reversed(outcomes)}
    names = [name for name in ROWS if name in first]
    columns = 6
    rows = -(-len(names) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(2 * columns, 2.2 * rows), squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        points = np.array(first[name]["points"])
        axis.plot(*CENTERS.T, "+", color="#c44", markersize=4)
        axis.plot(*points.T, ".", color="#247", markersize=1.5, alpha=0.5)
        axis.set_xlim(-1.05, 1.05)
        axis.set_ylim(-1.05, 1.05)
        axis.set_aspect("equal")
        axis.set_title(f"{name}\n{first[name]['modes']} modes", fontsize=7)
    figure.tight_layout()
    figure.savefig(destination, dpi=110)


def main() -> None:
    """Runs the rows, and writes modes.md, modes.json and modes.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=list(ROWS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("modes"))
    given = parser.parse_args()
    jobs = [(name, seed) for name in given.only or ROWS for seed in range(given.seeds)]
    outcomes = []
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run_row, name, given.rounds, seed) for name, seed in jobs]
        for job in waiting:
            outcomes.append(job.result())
            one = outcomes[-1]
            print(
                f"{one['row']}, seed {one['seed']}: {one['modes']} modes, {one['high_quality']:.1%} good, "
                f"{one['seconds']:.0f} s",
                flush=True,
            )
    given.out.mkdir(parents=True, exist_ok=True)
    plain = [{key: value for key, value in one.items() if key != "points"} for one in outcomes]
    write_text(given.out / "modes.json", json.dumps(plain, indent=1))
    write_text(given.out / "modes.md", table(outcomes) + "\n")
    draw(outcomes, given.out / "modes.png")
    print(table(outcomes))


if __name__ == "__main__":
    main()
