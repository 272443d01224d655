"""The one room that knows all floors: recipes become objects, and a run's parts meet here."""

from kennel.wiring.building import (
    build_loss,
    build_step,
    build_techniques,
    pick_device,
    resolve,
    sampling_generator,
)
from kennel.wiring.drawing import Drawing
from kennel.wiring.loading import LoadedRun, load_run, sampled_set
from kennel.wiring.opening import exported_file, open_drawing
from kennel.wiring.placing import own_device, training_device
from kennel.wiring.planning import Forecast, forecast
from kennel.wiring.training import train

__all__ = [
    "Drawing",
    "Forecast",
    "LoadedRun",
    "build_loss",
    "build_step",
    "build_techniques",
    "exported_file",
    "forecast",
    "load_run",
    "open_drawing",
    "own_device",
    "pick_device",
    "resolve",
    "sampled_set",
    "sampling_generator",
    "train",
    "training_device",
]
