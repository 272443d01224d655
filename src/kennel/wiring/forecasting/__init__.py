"""What a run will take before it is begun: operations, memory, disk and time, counted and measured."""

from kennel.wiring.forecasting.forecast import forecast
from kennel.wiring.forecasting.results import Disk, Forecast, Memory, Times

__all__ = ["Disk", "Forecast", "Memory", "Times", "forecast"]
