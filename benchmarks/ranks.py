"""Measures weak scaling: images per second of one process, and of two with twice the batch.

Both processes exist all the time, with one thread each. Alternately (A B A B ...), the first trains some
iterations alone with the recipe's batch while the second waits, and both share iterations of twice the batch.
The table gives medians over the repetitions and the efficiency: images per second of two processes divided by
twice those of one. The processes communicate through gloo on one machine.

    python benchmarks/ranks.py [--recipe dcgan] [--batch 64] [--rounds 3] [--repeat 7] [--json FILE]
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from kennel.config.recipe import Recipe, override
from kennel.distributed import all_gather_ints, rank, ranks_together, shard_slice, single_process
from kennel.engine.builder import build_step
from kennel.engine.latents import draw_latents
from kennel.engine.step import GANStep
from kennel.images import to_float
from kennel.recipes import get_recipe
from kennel.techniques import StepContext

CPU = torch.device("cpu")


def recipe_for(name: str, batch: int) -> Recipe:
    """Returns the recipe at 64x64 in color, without classes."""
    return override(
        get_recipe(name), ["image.size=64", "image.channels=3", "num_classes=0", f"batch_size={batch}"]
    )


def seconds_per_iteration(step: GANStep, recipe: Recipe, iterations: int) -> float:
    """Trains iterations on this process's part of the batch and returns the mean seconds."""
    pixels = torch.randint(0, 256, (recipe.batch_size, 3, 64, 64), dtype=torch.uint8)[
        shard_slice(recipe.batch_size)
    ]
    began = time.perf_counter()
    for number in range(iterations):
        for place, network in enumerate(("discriminator", "generator")):
            seen = (number + place) * recipe.batch_size
            context = StepContext(seen, 10**9, network, number, 0, CPU, float(recipe.batch_size))
            random = context.random("latents")
            latents = random.own(draw_latents(recipe.latent, recipe.batch_size, random.generator))
            if network == "discriminator":
                step.discriminator_step(to_float(pixels), latents, None, context)
            else:
                real = to_float(pixels) if step.generator_needs_real else None
                step.generator_step(real, latents, None, context)
    return (time.perf_counter() - began) / iterations


def one_rank(arguments: argparse.Namespace) -> None:
    """Runs in each of the two processes; the first prints the times."""
    torch.set_num_threads(1)
    small, large = (recipe_for(arguments.recipe, factor * arguments.batch) for factor in (1, 2))
    step = build_step(small, CPU)
    times: dict[str, list[float]] = {"one": [], "two": []}
    with ranks_together(lambda error: print(error, file=sys.stderr), str):
        for repetition in range(arguments.repeat + 1):  # the first is a warm-up
            # Rank 1 does not follow the iterations of rank 0 alone; only times matter here.
            if rank() == 0:
                with single_process():
                    one = seconds_per_iteration(step, small, arguments.rounds)
            all_gather_ints(patient=True)
            two = seconds_per_iteration(step, large, arguments.rounds)
            all_gather_ints(patient=True)
            if rank() == 0 and repetition:
                times["one"].append(one)
                times["two"].append(two)
        if rank() == 0:
            gradient_bytes = 4 * sum(
                parameter.numel() for network in step.networks.both() for parameter in network.parameters()
            )
            print(json.dumps({"seconds": times, "gradient_bytes": gradient_bytes}))


def main() -> None:
    """Starts both processes and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", default="dcgan")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if "RANK" in os.environ:
        one_rank(arguments)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    settings = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, *sys.argv],
            env=dict(os.environ) | settings | {"RANK": str(own)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for own in (0, 1)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(1)
    found = json.loads(outputs[0])
    one, two = (statistics.median(found["seconds"][name]) for name in ("one", "two"))
    alone_speed, shared_speed = arguments.batch / one, 2 * arguments.batch / two
    print(f"{arguments.recipe}, 64x64, gradients of {found['gradient_bytes'] / 2**20:.1f} MiB; an iteration:")
    print(f"one process,   batch {arguments.batch:4}: {alone_speed:8.1f} images/s  ({one * 1e3:.0f} ms)")
    print(f"two processes, batch {2 * arguments.batch:4}: {shared_speed:8.1f} images/s  ({two * 1e3:.0f} ms)")
    print(f"efficiency {shared_speed / (2 * alone_speed):.2f}")
    if arguments.json:
        content = {"recipe": arguments.recipe, "batch": arguments.batch, **found}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
