"""Tests the alarms on healthy runs and on runs that are made to fail; docs/alarms.md shows the tables.

The 21 healthy runs must raise no alarm. Each is a built-in recipe at a small width; its FID on pixels must
fall, which shows that training works. For each failing run the table gives what is changed, when the failure
happened by an independent measure, which alarm found it, and how many ticks later.

    python benchmarks/alarms.py --digits16 SET --fashion28 SET --fashion32 SET [--only healthy|ruined] \\
        [--out FOLDER] [--picture FILE]

The sets are made by `kennel data prepare digits DEST --size 16` and `kennel data prepare fashion_mnist DEST
--size 28` (and 32). About ten minutes on one core.
"""

import argparse
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from kennel.config.recipe import override
from kennel.data.dataset import ImageDataset
from kennel.engine.builder import build_loss
from kennel.errors import AlarmError
from kennel.recipes import get_recipe
from kennel.reporting.panels import marks_of
from kennel.reporting.plots import COLORS, draw_marks, style
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.training.alarm_callback import loss_at_zero_logits
from kennel.training.alarms.rules import ADVERSARIAL, DIVERSITY, growths
from kennel.training.run import train

NETWORKS = ("generator", "discriminator")
TICKS = 20
COMMON = [
    f"num_ticks={TICKS}",
    "validation.metric=fid",
    "validation.extractor=pixels",
    "validation.num_samples=512",
    f"validation.every_ticks={TICKS // 2}",
    "steps.extra_d_steps=null",
    "batch_size=32",
]
SMALL = ["generator.base_channels=16", "discriminator.base_channels=16"]
RESIDUAL = [
    "image.channels=1",
    "generator.base_channels=8",
    "discriminator.base_channels=8",
    "steps.discriminator=1",
]
MODERN = [
    "image.size=32",
    "image.channels=1",
    *(
        f"{network}.{key}"
        for network in ("generator", "discriminator")
        for key in ("base_channels=32", "min_channels=16")
    ),
]

HEALTHY: dict[str, tuple[str, str, str, list[str]]] = {
    "digits, seed 0": ("digits", "digits16", "60k", []),
    "digits, seed 1": ("digits", "digits16", "60k", ["seed=1"]),
    "digits, no noise": ("digits", "digits16", "60k", ["techniques.instance_noise=off"]),
    "dcgan": ("dcgan", "fashion28", "24k", SMALL),
    "dcgan, seed 1": ("dcgan", "fashion28", "24k", [*SMALL, "seed=1"]),
    "dcgan with r1": ("dcgan", "fashion28", "16k", [*SMALL, "techniques.r1.weight=1"]),
    "lsgan": ("lsgan", "fashion28", "24k", SMALL),
    "ralsgan": ("ralsgan", "fashion28", "24k", SMALL),
    "wgan": ("wgan", "fashion28", "60k", SMALL),
    "wgan_gp": ("wgan_gp", "fashion28", "30k", SMALL),
    "gan": ("gan", "fashion28", "60k", []),
    "cgan": ("cgan", "fashion28", "60k", []),
    "acgan": ("acgan", "fashion32", "16k", SMALL),
    "mine": ("mine", "fashion28", "16k", SMALL),
    "improved.mnist": ("improved.mnist", "fashion28", "16k", SMALL),
    "improved.mnist.baseline": ("improved.mnist.baseline", "fashion28", "24k", SMALL),
    "sn_dcgan": ("sn_dcgan", "fashion32", "24k", SMALL),
    "sngan": ("sngan", "fashion32", "12k", RESIDUAL),
    "sagan": ("sagan", "fashion32", "8k", RESIDUAL),
    "biggan": ("biggan", "fashion32", "8k", [*RESIDUAL, "image.size=32"]),
    "r3gan.dogs": ("r3gan.dogs", "fashion32", "10k", MODERN),
}


def extremes(folder: RunDir) -> dict[str, float]:
    """Returns how close a run came to each alarm: the largest growth of a first singular value over 3 ticks,
    and the minimum gradient, discriminator loss and diversity, relative to the alarm's reference value."""
    log, spectra = folder.log(), [line for line in folder.spectra() if line["images"]]
    recipe = folder.recipe()
    zero_loss = loss_at_zero_logits(build_loss(recipe))
    norms = [line["generator_gradient_norm"] for line in log]
    diversities = [line[DIVERSITY] for line in log]
    found = [0.0]
    for place in range(3, len(spectra)):
        now, *past = (
            {network: line[network] for network in NETWORKS}
            for line in (spectra[place], *spectra[: place - 2])
        )
        found.extend(growth.factor for growth in growths(now, past))
    losses = [line.get(ADVERSARIAL, line["discriminator_loss"]) for line in log]
    return {
        "growth": max(found),
        "gradient": min(norms[place] / max(norms[:place]) for place in range(1, len(norms))),
        "certainty": min(losses) / zero_loss if zero_loss else float("nan"),
        "diversity": min(
            diversities[place] / min(1.0, max(diversities[:place])) for place in range(1, len(diversities))
        ),
    }


