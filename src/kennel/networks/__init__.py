"""Generators and discriminators by name; importing this package registers them all."""

from importlib import import_module
from pkgutil import iter_modules

from kennel.networks.base import (
    DISCRIMINATORS,
    GENERATORS,
    BatchStatistic,
    Discriminator,
    Generator,
    NetworkSpec,
    StyleGenerator,
)

__all__ = [
    "DISCRIMINATORS",
    "GENERATORS",
    "BatchStatistic",
    "Discriminator",
    "Generator",
    "NetworkSpec",
    "StyleGenerator",
]

for _module in iter_modules(__path__):  # a network is registered the day its file is there
    import_module(f"{__name__}.{_module.name}")
