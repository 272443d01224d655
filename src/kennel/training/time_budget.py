"""A budget in hours: how many images they come to, by real iterations that are timed first."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
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
from kennel.training.instances import stand_ins
from kennel.training.oom import failures_told
from kennel.training.resolve_recipe import make_plan, resolve_recipe

WHOLE = 100
"""Budgets from measured speeds are whole hundreds."""
WARM_UP = 3
"""Iterations that are not timed: in the first ones kernels are chosen and memory is asked for."""
TIMED, LONGEST = 6.0, 30.0
"""Seconds of iterations that are timed, and that all of them may take, but for the one that is under way."""


def measured_speed(
    recipe: Recipe,
    data: Path,
    device: torch.device,
    weights: Path | None,
    resident_bytes: int | None,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Images per second of training, by the median of real iterations of a new run.

    One at least is timed, however long it takes. Raises what training would refuse.
    """
    with failures_told(recipe, device, ""):
        configure_process()
        dataset = ImageDataset(data)
        recipe = resolve_recipe(recipe, dataset, RunDir(data), weights, device)
        step = build_step(uncompiled(recipe), device)
        plan = make_plan(recipe, recipe.budget.in_images(len(dataset)), device)
        with BatchLoader(dataset, recipe.batch_size, recipe.seed, device, resident_bytes) as stream:
            state = untrained_state(recipe, step, stream, plan)
            began, times, played = clock(), list[float](), 0
            while not times or (sum(times) < TIMED and clock() < began + LONGEST):
                start = clock()
                iterate(state)
                wait_for(device)
                played += 1
                if played > WARM_UP or clock() > began + LONGEST / 2:
                    times.append(clock() - start)
    return plan.batch_size * plan.steps.discriminator / statistics.median(times)


def untrained_state(recipe: Recipe, step: GANStep, stream: BatchLoader, plan: TrainPlan) -> TrainState:
    """The state of a run that is not begun, for `iterate`.

    Iterations with extra discriminator steps show more images too: images per second are those of others.
    """
    return TrainState(
        step,
        replace(plan, steps=plan.steps.model_copy(update={"extra_d_steps": None})),
        stand_ins(recipe, stream),
        lambda count, random: draw_latents(recipe.latent, count, random),
    )


def check_hours(hours: float | None) -> None:
    """Raises `RecipeError` for hours that are none, and where several ranks would have to time together."""
    if hours is None:
        return
    if not (math.isfinite(hours) and hours > 0):
        raise RecipeError(f"--hours is {hours:g}: give a number above 0, such as 0.5")
    if world_size() > 1:
        raise RecipeError("--hours goes by the speed of one process alone: under torchrun give --images")


def images_of(hours: float, images_per_second: float, batch: int) -> int:
    """The budget that these hours come to at this speed, a batch at least."""
    images = int(hours * 3600 * images_per_second)
    return max(batch, images // WHOLE * WHOLE)


def speed_words(hours: float, images_per_second: float) -> str:
    """What a budget was made of."""
    return f"{hours:g} hour{'s' * (hours != 1)} at the {images_per_second:.3g} images/s that were measured"