def healthy(sets: Mapping[str, Path], out: Path, names: list[str]) -> int:
    """Trains the healthy runs, prints their table, and returns the number of alarms."""
    print(
        "| run | images | FID on pixels, first and last | largest growth of a first singular value | "
        "least gradient | least adversarial loss | least diversity | alarms |"
    )
    print("|---|---|---|---|---|---|---|---|")
    count, began = 0, time.monotonic()
    for name in names:
        recipe_name, data, images, settings = HEALTHY[name]
        recipe = override(get_recipe(recipe_name), [*COMMON, *settings, f"budget.images={images}"])
        folder = RunDir(out / name.replace(" ", "-").replace(",", ""))
        train(recipe, sets[data], folder.path)
        log, found = folder.log(), extremes(folder)
        fids = [line["fid"] for line in log if "fid" in line]
        alarms = [f"{line['alarm']} at {line['images']:,}" for line in folder.alarms()]
        count += len(alarms)
        certainty = "–" if math.isnan(found["certainty"]) else f"{found['certainty']:.2f}"
        print(
            f"| {name} | {log[-1]['images']:,} | {fids[0]:.1f}, {fids[-1]:.1f} | {found['growth']:.2f} | "
            f"{found['gradient']:.2f} | {certainty} | {found['diversity']:.2f} | {'; '.join(alarms) or 0} |",
            flush=True,
        )
    print(f"\n{len(names)} healthy runs, {count} alarms, {time.monotonic() - began:,.0f} seconds.\n")
    return count


BARE = ["techniques.one_sided_smoothing=off", "techniques.instance_noise=off"]
MLP = ["techniques.one_sided_smoothing=off", "generator.hidden=[128,128]", "discriminator.hidden=[128,128]"]
RUINED: dict[str, tuple[str, str, str, list[str], str]] = {
    "rates that rise, 200-fold and tenfold, from half of the run on": (
        "gan",
        "digits16",
        "72k",
        [
            *MLP,
            "techniques.ema=off",
            *(f"{network}_optimizer.learning_rate=3e-4" for network in ("generator", "discriminator")),
            "generator_optimizer.schedule={decay: linear, begins: 0.5, ends: 0.625, final: 200}",
            "discriminator_optimizer.schedule={decay: linear, begins: 0.5, ends: 0.625, final: 10}",
        ],
        "falling_diversity",
    ),
    "the same, seen in its spectra": ("", "", "", [], "exploding_spectrum"),
    "a discriminator with 500 times the generator's rate": (
        "digits",
        "digits16",
        "8k",
        [*BARE, "discriminator_optimizer.learning_rate=5e-3", "generator_optimizer.learning_rate=1e-5"],
        "discriminator_saturation",
    ),
    "a loss that saturates, and a strong discriminator": (
        "digits",
        "digits16",
        "16k",
        [
            *BARE,
            "loss.name=minimax",
            "discriminator_optimizer.learning_rate=5e-3",
            "generator_optimizer.learning_rate=1e-4",
        ],
        "vanishing_gradient",
    ),
    "a discriminator's rate of 1e25": (
        "digits",
        "digits16",
        "8k",
        ["discriminator_optimizer.name=sgd", "discriminator_optimizer.learning_rate=1e25"],
        "non_finite",
    ),
}


def classes_drawn(folder: RunDir, images: int, reals: ImageDataset) -> float:
    """Returns the effective number of classes (exp of the entropy) of 256 samples, by nearest real images."""
    samples = torch.from_numpy(load_run(folder.path, str(images)).samples(256).pixels())
    near = torch.cdist(
        samples.float().flatten(1), torch.from_numpy(np.array(reals.images)).float().flatten(1)
    )
    assert reals.labels is not None
    counts = np.bincount(np.asarray(reals.labels)[near.argmin(1).numpy()], minlength=len(reals.classes))
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def happened(alarm: str, folder: RunDir, reals: ImageDataset) -> int | None:
    """Returns the first tick with the failure, by a measure that the alarm does not use."""
    log = folder.log()
    match alarm:
        case "falling_diversity":  # fewer than half the classes of the best earlier tick
            best = 0.0
            for line in log:
                classes = classes_drawn(folder, line["images"], reals)
                if classes < best / 2:
                    return int(line["images"])
                best = max(best, classes)
        case "exploding_spectrum":  # first value of a full decomposition, compared with three ticks before
            firsts = [full_firsts(folder, line["images"]) for line in log]
            for place in range(3, len(firsts)):
                earlier = firsts[place - 3]
                usual = median(earlier.values())
                if any(first > 4 * max(earlier[name], usual) for name, first in firsts[place].items()):
                    return int(log[place]["images"])
        case "discriminator_saturation":  # both probabilities near their limits
            for line in log:
                if line["real_probability"] > 0.998 and line["fake_probability"] < 0.002:
                    return int(line["images"])
        case "vanishing_gradient":  # the gradient of log(1 - D(G(z))) is proportional to D(G(z))
            for line in log:
                if line["fake_probability"] < 0.01 * log[0]["fake_probability"]:
                    return int(line["images"])
    return None


