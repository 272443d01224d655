"""What a run came to, as one page and one figure that travel alone."""

from kennel.report.figures import draw_curves
from kennel.report.page import write_report

__all__ = ["draw_curves", "write_report"]
