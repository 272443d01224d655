"""Studies: recipes by data sets by seeds, trained, judged by one protocol, and compared."""

from kennel.studies.config import STUDIES, JudgeConfig, StudyConfig, load_study

__all__ = ["STUDIES", "JudgeConfig", "StudyConfig", "load_study"]
