"""Images per second of the DCGAN 64x64 training round, beside a plain textbook loop of the same networks.

One round is one discriminator turn and one generator turn on a batch. Both loops train equal copies of the
networks in this one process, in turn (A B C A B C ...), on the same random images; the table gives the median
of the rounds' times and the ratio to the textbook loop. The textbook loop is what tutorials do: float32,
contiguous memory, default Adam, two backward passes for the discriminator, the generator's gradient through
a discriminator that collects weight gradients too, and `.item()` on every statistic.

    python benchmarks/step.py [--batch 64] [--rounds 12] [--device cpu] [--json FILE]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

from kennel.pixels import to_float
from kennel.recipe import Recipe, override
from kennel.recipes import built_in
from kennel.sampler import draw_latents
from kennel.step import Step
from kennel.techniques import Turn
from kennel.wiring import build_step


def recipe_for(batch: int, precision: str) -> Recipe:
    """`dcgan` at 64x64 in colour, without the average that the textbook does not keep."""
    settings = ["image.size=64", "image.channels=3", "techniques.ema=off", "latent.distribution=normal"]
    return override(built_in("dcgan"), [*settings, f"batch={batch}", f"precision={precision}"])


def kennel_round(step: Step, recipe: Recipe, pixels: torch.Tensor) -> Callable[[int], None]:
    """A round as the trainer plays it: from uint8 pixels, statistics left on the device."""
    device = pixels.device

    def play(number: int) -> None:
        turn = Turn(number * recipe.batch, 10**9, "discriminator", number, 0, device)
        latents = draw_latents(recipe.latent, recipe.batch, turn.random("latents").generator)
        step.discriminator_turn(to_float(pixels), latents, None, turn)
        turn = Turn(number * recipe.batch, 10**9, "generator", number, 0, device)
        latents = draw_latents(recipe.latent, recipe.batch, turn.random("latents").generator)
        step.generator_turn(None, latents, None, turn)

    return play


def textbook_round(step: Step, recipe: Recipe, pixels: torch.Tensor) -> Callable[[int], None]:
    """The same networks in the loop of a tutorial."""
    device = pixels.device
    generator = step.players.generator.to(memory_format=torch.contiguous_format)
    discriminator = step.players.discriminator.to(memory_format=torch.contiguous_format)
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    discriminator_optimiser = torch.optim.Adam(discriminator.parameters(), **adam)
    generator_optimiser = torch.optim.Adam(generator.parameters(), **adam)
    images = to_float(pixels)
    real_label, fake_label = torch.ones(recipe.batch, device=device), torch.zeros(recipe.batch, device=device)

    def play(number: int) -> None:
        discriminator.zero_grad()
        real_loss = binary_cross_entropy_with_logits(discriminator(images), real_label)
        real_loss.backward()
        fake = generator(torch.randn(recipe.batch, recipe.latent.dimension, device=device))
        fake_loss = binary_cross_entropy_with_logits(discriminator(fake.detach()), fake_label)
        fake_loss.backward()
        discriminator_optimiser.step()
        generator.zero_grad()
        logits = discriminator(fake)
        loss = binary_cross_entropy_with_logits(logits, real_label)
        loss.backward()
        generator_optimiser.step()
        for value in (real_loss, fake_loss, loss, logits.sigmoid().mean()):
            value.item()

    return play


def pictures(count: int) -> torch.Tensor:
    """Smooth random colours, uint8 (count, 3, 64, 64): nearer to photographs than noise is."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 255
    return nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 255).to(torch.uint8)


def flops_of(play: Callable[[int], None]) -> int:
    """Floating-point operations of one round, as the dispatcher counts them."""
    with FlopCounterMode(display=False) as counter:
        play(0)
    return counter.get_total_flops()


def product_rate(device: torch.device, dtype: torch.dtype, side: int = 2048) -> float:
    """FLOP/s of a bare matrix product: the ceiling that the machine offers here and now."""
    left, right = (
        torch.randn(side, side, device=device, dtype=dtype),
        torch.randn(side, side, device=device, dtype=dtype),
    )
    times = [timed(lambda number: nn.functional.linear(left, right), number, device) for number in range(8)]
    return 2 * side**3 / statistics.median(times[2:])


def timed(play: Callable[[int], object], number: int, device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    play(number)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = torch.device(given.device)
    torch.set_flush_denormal(
        True
    )  # as `kennel train` does; threads take it over, so the textbook loop has it too
    pixels = pictures(given.batch).to(device)

    plays: dict[str, Callable[[int], None]] = {}
    for name, precision in (
        ("textbook", "float32"),
        ("kennel float32", "float32"),
        ("kennel bfloat16", "bfloat16"),
    ):
        recipe = recipe_for(given.batch, precision)
        step = build_step(recipe, device)
        make = textbook_round if name == "textbook" else kennel_round
        plays[name] = make(step, recipe, pixels)
    flops = {name: flops_of(play) for name, play in plays.items()}
    for warm_up in range(2):
        for play in plays.values():
            play(1 + warm_up)
    seconds: dict[str, list[float]] = {name: [] for name in plays}
    for number in range(given.rounds):
        for name, play in plays.items():
            seconds[name].append(timed(play, 3 + number, device))

    ceilings = {
        "float32": product_rate(device, torch.float32),
        "bfloat16": product_rate(device, torch.bfloat16),
    }
    print(f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, batch {given.batch}")
    print(
        f"bare 2048^3 product: {ceilings['float32'] / 1e9:,.0f} GFLOP/s float32, "
        f"{ceilings['bfloat16'] / 1e9:,.0f} bfloat16"
    )
    print(f"{'loop':<18}{'images/s':>10}{'ratio':>8}{'GFLOP/image':>13}{'GFLOP/s':>9}{'of product':>12}")
    rows = []
    base = statistics.median(seconds["textbook"])
    for name, times in seconds.items():
        median = statistics.median(times)
        rate = flops[name] / median
        ceiling = ceilings["bfloat16" if "bfloat16" in name else "float32"]
        row = {
            "loop": name,
            "images_per_second": given.batch / median,
            "ratio": base / median,
            "gflop_per_image": flops[name] / given.batch / 1e9,
            "gflop_per_second": rate / 1e9,
            "share_of_product": rate / ceiling,
        }
        rows.append(row)
        print(
            f"{name:<18}{row['images_per_second']:>10.1f}{row['ratio']:>8.2f}{row['gflop_per_image']:>13.2f}"
            f"{row['gflop_per_second']:>9.0f}{row['share_of_product']:>12.0%}"
        )
    if given.json:
        given.json.write_text(
            json.dumps({"torch": torch.__version__, "device": str(device), "rows": rows}, indent=2)
        )


if __name__ == "__main__":
    main()
