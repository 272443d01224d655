"""Measures data preparation (images per second into a packed set) and loading (batches per second).

The alternatives run alternately in one process (A B C A B C ...); the tables give medians and ratios.

**Preparing** packs JPEG files of 500x375 at 64x64 with `kennel data prepare` and with a plain loop over
Pillow (open, decode, resize the center square with the same filter, stack, save), and compares the pixels.
The files are synthetic, or those of --source.

**Feeding** loads shuffled batches with a random resized crop and a flip as float32 tensors: from a resident
set, from a streamed set in the page cache, from a streamed set that was removed from the page cache (like a
set larger than memory), and from torch's DataLoader with the usual transforms of single images (array, PIL,
crop, resize, flip, tensor). Then its share of a training iteration of `dcgan` (64x64).

    python benchmarks/data.py [--source FOLDER] [--images 600] [--set-images 40000] [--repeats 5]
"""

import argparse
import json
import math
import os
import platform
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from kennel.config.recipe import override
from kennel.data.augment import horizontal_flip, random_resized_crop
from kennel.data.dataset import FORMAT, ImageDataset
from kennel.data.loader import BatchLoader
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources.options import PrepareOptions
from kennel.engine.builder import build_step
from kennel.engine.iteration import iterate
from kennel.engine.latents import draw_latents
from kennel.engine.state import TrainPlan, TrainState
from kennel.images import to_float
from kennel.recipes import get_recipe
from kennel.rng import Draws, generator

SIZE = 64
SCALE, RATIO = (0.8, 1.0), (3 / 4, 4 / 3)
CPU = torch.device("cpu")

Row = dict[str, Any]


