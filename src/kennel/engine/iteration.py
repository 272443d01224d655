"""One iteration: the discriminator's steps, then the generator's."""

from typing import Literal

from kennel.distributed import rank
from kennel.engine.state import TrainState
from kennel.images import to_float
from kennel.rng import seed_layers
from kennel.shapes import Images, Labels, Latents
from kennel.techniques import StepContext


def iterate(state: TrainState) -> None:
    """Trains both networks for one iteration; each discriminator step adds a batch to `state.images_seen`."""
    plan, step = state.plan, state.step
    number = plan.steps.iteration_after(state.images_seen // plan.batch_size)
    discriminator_steps = plan.steps.discriminator_steps_in(number)
    real: Images | None = None
    labels: Labels | None = None
    reused: Latents | None = None
    for remaining in reversed(range(discriminator_steps)):
        context = _context(
            state, "discriminator", state.images_seen // plan.batch_size, float(plan.batch_size)
        )
        real, labels = _real(state, context)
        latents, keep = _latents(state, context), plan.steps.reuse_fakes and remaining == 0
        reused = latents if keep else None
        state.running_means.add(step.discriminator_step(real, latents, labels, context, keep))
        state.images_seen += plan.batch_size
    if not step.generator_needs_real:
        real = None
    images = plan.batch_size * discriminator_steps / plan.steps.generator
    for index in range(plan.steps.generator):
        context = _context(state, "generator", number * plan.steps.generator + index, images)
        latents = _latents(state, context) if reused is None else reused
        state.running_means.add(step.generator_step(real, latents, labels, context))


def _context(
    state: TrainState, network: Literal["discriminator", "generator"], number: int, images: float
) -> StepContext:
    plan = state.plan
    context = StepContext(
        state.images_seen, plan.total_images, network, number, plan.seed, plan.device, images
    )
    # Layers such as dropout draw from the global generator, which must depend on the step alone.
    seed_layers(context.key("layers", rank()), plan.device)
    return context


def _real(state: TrainState, context: StepContext) -> tuple[Images, Labels | None]:
    pixels, labels = state.batches.at(context.images_seen)
    real = to_float(pixels)
    for technique in state.step.techniques:
        real = technique.augment_real(real, context)
    return real, labels


def _latents(state: TrainState, context: StepContext) -> Latents:
    random = context.random("latents")
    latents = random.own(state.draw_latents(state.plan.batch_size, random.generator))
    for technique in state.step.techniques:
        latents = technique.transform_latents(latents, context)
    return latents
