"""The study of expanded sets: does a classifier learn scarce classes better with generated images?"""

from kennel.studies.expand.config import ExpandConfig

__all__ = ["ExpandConfig"]
