"""Where recipes are registered."""

from collections.abc import Callable

from kennel.config.recipe import Recipe
from kennel.registry import Registry

RECIPES: Registry[Callable[[], Recipe]] = Registry("recipe")