def full_firsts(folder: RunDir, images: int) -> dict[str, float]:
    """Returns the generator's first singular values at a checkpoint, from a full decomposition."""
    found = checkpoint.load(folder.checkpoints / checkpoint.name_for(images)).below("generator")
    return {
        name: float(torch.linalg.matrix_norm(weight.flatten(1), 2))
        for name, weight in found.items()
        if weight.dim() > 1
    }


def ruined(sets: Mapping[str, Path], out: Path) -> None:
    """Trains the failing runs and prints their table."""
    print("| change | alarm | happened at | found at | ticks later | message |")
    print("|---|---|---|---|---|---|")
    began, folder = time.monotonic(), RunDir(out)
    for number, (name, (recipe_name, data, images, settings, alarm)) in enumerate(RUINED.items()):
        if recipe_name:
            changes = [f"budget.images={images}", "keep_checkpoints=100", "validation.every_ticks=0"]
            recipe = override(get_recipe(recipe_name), [*COMMON, *settings, *changes])
            folder, reals = RunDir(out / f"ruined-{number}"), ImageDataset(sets[data])
            with suppress(AlarmError):
                train(recipe, sets[data], folder.path)
        line = next((one for one in folder.alarms() if one.get("alarm") == alarm), None)
        if line is None:
            print(f"| {name} | `{alarm}` | | **not found** | | |", flush=True)
            continue
        at = happened(alarm, folder, reals)
        ticks = [one["images"] for one in folder.log()]
        later = "same iteration"
        if alarm != "non_finite" and at is not None:
            later = str(ticks.index(line["images"]) - ticks.index(at))
        when = f"{at:,}" if at is not None else f"{line['images']:,}"
        print(f"| {name} | `{alarm}` | {when} | {line['images']:,} | {later} | {line['saw']} |", flush=True)
    print(f"\n{time.monotonic() - began:,.0f} seconds.\n")


def draw_caught(folder: RunDir, destination: Path) -> None:
    """Draws the values that the alarm uses, with its mark, and samples of fixed latents before and after."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    canvas = Figure(figsize=(13.0, 6.2), dpi=120, facecolor="white", layout=layout)
    FigureCanvasAgg(canvas)
    cells = canvas.add_gridspec(2, 3, width_ratios=[1.25, 1, 1])
    log, spectra, marks = folder.log(), folder.spectra(), marks_of(folder.alarms())
    diversity, firsts = canvas.add_subplot(cells[0, 0]), canvas.add_subplot(cells[1, 0])
    images = [line["images"] for line in log]
    style(diversity, "Distance to the nearest other image, generated over real")
    diversity.plot(images, [line[DIVERSITY] for line in log], color=COLORS[0], marker="o", markersize=3.5)
    diversity.set_ylim(0, None)
    style(firsts, "Generator: first singular values, log scale")
    for color, layer in zip(COLORS, spectra[-1]["generator"], strict=False):
        values = [line["generator"][layer][0] for line in spectra]
        firsts.plot([line["images"] for line in spectra], values, color=color, label=layer)
    firsts.set_yscale("log")
    firsts.legend(frameon=False, fontsize=9, loc="upper left")
    for axes in (diversity, firsts):
        axes.set_xlim(0, images[-1] * 1.02)
        draw_marks(axes, marks)
    before = max(image for image in images if image < marks[0].images - 2 * images[0])
    for column, (count, words) in enumerate(((before, "before"), (images[-1], "at the end")), start=1):
        axes = canvas.add_subplot(cells[:, column])
        with Image.open(folder.samples / f"{count:012d}.png") as grid:
            axes.imshow(grid, cmap="gray", interpolation="nearest")
        axes.set_title(f"The same latents {words}, {count:,} images", fontsize=11, loc="left")
        axes.axis("off")
    canvas.savefig(destination, format="png")


def main() -> None:
    """Prints both tables."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("digits16", "fashion28", "fashion32"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--only", choices=["healthy", "ruined"])
    arguments.add_argument("--names", nargs="*", default=list(HEALTHY))
    arguments.add_argument("--out", type=Path, help="Folder of the runs (default: not kept).")
    arguments.add_argument("--picture", type=Path, help="File for the picture of a detected collapse.")
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    sets = {name: getattr(chosen, name) for name in ("digits16", "fashion28", "fashion32")}
    with TemporaryDirectory() as temporary:
        out = chosen.out or Path(temporary)
        if chosen.only != "ruined":
            healthy(sets, out, chosen.names)
        if chosen.only != "healthy":
            ruined(sets, out)
            if chosen.picture:
                draw_caught(RunDir(out / "ruined-0"), chosen.picture)


if __name__ == "__main__":
    main()
