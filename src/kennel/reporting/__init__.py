"""Reports of runs: an HTML page and figures."""

from kennel.reporting.html import progress_grids, write_report
from kennel.reporting.panels import draw_curves

__all__ = ["draw_curves", "progress_grids", "write_report"]
