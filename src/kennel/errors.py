"""The exception tree. Each message is one sentence: what was given, what was expected, what to do.

The command line prints a `KennelError` without a traceback and leaves with exit code 2.
"""


class KennelError(Exception):
    """Something the user can mend; the message says how."""


class UnknownNameError(KennelError):
    """A name that no registry, recipe or option knows."""


class PluginError(KennelError):
    """A module or file of `--import` that is not there or cannot be imported."""


class RecipeError(KennelError):
    """A recipe that cannot be what was meant: an unknown key, a wrong value, two parts that do not fit."""


class DataError(KennelError):
    """A source or a packed set that cannot be used."""


class RunError(KennelError):
    """A run folder that is missing, not a run, or belongs to something else."""


class NotFiniteError(RunError):
    """A generator whose images hold NaN or infinite values, which are no pictures."""


class AlarmError(RunError):
    """A run that an alarm has ended, since its policy says so or since it is beyond repair."""


class CheckpointError(KennelError):
    """A checkpoint that is damaged or was written for other networks."""


class OtherRunError(CheckpointError):
    """A checkpoint that is whole, and of another run than the one it was looked for in."""


class CheckpointFormatError(CheckpointError):
    """A checkpoint of another format: whole, and not for this version of kennel."""


class WeightsError(KennelError):
    """The weights of a feature extractor are missing or not the published ones."""


class JudgementError(KennelError):
    """Images that cannot be judged: too few, not finite, or of other sizes than the reference."""


class RankError(KennelError):
    """What keeps several ranks from working together: one has failed or died, or they do not fit."""


class RemoteRankError(RankError):
    """Another rank has failed: what it said of it, which every rank has heard."""


class RankTimeoutError(RankError):
    """Another rank has died, or does not come to where it is waited for."""


class CollectiveAbortedError(RankError):
    """A sum of tensors failed, here or since another rank was lost; why, it may tell at the next meeting."""


class GeneratorFileError(KennelError):
    """A file of an exported generator that is damaged, foreign, or cannot be drawn from or written."""


class ReleaseError(KennelError):
    """A released generator that is unknown, not published, cannot be fetched, or is not the published one."""
