"""Images per second of a training round, beside a plain textbook loop of the same networks.

One round is the recipe's discriminator turns and its generator turn. All loops train equal copies of the
networks in this one process, in turn (A B C A B C ...), on the same images; the table gives the median of the
rounds' times and the ratio to the textbook loop. The textbook loop is what tutorials do: float32, contiguous
memory, default Adam, real and fake images in passes of their own, the generator's graph built once and gone
through in both turns, the generator's gradient through a discriminator that collects weight gradients too,
and `.item()` on every statistic. Averages and augmentation, which it does not have, are off in all loops.

    python benchmarks/step.py [dcgan sngan biggan r3gan.dogs] [--rounds 12] [--device cpu] [--compiled]
                              [--memory] [--markdown FILE]

`--memory` plays each loop in a process of its own and gives its peak. Operations are those of the direct
convolutions, so that a loop that takes fewer products can exceed the bare product's rate.
"""

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from kennel.losses import Targets
from kennel.pixels import to_float
from kennel.recipe import Recipe, override
from kennel.recipes import built_in
from kennel.sampler import draw_latents
from kennel.speed import preset
from kennel.step import Step
from kennel.techniques import Turn
from kennel.wiring import build_step
from kennel.wiring.forecasting.counting import counted

CLASSES = 120


@dataclass(frozen=True)
class Case:
    """A recipe at 64x64 in colour, as it is measured."""

    recipe: str
    batch: int
    settings: tuple[str, ...] = ()


CASES = {
    "dcgan": Case("dcgan", 64, ("techniques.ema=off", "latent.distribution=normal")),
    "sngan": Case("sngan", 64, ("techniques.ema=off",)),
    "biggan": Case("biggan", 16, (f"classes={CLASSES}",)),
    "r3gan.dogs": Case("r3gan.dogs", 32, ("techniques.ema=off", "techniques.ada=off")),
}
LOOPS = {
    "textbook": ("plain",),
    "kennel, direct": ("float32", "speed.convolutions=direct"),
    "kennel, float32": ("float32",),
    "kennel, same fakes": ("float32", "turns.same_fakes=true"),
    "kennel, bfloat16": ("bfloat16",),
    "kennel, compiled": ("compiled",),
}

Play = Callable[[int], None]


def recipe_for(case: Case, loop: str) -> Recipe:
    """The case's recipe at the loop's speed."""
    speed, *settings = LOOPS[loop]
    fixed = ["image.size=64", "image.channels=3", f"batch={case.batch}"]
    return override(built_in(case.recipe), [*preset(speed), *fixed, *case.settings, *settings])


def kennel_round(step: Step, recipe: Recipe, pixels: torch.Tensor, labels: torch.Tensor | None) -> Play:
    """A round as the trainer plays it: from uint8 pixels, statistics left on the device."""
    device, batch = pixels.device, recipe.batch

    def play(number: int) -> None:
        for index in range(recipe.turns.discriminator):
            turn = Turn(
                number * batch, 10**9, "discriminator", number * recipe.turns.discriminator + index, 0, device
            )
            real = to_float(pixels)
            for technique in step.techniques:
                real = technique.augment(real, turn)
            latents = draw_latents(recipe.latent, batch, turn.random("latents").generator)
            keep = recipe.turns.same_fakes and index == recipe.turns.discriminator - 1
            step.discriminator_turn(real, latents, labels, turn, keep)
        turn = Turn(number * batch, 10**9, "generator", number, 0, device)
        if not keep:
            latents = draw_latents(recipe.latent, batch, turn.random("latents").generator)
        step.generator_turn(real if step.generator_needs_real else None, latents, labels, turn)

    return play


