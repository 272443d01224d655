"""Writes the run's page after each validation."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from kennel.engine.callback import Callback
from kennel.engine.observer import VALIDATIONS_SINCE_BEST, Entry
from kennel.engine.state import TrainState
from kennel.errors import KennelError
from kennel.reporting.html import is_cheap, write_page
from kennel.runs.run_dir import RunDir


@dataclass(eq=False)
class ReportPage(Callback):
    """Writes `report.html` at ticks with a validation, where that takes less than a second.

    The figures `curves.png` and `spectra.png`, which take longer, are drawn at the end by the command. A page
    that cannot be written does not end the run: that is logged.
    """

    run_dir: RunDir
    log: Callable[[str], None]

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        if VALIDATIONS_SINCE_BEST not in entry or not is_cheap(self.run_dir):
            return
        networks: dict[str, nn.Module] = {"generator": state.step.networks.generator}
        try:
            if self.run_dir.about().get("teacher") is None:  # as the page names layers later, too
                networks["discriminator"] = state.step.networks.discriminator
            write_page(self.run_dir, networks)
        except (KennelError, OSError) as error:
            self.log(f"Note: {self.run_dir.report} was not written ({error}); the training goes on.")
