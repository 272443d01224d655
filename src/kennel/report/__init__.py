"""What a run came to, as one page and one figure that travel alone."""

from kennel.report.figures import draw_curves
from kennel.report.page import progress_grids, write_report

__all__ = ["draw_curves", "progress_grids", "write_report"]
