"""The exceptions. Each message says what was given, what is expected, and what to do.

The command line prints a `KennelError` without a traceback and exits with code 2.
"""


class KennelError(Exception):
    """An error that the user can fix; the message says how."""


class UnknownNameError(KennelError):
    """A name that is not registered, or is not a recipe or an option."""


class PluginError(KennelError):
    """A module or file of `--import` that is missing or cannot be imported."""


class RecipeError(KennelError):
    """An invalid recipe: an unknown key, a wrong value, or parts that do not fit."""


class DataError(KennelError):
    """A source or a packed set that cannot be used."""


class RunError(KennelError):
    """A run folder that is missing, not a run, or in use for something else."""


class NotFiniteError(RunError):
    """A generator whose images have NaN or infinite values."""


class AlarmError(RunError):
    """A run that an alarm has ended."""


class CheckpointError(KennelError):
    """A checkpoint that is damaged or of other networks."""


class OtherRunError(CheckpointError):
    """An intact checkpoint of another run."""


class CheckpointFormatError(CheckpointError):
    """An intact checkpoint in a format of another version of kennel."""


class WeightsError(KennelError):
    """Weights of a feature extractor that are missing or not the published ones."""


class JudgementError(KennelError):
    """Images that cannot be evaluated: too few, not finite, or of another size than the reference."""


class RankError(KennelError):
    """Several ranks cannot work together: one has failed or died, or they do not fit."""


class RemoteRankError(RankError):
    """Another rank has failed; the message is its own, the same on every rank."""


class RankTimeoutError(RankError):
    """Another rank has died or does not respond."""


class CollectiveAbortedError(RankError):
    """A sum of tensors failed, perhaps because another rank is lost; the next exchange may say why."""


class GeneratorFileError(KennelError):
    """A file of an exported generator that is damaged, foreign, or cannot be used or written."""


class TuningError(KennelError):
    """A search that cannot be done: optuna is missing, its storage cannot be used, or it is another one."""


class ReleaseError(KennelError):
    """A released generator that is unknown, unpublished, cannot be fetched, or is not the published one."""


class ClusterError(KennelError):
    """Ray is missing, cannot be started or reached, or its cluster cannot train a study."""
