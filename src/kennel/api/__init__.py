"""The Python API: commands as functions, runs as objects, registration of user-defined components."""

from kennel.api.expansion import expand
from kennel.api.functions import compare, judge, load, plan, prepare, report, train
from kennel.api.register import (
    register_loss,
    register_metric,
    register_network,
    register_recipe,
    register_technique,
)
from kennel.api.run import Run, TrainedGenerator
from kennel.api.tuning import Tuning, tune
from kennel.comparison.result import Comparison
from kennel.data.dataset import ImageDataset as Dataset
from kennel.engine.callback import Callback
from kennel.engine.state import TrainState
from kennel.evaluation.score import Score
from kennel.losses import Loss
from kennel.networks import Discriminator, Generator
from kennel.techniques import LossTerm, Technique

__all__ = [
    "Callback",
    "Comparison",
    "Dataset",
    "Discriminator",
    "Generator",
    "Loss",
    "LossTerm",
    "Run",
    "Score",
    "Technique",
    "TrainState",
    "TrainedGenerator",
    "Tuning",
    "compare",
    "expand",
    "judge",
    "load",
    "plan",
    "prepare",
    "register_loss",
    "register_metric",
    "register_network",
    "register_recipe",
    "register_technique",
    "report",
    "train",
    "tune",
]
