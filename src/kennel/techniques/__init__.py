"""Techniques by name; importing this package registers them all."""

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

for _module in iter_modules(__path__):  # a technique is registered the day its file is there
    import_module(f"{__name__}.{_module.name}")
