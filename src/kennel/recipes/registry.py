"""The registry of recipes, and parts that several recipes share."""

from collections.abc import Callable
from typing import Any

from kennel.config.recipe import ComponentConfig, OptimizerConfig, Recipe
from kennel.registry import Registry

RECIPES: Registry[Callable[[], Recipe]] = Registry("recipe")


def component(name: str, **options: Any) -> ComponentConfig:
    """A network, loss or technique by its registered name."""
    return ComponentConfig(name=name, **options)


ADAM = OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))
"""DCGAN's optimizer."""


def dcgan_recipe(*techniques: ComponentConfig, optimizer: OptimizerConfig = ADAM, **settings: Any) -> Recipe:
    """DCGAN's networks, loss, initialization and optimizer, further techniques and `settings`."""
    defaults = {
        "generator": component("dcgan", activation="relu"),
        "discriminator": component("dcgan", activation="leaky_relu"),
        "loss": component("bce"),
        "techniques": (component("normal_init"), component("separate_batches"), *techniques),
        "generator_optimizer": optimizer,
        "discriminator_optimizer": optimizer,
    }
    return Recipe(**(defaults | settings))
