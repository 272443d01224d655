"""Compares the frequencies of samples with those of real images; docs/networks.md has a table.

For 512 samples, divides the power of each frequency (windowed, mean over channels) by that of 512 images of
the set: by ring, and at periods of two and four pixels, as in the checkerboards of transposed convolutions.
1 is equal to the set.

    python benchmarks/checkerboard.py SET RUN [RUN ...] [--checkpoint best] [--count 512]

With `--time` it also times a forward and backward pass of the generator of `projected` at 64x64 with and
without the filter, in pairs.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from kennel.data.dataset import ImageDataset
from kennel.networks import GENERATORS, NetworkSpec
from kennel.networks.layers.conv import set_winograd
from kennel.sampling.load import load_run

Power = npt.NDArray[np.float64]
RINGS = ((1, 8), (8, 16), (16, 24), (24, 32))
BATCH = 32


def power(pixels: npt.NDArray[np.uint8]) -> Power:
    """Returns the mean power (side, side) of each frequency of images (N, C, side, side)."""
    images = pixels.astype(np.float64).mean(1) / 255
    images -= images.mean((1, 2), keepdims=True)
    window = np.hanning(images.shape[-1])
    spectra = np.fft.fft2(images * np.outer(window, window))
    return np.asarray((np.abs(spectra) ** 2).mean(0))


def table_row(sampled: Power, real: Power) -> dict[str, float]:
    """Returns ratios by ring (in cycles per 64 pixels) and at single frequencies."""
    side = len(real)
    cycles = np.fft.fftfreq(side) * 64
    radius = np.hypot(cycles[:, None], cycles[None])
    row = {}
    for least, most in RINGS:
        inside = (radius >= least) & (radius < most)
        row[f"{least}-{most}"] = float(sampled[inside].sum() / real[inside].sum())
    half, quarter = side // 2, side // 4
    for name, places in {
        "every 2 px": ((half, 0), (0, half), (half, half)),
        "every 4 px": ((quarter, 0), (0, quarter), (quarter, quarter)),
    }.items():
        row[name] = max(float(sampled[place] / real[place]) for place in places)
    return row


def seconds(filtered: bool) -> float:
    """Returns the seconds of a forward and backward pass of the recipe's generator, the fastest of 4."""
    options = GENERATORS["dcgan"].Options(
        activation="leaky_relu", skip_excitation=True, shared_embedding=128, checkerboard_filter=filtered
    )
    torch.manual_seed(0)
    setting = NetworkSpec(64, 3, 128, num_instances=100, instance_dim=128)
    generator = GENERATORS["dcgan"](setting, options).to(memory_format=torch.channels_last)
    set_winograd(generator, True)
    latents, labels = torch.randn(BATCH, 128), torch.randint(0, 100, (BATCH,))
    times = []
    for _ in range(4):
        begun = time.perf_counter()
        generator(latents, labels).sum().backward()
        times.append(time.perf_counter() - begun)
    return min(times)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--checkpoint", default="newest")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--time", action="store_true")
    given = parser.parse_args()
    packed = ImageDataset(given.set)
    real = power(packed.at(np.linspace(0, len(packed) - 1, min(given.count, len(packed))).astype(np.int64)))
    for run in given.runs:
        loaded = load_run(run, given.checkpoint)
        sampled = power(np.concatenate([batch.pixels for batch in loaded.samples(given.count, seed=0)]))
        words = "  ".join(f"{name} {value:.2f}" for name, value in table_row(sampled, real).items())
        print(f"{run} at {loaded.images_seen:,}: {words}")
    if given.time:
        ratios = [seconds(True) / seconds(False) for _ in range(7)]
        between = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(f"with the filter: {statistics.median(ratios):.3f} times as long ({between})")


if __name__ == "__main__":
    main()