def textbook_round(step: Step, recipe: Recipe, pixels: torch.Tensor, labels: torch.Tensor | None) -> Play:
    """The same networks and loss in the loop of a tutorial."""
    device, batch, loss = pixels.device, recipe.batch, step.loss
    generator, discriminator = step.players.generator, step.players.discriminator
    optimisers = [
        torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (discriminator, generator)
    ]
    images = to_float(pixels)
    penalised = {name: step.terms[name].weight for name in ("r1", "r2") if name in step.terms}

    def penalty(logits: torch.Tensor, seen: torch.Tensor, weight: float) -> torch.Tensor:
        (slope,) = torch.autograd.grad(logits.sum(), seen, create_graph=True)
        return weight / 2 * slope.square().sum((1, 2, 3)).mean()

    def play(number: int) -> None:
        for _ in range(recipe.turns.discriminator):
            discriminator.zero_grad()
            real = images.clone().requires_grad_("r1" in penalised)
            fake = generator(torch.randn(batch, recipe.latent.dimension, device=device), labels)
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

    return play


def player_of(case: Case, loop: str, device: torch.device) -> Play:
    """A loop, ready to play."""
    recipe = recipe_for(case, loop)
    step = build_step(recipe, device, print)
    pixels = pictures(case.batch).to(device)
    labels = torch.arange(case.batch, device=device) % CLASSES if recipe.classes else None
    make = textbook_round if loop == "textbook" else kennel_round
    return make(step, recipe, pixels, labels)


def pictures(count: int) -> torch.Tensor:
    """Smooth random colours, uint8 (count, 3, 64, 64): nearer to photographs than noise is."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 255
    return nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 255).to(torch.uint8)


def operations_of(play: Play) -> int:
    """Floating-point operations of one round, as the dispatcher counts them."""
    return int(counted(lambda: play(0)).flops)


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a bare matrix product: the ceiling that the machine offers here and now."""
    side = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = [timed(lambda number: left @ right, number, device) for number in range(12)]
    return 2 * side**3 / statistics.median(times[4:])


def timed(play: Callable[[int], object], number: int, device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    play(number)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def peak_of(name: str, loop: str, device: str) -> float:
    """GB that two rounds take at most, in a process of their own: above the process before they begin."""
    command = [sys.executable, __file__, name, "--device", device, "--peak-of", loop]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def print_peak(case: Case, loop: str, device: torch.device) -> None:
    """What `peak_of` reads."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    play = player_of(case, loop, device)
    for number in range(2):
        play(number)
    if device.type == "cuda":
        print(torch.cuda.max_memory_allocated() / 1e9)
    else:
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e9)


def measured(name: str, loops: list[str], rounds: int, device: torch.device, memory: bool) -> list[str]:
    """The table's rows for one recipe."""
    case = CASES[name]
    plays = {loop: player_of(case, loop, device) for loop in loops}
    operations = {loop: operations_of(play) for loop, play in plays.items()}
    for play in plays.values():
        play(1)
    seconds: dict[str, list[float]] = {loop: [] for loop in loops}
    for number in range(rounds):
        for loop, play in plays.items():
            seconds[loop].append(timed(play, 2 + number, device))
    peaks = {loop: peak_of(name, loop, str(device)) if memory else None for loop in loops}
    images = case.batch * recipe_for(case, "textbook").turns.discriminator
    base = statistics.median(seconds["textbook"])
    rows = []
    for loop, times in seconds.items():
        median = statistics.median(times)
        direct = operations[loop if loop in ("textbook", "kennel, direct") else "kennel, direct"]
        peak = "" if peaks[loop] is None else f"{peaks[loop]:.2f}"
        rows.append(
            f"| {name} | {loop} | {images / median:.1f} | **{base / median:.2f}** | "
            f"{direct / images / 1e9:.2f} | {operations[loop] / images / 1e9:.2f} | "
            f"{direct / median / 1e9:,.0f} | {peak} |"
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
    parser.add_argument("--memory", action="store_true", help="also each loop's peak")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    given = parser.parse_args()
    device = torch.device(given.device)
    # As `kennel train` does; threads take it over, so the textbook loop has it too.
    torch.set_flush_denormal(True)
    if given.peak_of:
        print_peak(CASES[given.cases[0]], given.peak_of, device)
        return

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
        rows = measured(name, loops, given.rounds, device, given.memory)
        print("\n".join(rows), flush=True)
        lines += rows
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
