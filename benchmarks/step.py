"""Images per second of a training round, beside a plain textbook loop of the same networks.

One round is the recipe's discriminator turns and its generator turn. All loops train equal copies of the
networks, each in a process of its own, in turn (A B C A B C ...), on the same images; the table gives the
median of the rounds' times and the ratio to the textbook loop. The textbook loop is what tutorials do:
float32, contiguous memory, PyTorch's convolutions, default Adam, real and fake images in passes of their
own, the generator's graph built once and gone through in both turns, the generator's gradient through a
discriminator that collects weight gradients too, and `.item()` on every statistic. Averages and
augmentation, which it does not have, are off in all loops. "Same fakes" is kennel with `steps.reuse_fakes`,
which draws once a round as the textbook does.

    python benchmarks/step.py [dcgan sngan biggan r3gan.dogs] [--rounds 8] [--device cpu] [--compiled]
                              [--markdown FILE]

GFLOP/s are those of the direct convolutions, so that a loop that takes fewer products can exceed the bare
product's rate.
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
"""Seconds before each round: the threads of the loop before still spin for a while."""


@dataclass(frozen=True)
class Case:
    """A recipe at 64x64 in colour, as it is measured."""

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

Play = Callable[[int], None]


def recipe_for(case: Case, loop: str) -> Recipe:
    """The case's recipe at the loop's speed."""
    speed, *settings = LOOPS[loop]
    fixed = ["image.size=64", "image.channels=3", f"batch_size={case.batch}"]
    return override(get_recipe(case.recipe), [*preset(speed), *fixed, *case.settings, *settings])


def kennel_round(step: GANStep, recipe: Recipe, pixels: torch.Tensor, labels: torch.Tensor | None) -> Play:
    """A round as the trainer plays it: from uint8 pixels, statistics left on the device."""
    device, batch = pixels.device, recipe.batch_size

    def output(number: int) -> None:
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

    return output


def textbook_round(step: GANStep, recipe: Recipe, pixels: torch.Tensor, labels: torch.Tensor | None) -> Play:
    """The same networks and loss in the loop of a tutorial."""
    device, batch, loss = pixels.device, recipe.batch_size, step.loss
    generator, discriminator = step.networks.generator, step.networks.discriminator
    optimisers = [
        torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (discriminator, generator)
    ]
    images = to_float(pixels)
    penalised = {name: step.terms[name].weight for name in ("r1", "r2") if name in step.terms}

    def penalty(logits: torch.Tensor, seen: torch.Tensor, weight: float) -> torch.Tensor:
        (slope,) = torch.autograd.grad(logits.sum(), seen, create_graph=True)
        return weight / 2 * slope.square().sum((1, 2, 3)).mean()

    def output(number: int) -> None:
        for _ in range(recipe.steps.discriminator):
            discriminator.zero_grad()
            real = images.clone().requires_grad_("r1" in penalised)
            fake = generator(torch.randn(batch, recipe.latent.dim, device=device), labels)
            seen = fake.detach().requires_grad_("r2" in penalised)
            real_logits, fake_logits = discriminator(real, labels), discriminator(seen, labels)
            targets = Targets.for_logits(real_logits, fake_logits)
            of_discriminator = loss.discriminator_loss(real_logits, fake_logits, targets)
            if "r1" in penalised:
                of_discriminator = of_discriminator + penalty(real_logits, real, penalised["r1"])
            if "r2" in penalised:
                of_discriminator = of_discriminator + penalty(fake_logits, seen, penalised["r2"])
            of_discriminator.backward()
            optimisers[0].step()
        generator.zero_grad()
        fake_logits = discriminator(fake, labels)
        real_logits = discriminator(images, labels) if loss.generator_needs_real else None
        of_generator = loss.generator_loss(real_logits, fake_logits)
        of_generator.backward()
        optimisers[1].step()
        for value in (of_discriminator, of_generator, fake_logits.sigmoid().mean()):
            value.item()

    return output


def player_of(case: Case, loop: str, device: torch.device) -> Play:
    """A loop, ready to play."""
    recipe = recipe_for(case, loop)
    step = build_step(recipe, device, print)
    pixels = pictures(case.batch).to(device)
    labels = torch.arange(case.batch, device=device) % CLASSES if recipe.num_classes else None
    make = textbook_round if loop == "textbook" else kennel_round
    return make(step, recipe, pixels, labels)


def pictures(count: int) -> torch.Tensor:
    """Smooth random colours, uint8 (count, 3, 64, 64): nearer to photographs than noise is."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 255
    return nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 255).to(torch.uint8)


