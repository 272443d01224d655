"""Techniques by name; importing this package registers them all."""

from kennel.techniques import augmentation, averaging, batches, initialisation, labels, noise
from kennel.techniques.contract import STAGES, TECHNIQUES, Kind, Play, Players, Technique, Term, Turn

__all__ = [
    "STAGES",
    "TECHNIQUES",
    "Kind",
    "Play",
    "Players",
    "Technique",
    "Term",
    "Turn",
    "augmentation",
    "averaging",
    "batches",
    "initialisation",
    "labels",
    "noise",
]
