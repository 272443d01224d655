"""The registry of recipes, and parts that several recipes share."""

from collections.abc import Callable
from typing import Any

from kennel.config.recipe import ComponentConfig, OptimizerConfig, Recipe
from kennel.registry import Registry

RECIPES: Registry[Callable[[], Recipe]] = Registry("recipe")

ADAM = OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))
"""DCGAN's optimizer."""


def component(name: str, **options: Any) -> ComponentConfig:
    """A network, loss or technique by its registered name."""
    return ComponentConfig(name=name, **options)


DCGAN_GENERATOR = component("dcgan", activation="relu")
DCGAN_DISCRIMINATOR = component("dcgan", activation="leaky_relu")
DCGAN_TECHNIQUES = (component("normal_init"), component("separate_batches"))
