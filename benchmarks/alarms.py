"""Twenty runs that go well and some that are driven to ruin: docs/alarms.md shows the tables.

The first must raise no alarm. Each is a built-in recipe at a small width, judged by FID on pixels, which
must fall: that is what says that it went well. The others are named after what is done to them, and it is
said when it happened, by a measure of its own, and which alarm found it, how many ticks later.

    python benchmarks/alarms.py --digits16 SET --fashion28 SET --fashion32 SET [--only healthy|ruined] \\
        [--out FOLDER]

The sets are made by `kennel data prepare digits DEST --size 16` and `kennel data prepare fashion_mnist DEST
--size 28` (and 32). About ten minutes on one core.
"""

import argparse
import math
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from kennel.errors import AlarmError
from kennel.monitor.alarms import ADVERSARIAL, DIVERSITY
from kennel.recipe import override
from kennel.recipes import built_in
from kennel.run_folder import RunFolder
from kennel.wiring import train
from kennel.wiring.building import build_loss
from kennel.wiring.overseeing import ignorant_loss

TICKS = 20
COMMON = [
    f"ticks={TICKS}",
    "validation.metric=fid",
    "validation.extractor=pixels",
    "validation.count=512",
    f"validation.every_ticks={TICKS // 2}",
    "turns.boost=null",
    "batch=32",
]
SMALL = ["generator.width=16", "discriminator.width=16"]
RESIDUAL = ["image.channels=1", "generator.width=8", "discriminator.width=8", "turns.discriminator=1"]
MODERN = [
    "image.size=32",
    "image.channels=1",
    *(f"{player}.{key}" for player in ("generator", "discriminator") for key in ("width=32", "narrowest=16")),
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


def extremes(folder: RunFolder) -> dict[str, float]:
    """How near a run came to each alarm: the largest growth of a first singular value over 3 ticks, the least
    gradient and certainty and diversity, each as a share of what its alarm compares with."""
    log, spectra = folder.log(), [line for line in folder.spectra() if line["images"]]
    recipe = folder.recipe()
    ignorant = ignorant_loss(build_loss(recipe))
    norms = [line["generator_gradient_norm"] for line in log]
    diversities = [line[DIVERSITY] for line in log]
    growths = [0.0]
    for place in range(3, len(spectra)):
        for player in ("generator", "discriminator"):
            before = [line[player] for line in spectra[: place - 2]]
            usual = median([values[0] for values in before[-1].values()])
            for layer, values in spectra[place][player].items():
                growths.append(values[0] / max(usual, *(one[layer][0] for one in before)))
    losses = [line.get(ADVERSARIAL, line["discriminator_loss"]) for line in log]
    return {
        "growth": max(growths),
        "gradient": min(norms[place] / max(norms[:place]) for place in range(1, len(norms))),
        "certainty": min(losses) / ignorant if ignorant else float("nan"),
        "diversity": min(
            diversities[place] / min(1.0, max(diversities[:place])) for place in range(1, len(diversities))
        ),
    }


def healthy(sets: Mapping[str, Path], out: Path, names: list[str]) -> int:
    """Trains the healthy runs, prints their table, and gives the number of alarms."""
    print(
        "| run | images | FID on pixels, first and last | largest growth of a first singular value | "
        "least gradient | least adversarial loss | least diversity | alarms |"
    )
    print("|---|---|---|---|---|---|---|---|")
    count, began = 0, time.monotonic()
    for name in names:
        recipe_name, data, images, settings = HEALTHY[name]
        recipe = override(built_in(recipe_name), [*COMMON, *settings, f"budget.images={images}"])
        folder = RunFolder(out / name.replace(" ", "-").replace(",", ""))
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


def main() -> None:
    """Both tables."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    for name in ("digits16", "fashion28", "fashion32"):
        arguments.add_argument(f"--{name}", type=Path, required=True)
    arguments.add_argument("--only", choices=["healthy", "ruined"])
    arguments.add_argument("--names", nargs="*", default=list(HEALTHY))
    arguments.add_argument("--out", type=Path)
    chosen = arguments.parse_args()
    torch.set_num_threads(1)
    sets = {name: getattr(chosen, name) for name in ("digits16", "fashion28", "fashion32")}
    with TemporaryDirectory() as temporary:
        out = chosen.out or Path(temporary)
        if chosen.only != "ruined":
            healthy(sets, out, chosen.names)


if __name__ == "__main__":
    main()
