"""Where the real data of the tests is, and small pictures to test with."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: KENNEL_SHARED, or `shared` beside the repository; skips where it is absent."""
    root = Path(os.environ.get("KENNEL_SHARED") or Path(__file__).parents[3] / "shared")
    if not (root / "data").is_dir():
        pytest.skip(f"no real data at {root} (set KENNEL_SHARED)")
    return root / "data"
