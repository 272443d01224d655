"""The registries of generators and discriminators; importing this package registers all of them."""

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

for _module in iter_modules(__path__):  # each module registers its networks on import
    import_module(f"{__name__}.{_module.name}")
