"""Hyperparameter search: the numbers of a recipe, chosen by Optuna from short runs and their validation.

Modules that import Optuna (`trials`, `pruning`, `search`, `results`) are imported after `require_optuna`.
"""

from importlib.util import find_spec

from kennel.errors import TuningError


def require_optuna() -> None:
    """Raises `TuningError` if Optuna is not installed."""
    if find_spec("optuna") is None:
        raise TuningError("a search needs the optuna library: pip install 'kennel[tune]'")
