"""A budget in hours: timed iterations tell how many images fit into them."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from kennel.config.recipe import Recipe
from kennel.data.dataset import ImageDataset
from kennel.data.loader import BatchLoader
from kennel.distributed import world_size
from kennel.engine.builder import build_step
from kennel.engine.compute_defaults import configure_process, uncompiled, wait_for
from kennel.engine.iteration import iterate
from kennel.engine.latents import draw_latents
from kennel.engine.state import TrainPlan, TrainState
from kennel.engine.step import GANStep
from kennel.errors import RecipeError
from kennel.runs.run_dir import RunDir
from kennel.training.instances import placeholder_batches
from kennel.training.oom import explain_failures
from kennel.training.resolve_recipe import make_plan, resolve_recipe

WHOLE = 100
"""Budgets from measured speeds are multiples of this."""
WARM_UP = 3
"""Iterations that are not timed, in which kernels are chosen and memory is allocated."""
TIMED, LONGEST = 6.0, 30.0
"""Seconds of timed iterations, and of all iterations; the last one may exceed it."""


def measured_speed(
    recipe: Recipe,
    data: Path,
    device: torch.device,
    weights: Path | None,
    resident_bytes: int | None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Images per second of training, by the median time of a new run's iterations.

    At least one iteration is timed, however long it takes. Raises the errors that training would raise.
    """
    with explain_failures(recipe, device, ""):
        configure_process()
        dataset = ImageDataset(data)
        recipe = resolve_recipe(recipe, dataset, RunDir(data), weights, device)
        step = build_step(uncompiled(recipe), device)
        plan = make_plan(recipe, recipe.budget.in_images(len(dataset)), device)
        with BatchLoader(
            dataset, recipe.batch_size, recipe.seed, device, resident_bytes, balanced=recipe.balance_classes
        ) as loader:
            state = untrained_state(recipe, step, loader, plan)
            began, times, count = clock(), list[float](), 0
            while not times or (sum(times) < TIMED and clock() < began + LONGEST):
                start = clock()
                iterate(state)
                wait_for(device)
                count += 1
                if count > WARM_UP or clock() > began + LONGEST / 2:
                    times.append(clock() - start)
    return plan.batch_size * plan.steps.discriminator / statistics.median(times)


def untrained_state(recipe: Recipe, step: GANStep, loader: BatchLoader, plan: TrainPlan) -> TrainState:
    """The state of a run without a folder, for `iterate`.

    Extra discriminator steps are left out: they take longer, but also show more images.
    """
    return TrainState(
        step,
        replace(plan, steps=plan.steps.model_copy(update={"extra_d_steps": None})),
        placeholder_batches(recipe, loader),
        partial(draw_latents, recipe.latent),
    )


def check_hours(hours: float | None) -> None:
    """Raises `RecipeError` for an invalid number of hours, and with several ranks."""
    if hours is None:
        return
    if not (math.isfinite(hours) and hours > 0):
        raise RecipeError(f"--hours is {hours:g}: give a number above 0, such as 0.5")
    if world_size() > 1:
        raise RecipeError("--hours needs the speed of a single process: with torchrun give --images")


def images_of(hours: float, images_per_second: float, batch: int) -> int:
    """The budget of these hours at this speed, at least one batch."""
    images = int(hours * 3600 * images_per_second)
    return max(batch, images // WHOLE * WHOLE)


def speed_words(hours: float, images_per_second: float) -> str:
    return f"{hours:g} hour{'s' * (hours != 1)} at the measured {images_per_second:.3g} images/s"
