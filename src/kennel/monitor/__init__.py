"""What is watched over while a run trains: means, gradients, spectra, diversity, and the alarms."""

from kennel.monitor.alarms import ADVERSARIAL, ALARMS, DIVERSITY, IGNORANT, NON_FINITE, Alarm, Sign, Tick
from kennel.monitor.tally import Tally, refuse_non_finite

__all__ = [
    "ADVERSARIAL",
    "ALARMS",
    "DIVERSITY",
    "IGNORANT",
    "NON_FINITE",
    "Alarm",
    "Sign",
    "Tally",
    "Tick",
    "refuse_non_finite",
]
