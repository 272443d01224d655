"""Enlarges sets: classes with few images are filled up by a class-conditional generator."""

from kennel.expansion.expand import ExpandedClass, Expansion, expand
from kennel.expansion.gaps import ClassGap, missing_images

__all__ = ["ClassGap", "ExpandedClass", "Expansion", "expand", "missing_images"]
