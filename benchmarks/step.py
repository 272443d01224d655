"""Measures images per second of a training iteration, compared with a plain textbook loop.

An iteration is the recipe's discriminator steps and its generator step. All loops train equal copies of the
networks on the same images, each in its own process, alternately (A B C A B C ...); the table gives median
times and the ratio to the textbook loop. The textbook loop does what tutorials do: float32, contiguous
memory, PyTorch's convolutions, default Adam, separate passes for real and fake images, one generator graph
for both steps, weight gradients of the discriminator also in the generator step, and `.item()` on every
statistic. It has no averages and no augmentation, so these are off in all loops. "Same fakes" is kennel with
`steps.reuse_fakes`, which draws fakes once per iteration, as the textbook loop does.

    python benchmarks/step.py [dcgan sngan biggan r3gan.dogs] [--rounds 8] [--device cpu] [--compiled]
                              [--markdown FILE]

GFLOP/s count the operations of direct convolutions, so that a loop that needs fewer products can exceed the
rate of a plain matrix product.
"""

import argparse
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import conv2d

from kennel.config.compute import preset
from kennel.config.recipe import Recipe, override
from kennel.engine.builder import build_step
from kennel.engine.compute_defaults import configure_process
from kennel.engine.latents import draw_latents
from kennel.engine.op_counts import OperationCounter
from kennel.engine.step import GANStep
from kennel.images import to_float
from kennel.losses import Targets
from kennel.networks import r3gan
from kennel.networks.layers import conv
from kennel.recipes import get_recipe
from kennel.techniques import StepContext

CLASSES = 120
REST = 0.5
"""Seconds before each iteration, because threads of the previous loop keep spinning for a while."""


@dataclass(frozen=True)
class Case:
    """A recipe at 64x64 in color with its settings."""

    recipe: str
    batch: int
    settings: tuple[str, ...] = ()


CASES = {
    "dcgan": Case("dcgan", 64, ("techniques.ema=off", "latent_distribution=normal")),
    "sngan": Case("sngan", 32, ("techniques.ema=off", "steps.discriminator=1")),
    "biggan": Case("biggan", 16, (f"num_classes={CLASSES}",)),
    "r3gan.dogs": Case("r3gan.dogs", 32, ("techniques.ema=off", "techniques.ada=off")),
}
LOOPS = {
    "textbook": ("plain",),
    "kennel, direct": ("float32", "compute.convolutions=direct"),
    "kennel, float32": ("float32",),
    "kennel, same fakes": ("float32", "steps.reuse_fakes=true"),
    "kennel, bfloat16": ("bfloat16",),
    "kennel, compiled": ("compiled",),
}

Iteration = Callable[[int], None]


def recipe_for(case: Case, loop: str) -> Recipe:
    """Returns the case's recipe with the loop's settings."""
    speed, *settings = LOOPS[loop]
    fixed = ["image.size=64", "image.channels=3", f"batch_size={case.batch}"]
    return override(get_recipe(case.recipe), [*preset(speed), *fixed, *case.settings, *settings])


def kennel_iteration(
    step: GANStep, recipe: Recipe, pixels: torch.Tensor, labels: torch.Tensor | None
) -> Iteration:
    """Returns an iteration as in training: from uint8 pixels, with statistics kept on the device."""
    device, batch = pixels.device, recipe.batch_size

    def iterate(number: int) -> None:
        for index in range(recipe.steps.discriminator):
            context = StepContext(
                number * batch, 10**9, "discriminator", number * recipe.steps.discriminator + index, 0, device
            )
            real = to_float(pixels)
            for technique in step.techniques:
                real = technique.augment_real(real, context)
            latents = draw_latents(recipe.latent, batch, context.random("latents").generator)
            keep = recipe.steps.reuse_fakes and index == recipe.steps.discriminator - 1
            step.discriminator_step(real, latents, labels, context, keep)
        context = StepContext(number * batch, 10**9, "generator", number, 0, device)
        if not keep:
            latents = draw_latents(recipe.latent, batch, context.random("latents").generator)
        step.generator_step(real if step.generator_needs_real else None, latents, labels, context)

    return iterate


def textbook_iteration(
    step: GANStep, recipe: Recipe, pixels: torch.Tensor, labels: torch.Tensor | None
) -> Iteration:
    """Returns an iteration of a textbook loop with the same networks and loss."""
    device, batch, loss = pixels.device, recipe.batch_size, step.loss
    generator, discriminator = step.networks.generator, step.networks.discriminator
    optimizers = [
        torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (discriminator, generator)
    ]
    images = to_float(pixels)
    weights = {name: step.terms[name].weight for name in ("r1", "r2") if name in step.terms}

    def penalty(logits: torch.Tensor, seen: torch.Tensor, weight: float) -> torch.Tensor:
        (slope,) = torch.autograd.grad(logits.sum(), seen, create_graph=True)
        return weight / 2 * slope.square().sum((1, 2, 3)).mean()

    def iterate(number: int) -> None:
        for _ in range(recipe.steps.discriminator):
            discriminator.zero_grad()
            real = images.clone().requires_grad_("r1" in weights)
            fake = generator(torch.randn(batch, recipe.latent.dim, device=device), labels)
            seen = fake.detach().requires_grad_("r2" in weights)
            real_logits, fake_logits = discriminator(real, labels), discriminator(seen, labels)
            targets = Targets.for_logits(real_logits, fake_logits)
            of_discriminator = loss.discriminator_loss(real_logits, fake_logits, targets)
            if "r1" in weights:
                of_discriminator = of_discriminator + penalty(real_logits, real, weights["r1"])
            if "r2" in weights:
                of_discriminator = of_discriminator + penalty(fake_logits, seen, weights["r2"])
            of_discriminator.backward()
            optimizers[0].step()
        generator.zero_grad()
        fake_logits = discriminator(fake, labels)
        real_logits = discriminator(images, labels) if loss.generator_needs_real else None
        of_generator = loss.generator_loss(real_logits, fake_logits)
        of_generator.backward()
        optimizers[1].step()
        for value in (of_discriminator, of_generator, fake_logits.sigmoid().mean()):
            value.item()

    return iterate