def operations_of(output: Play) -> int:
    """Floating-point operations of one round, as the dispatcher counts them."""
    with OperationCounter() as account:
        output(0)
    return account.flops


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a bare matrix product: the ceiling that the machine offers here and now."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = [timed(lambda number: left @ right, number, device) for number in range(12)]
    return 2 * side**3 / statistics.median(times[4:])


def timed(output: Callable[[int], object], number: int, device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    output(number)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def take_pytorchs_convolutions() -> None:
    """In this process the networks' convolutions are `nn.Conv2d`'s own, second derivatives included."""
    conv._is_plain = lambda layer: True
    r3gan.convolve = conv2d  # type: ignore[assignment]


class Loop:
    """One loop in a process of its own, as users run it; it rests while another one's round is timed."""

    def __init__(self, name: str, loop: str, device: str) -> None:
        """Starts the process and plays two rounds."""
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=serve, args=(there, name, loop, device), daemon=True)
        self._process.start()
        self.operations: int = self._here.recv()

    def seconds(self, number: int) -> float:
        """Of one round."""
        time.sleep(REST)
        self._here.send(number)
        return float(self._here.recv())

    def peak(self) -> float:
        """GB at most, above the process before its networks were built; and its end."""
        self._here.send(None)
        peak = float(self._here.recv())
        self._process.join()
        return peak


def serve(pipe: Connection, name: str, loop: str, device_name: str) -> None:
    """The other end of a `Loop`."""
    device = torch.device(device_name)
    if loop == "textbook":
        take_pytorchs_convolutions()
    else:
        configure_process()  # as `kennel train` does
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    output = player_of(CASES[name], loop, device)
    operations = operations_of(output)
    output(1)
    pipe.send(operations)
    while (number := pipe.recv()) is not None:
        pipe.send(timed(output, number, device))
    if device.type == "cuda":
        pipe.send(torch.cuda.max_memory_allocated() / 1e9)
    else:
        pipe.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9)


def measured(name: str, loops: list[str], rounds: int, device: torch.device) -> list[str]:
    """The table's rows for one recipe."""
    case = CASES[name]
    networks = {loop: Loop(name, loop, str(device)) for loop in loops}
    seconds: dict[str, list[float]] = {loop: [] for loop in loops}
    for number in range(rounds):
        for loop, player in networks.items():
            seconds[loop].append(player.seconds(2 + number))
    turns = recipe_for(case, "textbook").steps.discriminator
    images = case.batch * turns
    base = statistics.median(seconds["textbook"])
    rows = []
    for loop, times in seconds.items():
        median = statistics.median(times)
        # Of the same round by direct convolutions; the textbook draws its fakes once, as "same fakes" does.
        like = "textbook" if loop in ("textbook", "kennel, same fakes") and turns == 1 else "kennel, direct"
        direct = networks[like].operations
        rows.append(
            f"| {name} | {loop} | {images / median:.1f} | **{base / median:.2f}** | "
            f"{direct / images / 1e9:.2f} | {networks[loop].operations / images / 1e9:.2f} | "
            f"{direct / median / 1e9:,.0f} | {networks[loop].peak():.2f} |"
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
        f"a bare matrix product: {ceilings[0]:,.0f} GFLOP/s in float32, {ceilings[1]:,.0f} in bfloat16. "
        f"{given.rounds} rounds each.",
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
