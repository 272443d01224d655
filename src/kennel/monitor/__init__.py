"""What is watched over while a run trains: means, gradients, spectra, diversity, and the alarms."""

from kennel.monitor.tally import Tally, refuse_non_finite

__all__ = ["Tally", "refuse_non_finite"]
