"""What other tools say beside what kennel says: the tools, features to ask both about, and the table of it.

A reference that cannot be imported skips its tests, with the reason. `make agreement` prints the table; with
TABLE=FILE it is also put between the two markers of that file.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

TABLE = "KENNEL_AGREEMENT_TABLE"
BEGIN, END = "<!-- table: make agreement TABLE=FILE -->", "<!-- end of the table -->"


@dataclass(frozen=True)
class Row:
    """One comparison; `because` is empty where both should say the same."""

    quantity: str
    ours: str
    theirs: str
    difference: float
    reference: str
    because: str = ""

    def cells(self) -> tuple[str, ...]:
        # What the last bits of a processor decide is not printed: the page would change with the machine.
        small = "0" if self.difference == 0 else "< 1e-12"
        difference = f"{self.difference:.0e}" if self.difference >= 1e-12 else small
        return (self.quantity, self.ours, self.theirs, difference, self.reference, self.because)


HEADINGS = ("quantity", "kennel", "reference", "relative difference", "by", "note")
ROWS: list[Row] = []


def relative_difference(ours: Any, theirs: Any) -> float:
    """The greatest difference over the greatest value of the reference."""
    one, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert one.shape == other.shape, f"{one.shape} against {other.shape}"
    assert np.isfinite(one).all()
    assert np.isfinite(other).all()
    greatest = float(np.abs(other).max())
    assert greatest > 0, "nothing can be relative to 0: compare something else"
    return float(np.abs(one - other).max()) / greatest


def shown(value: Any) -> str:
    """A number; of many numbers their mean."""
    array = np.asarray(value, np.float64)
    return f"{array:.9g}" if array.ndim == 0 else f"mean {array.mean():.7g}"


def record(quantity: str, ours: Any, theirs: Any, reference: str, because: str) -> float:
    difference = relative_difference(ours, theirs)
    label = f"{reference} {version(reference)}"
    if np.ndim(ours):
        quantity += f" ({np.size(ours):,} values)"
    ROWS.append(Row(quantity, shown(ours), shown(theirs), difference, label, because))
    return difference


Agree = Callable[..., None]


@pytest.fixture(scope="session")
def agree() -> Agree:
    """`agree(quantity, ours, theirs, reference, tolerance)`: equal within the relative tolerance, and noted.

    `reference` is the name of an installed distribution. `because` says why a tolerance is wider than 1e-6.
    """

    def check(
        quantity: str, ours: Any, theirs: Any, reference: str, tolerance: float = 1e-6, because: str = ""
    ) -> None:
        assert tolerance <= 1e-6 or because, "a wider tolerance needs its reason"
        difference = record(quantity, ours, theirs, reference, because)
        assert difference <= tolerance, f"{quantity}: {ours} is not {reference}'s {theirs} ({difference:.1e})"

    return check


@pytest.fixture(scope="session")
def differ() -> Agree:
    """`differ(quantity, ours, theirs, reference, because)`: the tools mean different things, and it shows."""

    def check(
        quantity: str, ours: Any, theirs: Any, reference: str, because: str, least: float = 1e-4
    ) -> None:
        difference = record(quantity, ours, theirs, reference, because)
        assert difference > least, f"{quantity}: {ours} is {reference}'s {theirs} after all"

    return check


@pytest.fixture(scope="session")
def reference_module() -> Callable[[str], ModuleType]:
    """Imports a module of a reference tool, or skips the test with the reason why it cannot be.

    torchvision, which some of them import and none of the modules here uses, is stood in for meanwhile.
    """

    def load(name: str) -> ModuleType:
        if importlib.util.find_spec("transformers") is not None:
            # Some references import it, and it keeps what it first saw of torchvision: the truth, then.
            importlib.import_module("transformers.utils").is_torchvision_available()
        with pytest.MonkeyPatch.context() as patch:
            if importlib.util.find_spec("torchvision") is None:
                stand_in_for_torchvision(patch)
            return pytest.importorskip(
                name, reason=f"{name} cannot be imported (make install)", exc_type=ImportError
            )

    return load


def stand_in_for_torchvision(patch: pytest.MonkeyPatch) -> None:
    for name in ("", ".transforms", ".transforms.functional", ".datasets", ".models"):
        stand_in = MagicMock(name=f"torchvision{name}")
        stand_in.__spec__ = ModuleSpec(f"torchvision{name}", None)
        stand_in.__path__ = []
        patch.setitem(sys.modules, f"torchvision{name}", stand_in)


@pytest.fixture(scope="session")
def features() -> Callable[..., np.ndarray]:
    """`features(count, dimension, seed)`: correlated float32 rows whose variances fall, as features' do."""

    def make(count: int, dimension: int, seed: int) -> np.ndarray:
        mixing = np.random.default_rng(9).normal(size=(dimension, dimension)) / dimension**0.5
        random = np.random.default_rng(seed)
        rows = random.normal(size=(count, dimension)) @ (mixing * np.logspace(0, -1.5, dimension))
        offset = 0.1 * random.normal(size=dimension)
        return (rows + mixing[0] + offset).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """The even and the odd ones of scikit-learn's 8x8 digits as 64 float32 values of 0 to 16."""
    from sklearn.datasets import load_digits

    rows, classes = load_digits(return_X_y=True)
    return rows[classes % 2 == 0].astype(np.float32), rows[classes % 2 == 1].astype(np.float32)


@pytest.fixture(scope="session")
def photos() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's two photographs, uint8 (427, 640, 3): a temple and a flower."""
    from sklearn.datasets import load_sample_images

    temple, flower = load_sample_images().images
    return temple, flower


def table(aligned: bool) -> Iterator[str]:
    """The comparisons of this session as lines of Markdown, padded for the eye where `aligned`."""
    cells = [HEADINGS, *(row.cells() for row in ROWS)]
    widths = [max(len(row[place]) for row in cells) if aligned else 3 for place in range(len(HEADINGS))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    lines.insert(1, ["-" * width for width in widths])
    yield from (f"| {' | '.join(line)} |" for line in lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """Prints the table where this process compared something: a worker of pytest-xdist keeps its own.

    A page gets the whole table or none: it is left alone where a test failed, was skipped or was not chosen.
    """
    if not ROWS or hasattr(terminalreporter.config, "workerinput"):
        return
    terminalreporter.section("agreement with other tools")
    for line in table(aligned=True):
        terminalreporter.write_line(line)
    if os.environ.get(TABLE):
        if exitstatus or any(terminalreporter.stats.get(part) for part in ("skipped", "deselected")):
            terminalreporter.write_line(
                f"{os.environ[TABLE]} is left as it was: not every comparison was made."
            )
            return
        page = Path(os.environ[TABLE])
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            raise pytest.UsageError(f"{page} has no lines `{BEGIN}` and `{END}` to put the table between")
        new = "\n".join([before + BEGIN, "", *table(aligned=False), "", END + after])
        page.write_text(new, encoding="utf-8")
        terminalreporter.write_line(f"The table is in {page}.")