def machine() -> str:
    """Describes the machine in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next(
            (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model
        )
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
    return f"{model}, {threads}, torch {torch.__version__}, Python {platform.python_version()}{load}"


def write_photographs(folder: Path, count: int) -> None:
    """Writes different smooth images with some noise as JPEG files of 500x375."""
    folder.mkdir()
    for number in range(count):
        draw = np.random.default_rng(number)
        coarse = Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.int16)
        grain = draw.integers(-12, 13, smooth.shape, dtype=np.int16)
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(
            folder / f"{number:06}.jpg", quality=90
        )


def plain_pillow(source: Path, out: Path) -> np.ndarray:
    """Packs every file of the folder, one after the other, as a short script does."""
    pictures = []
    for file in sorted(source.rglob("*.jpg"), key=lambda file: file.relative_to(source).as_posix()):
        with Image.open(file) as image:
            color = image.convert("RGB")
        side = min(color.size)
        left, top = (color.width - side) / 2, (color.height - side) / 2
        box = (left, top, left + side, top + side)
        square = color.resize((SIZE, SIZE), Image.Resampling.LANCZOS, box=box)
        pictures.append(np.asarray(square).transpose(2, 0, 1))
    pixels = np.stack(pictures)
    np.save(out, pixels)
    return pixels


def preparing(source: Path, repeats: int, scratch: Path) -> list[Row]:
    """Measures JPEG files per second of kennel with one and two threads and of the plain loop."""
    options = {"size": SIZE, "colour": "rgb", "keep_duplicates": True}
    seconds: dict[str, list[float]] = {}
    pixels: dict[str, np.ndarray] = {}
    for repeat in range(repeats + 1):  # the first is a warm-up
        for name, workers in (
            ("plain Pillow in a loop", 0),
            ("kennel, 1 worker", 1),
            ("kennel, 2 workers", 2),
        ):
            out = scratch / "prepared"
            shutil.rmtree(out, ignore_errors=True)
            began = time.perf_counter()
            if workers:
                pixels[name] = prepare(source, out, PrepareOptions(workers=workers, **options)).images
            else:
                pixels[name] = plain_pillow(source, scratch / "plain.npy")
            taken = time.perf_counter() - began
            pixels[name] = np.sort(np.array(pixels[name]).reshape(len(pixels[name]), -1), axis=0)
            if repeat:
                seconds.setdefault(name, []).append(taken)
    first = next(iter(pixels.values()))
    same = all(np.array_equal(first, other) for other in pixels.values())
    print(
        f"\nPreparing {len(first):,} JPEG files; the pixels are {'the same' if same else 'NOT the same'}.\n"
    )
    return table(
        "preparing", "files/s", {name: len(first) / median(times) for name, times in seconds.items()}
    )


class Photographs(Dataset[torch.Tensor]):
    """A data set as in tutorials: transforms single images with PIL."""

    def __init__(self, images: np.ndarray) -> None:
        """`images` uint8 (N, C, H, W)."""
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.fromarray(np.ascontiguousarray(self.images[index].transpose(1, 2, 0)))
        image = self.cropped(image)
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(image, np.float32).transpose(2, 0, 1)).div(127.5).sub(1)

    @staticmethod
    def cropped(image: Image.Image) -> Image.Image:
        """Resizes a random box to the whole size, bilinear."""
        width, height = image.size
        box = (0, 0, width, height)
        for _ in range(10):
            area = width * height * random.uniform(*SCALE)
            aspect = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
            across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if across <= width and down <= height:
                left, top = random.randint(0, width - across), random.randint(0, height - down)
                box = (left, top, left + across, top + down)
                break
        return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def write_set(folder: Path, count: int) -> ImageDataset:
    """Writes a packed set of noise in pieces."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (min(count, 4000), 3, SIZE, SIZE), dtype=np.uint8)
    images = np.lib.format.open_memmap(
        folder / "images.npy", mode="w+", dtype=np.uint8, shape=(count, 3, SIZE, SIZE)
    )
    for start in range(0, count, len(noise)):
        images[start : start + len(noise)] = noise[: count - start]
    images.flush()
    about = {"format": FORMAT, "count": count, "fingerprint": "noise"}
    (folder / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    return ImageDataset(folder)


def forget(packed: ImageDataset) -> None:
    """Removes the set from the page cache, as far as the system allows."""
    with (packed.path / "images.npy").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def warm(packed: ImageDataset) -> None:
    """Reads the set into the page cache."""
    with (packed.path / "images.npy").open("rb", buffering=0) as file:
        piece = bytearray(32 << 20)
        while file.readinto(piece):
            pass


def from_stream(stream: BatchLoader, *, augmented: bool) -> Iterator[torch.Tensor]:
    """Yields batches as in training: gathered, converted to float, cropped and flipped as a batch."""
    position = 0
    while True:
        real = to_float(stream.at(position)[0])
        if augmented:
            draw = Draws(generator(0, "augmentation", position))
            real = horizontal_flip(random_resized_crop(real, SCALE, RATIO, draw), 0.5, draw)
        yield real
        position += stream.batch


def from_loader(packed: ImageDataset, batch: int, workers: int) -> Iterator[torch.Tensor]:
    """Yields batches of a DataLoader without end."""
    images = np.load(packed.path / "images.npy", mmap_mode="r")
    dataset = Photographs(images)
    yield from DataLoader(dataset, batch, sampler=_Endless(len(dataset)), num_workers=workers)


class _Endless:
    """A sampler of shuffled epochs without end."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self.count).tolist()


def feeding(packed: ImageDataset, batch: int, repeats: int, batches: int) -> list[Row]:
    """Measures batches per second of each alternative; discards batches that were prefetched before."""
    streams = {
        "resident": BatchLoader(packed, batch, 0, CPU, 1 << 62),
        "streamed, page cache warm": BatchLoader(packed, batch, 0, CPU, 0),
        "streamed, page cache cold": BatchLoader(packed, batch, 1, CPU, 0),
    }
    sources: dict[str, Iterator[torch.Tensor]] = {
        "DataLoader, 0 workers": from_loader(packed, batch, 0),
        "DataLoader, 2 workers": from_loader(packed, batch, 2),
    }
    sources |= {f"kennel, {name}": from_stream(stream, augmented=True) for name, stream in streams.items()}
    bare = {
        f"kennel, {name}, gathered alone": BatchLoader(packed, batch, 2, CPU, room)
        for name, room in (
            ("resident", 1 << 62),
            ("streamed, page cache warm", 0),
            ("streamed, page cache cold", 0),
        )
    }
    sources |= {name: from_stream(stream, augmented=False) for name, stream in bare.items()}
    rates: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(repeats):
        for name, source in sources.items():
            (forget if "cold" in name else warm)(packed)
            for _ in range(20):
                next(source)
            began = time.perf_counter()
            for _ in range(batches):
                next(source)
            rates[name].append(batches / (time.perf_counter() - began))
    for stream in (*streams.values(), *bare.values()):
        stream.close()
    print(f"\nFeeding batches of {batch} from {len(packed):,} images of {SIZE}x{SIZE}.\n")
    return table("feeding", "batches/s", {name: median(values) for name, values in rates.items()})


class _SameBatch:
    """A source without cost: always the same batch."""

    def __init__(self, batch: torch.Tensor) -> None:
        self.batch = batch

    def at(self, images_seen: int) -> tuple[torch.Tensor, None]:
        return self.batch, None


def rounds(packed: ImageDataset, batch: int, repeats: int) -> list[Row]:
    """Measures images per second of a training iteration of `dcgan` with crop and flip, by data source."""
    settings = ["image.size=64", "image.channels=3", f"batch_size={batch}"]
    recipe = override(
        get_recipe("dcgan"), [*settings, "techniques.random_resized_crop=on", "techniques.horizontal_flip=on"]
    )
    plan = TrainPlan(batch, recipe.steps, 1 << 40, 1 << 40, 0, CPU)
    resident, streamed, cold = (BatchLoader(packed, batch, 0, CPU, room) for room in (1 << 62, 0, 0))
    sources = {
        "always the same batch": _SameBatch(resident.at(0)[0]),
        "resident": resident,
        "streamed, page cache warm": streamed,
        "streamed, page cache cold": cold,
    }
    step = build_step(recipe, CPU)  # shared, so that all train the same networks
    trainers = {
        name: TrainState(step, plan, source, lambda count, draw: draw_latents(recipe.latent, count, draw))
        for name, source in sources.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    fed: list[float] = []
    for number in range(repeats + 1):
        for name, trainer in trainers.items():
            (forget if "cold" in name else warm)(packed)
            began = time.perf_counter()
            iterate(trainer)
            taken = time.perf_counter() - began
            if number:
                seconds[name].append(taken)
    source = from_stream(resident, augmented=True)
    for _ in range(20):
        began = time.perf_counter()
        next(source)
        fed.append(time.perf_counter() - began)
    for stream in (resident, streamed, cold):
        stream.close()
    base = median(seconds["resident"])
    print(
        f"\nAn iteration of `dcgan` with crop and flip, batch {batch}. Gathering, cropping and flipping take "
        f"{median(fed) * 1e3:.1f} ms of {base * 1e3:.0f} ms, {median(fed) / base:.1%}.\n"
    )
    return table(
        "iteration, images from", "images/s", {name: batch / median(t) for name, t in seconds.items()}
    )


def median(values: list[float]) -> float:
    return statistics.median(values)


def table(what: str, unit: str, rates: dict[str, float]) -> list[Row]:
    """Prints rates and their ratios to the first as Markdown, and returns the rows."""
    base = next(iter(rates.values()))
    print(f"| {what} | {unit} | ratio |\n|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.{0 if rate >= 100 else 1}f} | {rate / base:.2f} |")
    return [{"what": what, "name": name, unit: rate, "ratio": rate / base} for name, rate in rates.items()]


def main() -> None:
    """Prints three tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="a folder of .jpg files; synthetic ones without it")
    parser.add_argument("--images", type=int, default=600, help="synthetic JPEG files")
    parser.add_argument("--set-images", type=int, default=40_000, help="images of the set to load from")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=100, help="batches per measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("preparing", "feeding", "rounds"))
    parser.add_argument("--scratch", type=Path, help="a folder on the disk to measure")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_flush_denormal(True)  # as `kennel train` does
    print(machine())
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=given.scratch) as name:
        scratch = Path(name)
        if given.only in (None, "preparing"):
            source = given.source
            if source is None:
                source = scratch / "photographs"
                write_photographs(source, given.images)
            rows += preparing(source, given.repeats, scratch)
        if given.only != "preparing":
            packed = write_set(scratch / "set", given.set_images)
            if given.only in (None, "feeding"):
                rows += feeding(packed, given.batch, given.repeats, given.batches)
            if given.only in (None, "rounds"):
                rows += rounds(packed, given.batch, given.repeats)
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
