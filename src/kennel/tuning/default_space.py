"""The default search space of a recipe: only numbers of parts that the recipe has switched on."""

from collections.abc import Iterator
from typing import Any

from kennel.config.recipe import OptimizerConfig, Recipe
from kennel.tuning.dimension import Dimension, Value, plain_value

FACTOR = 10.0
"""Scales (learning rates, weights, variances) are searched this factor below and above the recipe's own.

Published learning rates of GANs go from 5e-5 (WGAN) to 2e-3 (small R3GAN), within 10 of the usual 2e-4.
"""
WIDTHS = (0.5, 1, 2)
"""Widths and batches are searched as these multiples: odd widths fit few networks and no hardware."""
FIRST_BETAS = (0.0, 0.9)
SECOND_BETAS = (0.9, 0.99, 0.999)
"""Published: 0 to 0.9 for the first, and these for the second."""
SMALLEST_BATCH = 4
MAX_SMOOTHING, MAX_FLIPPED, MAX_DROPOUT = 0.7, 0.2, 0.5
"""The lowest label of real images, and the largest shares of flipped labels and of dropped units."""
MIN_STEPS = 3
"""Discriminator steps are searched from 1 to twice the recipe's, and at least to this."""


def default_dimensions(recipe: Recipe, largest_batch: int) -> list[Dimension]:
    """The dimensions of a resolved recipe; batches are searched up to `largest_batch`.

    Numbers whose best value depends on the budget, such as half-lives in images, are not among them, because
    trials are shorter than the final run.
    """
    return [
        *_optimizer("generator_optimizer", recipe.generator_optimizer),
        *_optimizer("discriminator_optimizer", recipe.discriminator_optimizer),
        *(one for part in recipe.techniques for one in _technique(part.name, part.options)),
        Dimension("steps.discriminator", 1, max(MIN_STEPS, 2 * recipe.steps.discriminator)),
        *_network("generator", recipe.generator.options),
        *_network("discriminator", recipe.discriminator.options),
        *_batch(recipe.batch_size, largest_batch),
    ]


def _scale(key: str, own: float) -> Dimension:
    return Dimension(key, own / FACTOR, own * FACTOR, log=True)


def _optimizer(group: str, own: OptimizerConfig) -> Iterator[Dimension]:
    yield _scale(f"{group}.learning_rate", own.learning_rate)
    if own.name == "adam":
        first, second = own.betas
        low, high = FIRST_BETAS
        yield Dimension(f"{group}.betas.0", min(low, first), max(high, first))
        if own.second_beta is None:  # else it moves over the run
            yield Dimension(f"{group}.betas.1", choices=_with(second, SECOND_BETAS))
    elif own.name == "rmsprop":
        yield Dimension(f"{group}.alpha", choices=_with(own.alpha, SECOND_BETAS))
    if own.momentum:
        yield Dimension(f"{group}.momentum", 0.0, max(0.95, own.momentum))
    if own.weight_decay:
        yield _scale(f"{group}.weight_decay", own.weight_decay)


def _technique(name: str, options: dict[str, Any]) -> Iterator[Dimension]:
    key = f"techniques.{name}"
    weight = options.get("weight")
    if isinstance(weight, int | float) and not isinstance(weight, bool) and weight > 0:
        yield _scale(f"{key}.weight", float(weight))
    if name == "one_sided_smoothing":
        real = options["real"]
        if isinstance(real, list | tuple):  # the lower end; a range that runs backwards is invalid
            yield Dimension(f"{key}.real.0", min(MAX_SMOOTHING, real[0]), max(real[1], MAX_SMOOTHING + 0.01))
        else:
            yield Dimension(f"{key}.real", min(MAX_SMOOTHING, real), 1.0)
    elif name == "noisy_labels":
        yield Dimension(f"{key}.probability", 0.0, max(MAX_FLIPPED, options["probability"]))
    elif name == "instance_noise":
        yield _scale(f"{key}.variance", float(options["variance"]))
    elif name == "weight_clipping":
        yield _scale(f"{key}.limit", float(options["limit"]))


def _network(group: str, options: dict[str, Any]) -> Iterator[Dimension]:
    width, hidden, dropout = (options.get(name) for name in ("base_channels", "hidden", "dropout"))
    if isinstance(width, int):
        yield Dimension(f"{group}.base_channels", choices=_multiples(width, 1))
    elif isinstance(hidden, list | tuple):
        yield Dimension(f"{group}.hidden", choices=_lists(hidden))
    if dropout:
        yield Dimension(f"{group}.dropout", 0.0, max(MAX_DROPOUT, dropout))


def _batch(own: int, largest: int) -> Iterator[Dimension]:
    """Half and twice the batch, where it is neither tiny nor larger than the set or a trial's budget."""
    sizes = tuple(size for size in _multiples(own, SMALLEST_BATCH) if size == own or size <= largest)
    if len(sizes) > 1:
        yield Dimension("batch_size", choices=sizes)


def _multiples(own: int, smallest: int) -> tuple[int, ...]:
    return tuple(sorted({own} | {int(own * factor) for factor in WIDTHS if int(own * factor) >= smallest}))


def _lists(own: list[int] | tuple[int, ...]) -> tuple[Value, ...]:
    """Lists of widths as JSON text, narrowest first."""
    return tuple(
        dict.fromkeys(plain_value([max(1, int(width * factor)) for width in own]) for factor in WIDTHS)
    )


def _with(own: float, others: tuple[float, ...]) -> tuple[float, ...]:
    """`own` and those of `others` whose half-life, about 1 / (1 - beta), is another by a factor of 2."""
    return tuple(sorted({own, *(one for one in others if not 0.5 < (1 - own) / (1 - one) < 2)}))
