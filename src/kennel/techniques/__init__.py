"""The registry of techniques; importing this package registers all of them."""

from importlib import import_module
from pkgutil import iter_modules

from kennel.techniques.base import (
    KINDS,
    STAGES,
    TECHNIQUES,
    AuxiliaryNetwork,
    ForwardOutput,
    Kind,
    LossTerm,
    Networks,
    StepContext,
    Technique,
)

__all__ = [
    "KINDS",
    "STAGES",
    "TECHNIQUES",
    "AuxiliaryNetwork",
    "ForwardOutput",
    "Kind",
    "LossTerm",
    "Networks",
    "StepContext",
    "Technique",
]

for _module in iter_modules(__path__):  # each module registers its techniques on import
    import_module(f"{__name__}.{_module.name}")