def iteration_of(case: Case, loop: str, device: torch.device) -> Iteration:
    """Builds the iteration of a loop."""
    recipe = recipe_for(case, loop)
    step = build_step(recipe, device, print)
    pixels = pictures(case.batch).to(device)
    labels = torch.arange(case.batch, device=device) % CLASSES if recipe.num_classes else None
    make = textbook_iteration if loop == "textbook" else kennel_iteration
    return make(step, recipe, pixels, labels)


def pictures(count: int) -> torch.Tensor:
    """Returns smooth random colors, uint8 (count, 3, 64, 64), which resemble photographs more than noise."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 255
    return nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 255).to(torch.uint8)


def operations_of(iteration: Iteration) -> int:
    """Counts the floating-point operations of one iteration."""
    with OperationCounter() as counter:
        iteration(0)
    return counter.flops


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measures FLOP/s of a plain matrix product, the practical maximum of the machine."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = [timed(lambda number: left @ right, number, device) for number in range(12)]
    return 2 * side**3 / statistics.median(times[4:])


def timed(function: Callable[[int], object], number: int, device: torch.device) -> float:
    """Returns the seconds of one call, including the device's work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    function(number)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def use_pytorch_convolutions() -> None:
    """Makes the networks of this process use PyTorch's convolutions, also for second derivatives."""
    conv._is_plain = lambda layer: True
    r3gan.convolve = conv2d  # type: ignore[assignment]


class Loop:
    """A loop in its own process, which is idle while other loops are timed."""

    def __init__(self, name: str, loop: str, device: str) -> None:
        """Starts the process and runs two iterations."""
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=serve, args=(there, name, loop, device), daemon=True)
        self._process.start()
        self.operations: int = self._here.recv()

    def seconds(self, number: int) -> float:
        """Returns the seconds of one iteration."""
        time.sleep(REST)
        self._here.send(number)
        return float(self._here.recv())

    def peak(self) -> float:
        """Ends the process and returns its peak memory in GB, without that before building the networks."""
        self._here.send(None)
        peak = float(self._here.recv())
        self._process.join()
        return peak


def serve(pipe: Connection, name: str, loop: str, device_name: str) -> None:
    """Runs in the process of a `Loop`."""
    device = torch.device(device_name)
    if loop == "textbook":
        use_pytorch_convolutions()
    else:
        configure_process()  # as `kennel train` does
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    iteration = iteration_of(CASES[name], loop, device)
    operations = operations_of(iteration)
    iteration(1)
    pipe.send(operations)
    while (number := pipe.recv()) is not None:
        pipe.send(timed(iteration, number, device))
    if device.type == "cuda":
        pipe.send(torch.cuda.max_memory_allocated() / 1e9)
    else:
        pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9)


def measured(name: str, loops: list[str], iterations: int, device: torch.device) -> list[str]:
    """Returns the table's rows for one recipe."""
    case = CASES[name]
    processes = {loop: Loop(name, loop, str(device)) for loop in loops}
    seconds: dict[str, list[float]] = {loop: [] for loop in loops}
    for number in range(iterations):
        for loop, process in processes.items():
            seconds[loop].append(process.seconds(2 + number))
    steps = recipe_for(case, "textbook").steps.discriminator
    images = case.batch * steps
    base = statistics.median(seconds["textbook"])
    rows = []
    for loop, times in seconds.items():
        median = statistics.median(times)
        # Operations of the same iteration with direct convolutions; "same fakes" draws once, as the textbook.
        like = "textbook" if loop in ("textbook", "kennel, same fakes") and steps == 1 else "kennel, direct"
        direct = processes[like].operations
        rows.append(
            f"| {name} | {loop} | {images / median:.1f} | **{base / median:.2f}** | "
            f"{direct / images / 1e9:.2f} | {processes[loop].operations / images / 1e9:.2f} | "
            f"{direct / median / 1e9:,.0f} | {processes[loop].peak():.2f} |"
        )
    return rows


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=list(CASES), choices=[*CASES, []])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compiled", action="store_true", help="also with torch.compile")
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    device = torch.device(given.device)
    loops = [loop for loop in LOOPS if given.compiled or loop != "kennel, compiled"]
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    ceilings = [product_rate(device, dtype) / 1e9 for dtype in (torch.float32, torch.bfloat16)]
    lines = [
        f"torch {torch.__version__}, {where or 'CPU'}, {torch.get_num_threads()} threads; "
        f"a plain matrix product: {ceilings[0]:,.0f} GFLOP/s in float32, {ceilings[1]:,.0f} in bfloat16. "
        f"{given.rounds} iterations each.",
        "",
        "| recipe | loop | images/s | ratio | GFLOP an image | of them computed | GFLOP/s | peak GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name in given.cases:
        rows = measured(name, loops, given.rounds, device)
        print("\n".join(rows), flush=True)
        lines += rows
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
