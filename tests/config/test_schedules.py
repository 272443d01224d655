"""Curves arrive where they should and stay there."""

import pytest

from kennel.config.schedules import decayed


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_decay_starts_at_start_passes_the_middle_and_stays_at_the_end(kind):
    assert decayed(kind, 4.0, 2.0, 0.0) == 4.0
    assert decayed(kind, 4.0, 2.0, 0.5) == pytest.approx(3.0)
    assert decayed(kind, 4.0, 2.0, 1.0) == pytest.approx(2.0)
    assert decayed(kind, 4.0, 2.0, 7.0) == pytest.approx(2.0)


def test_constant_stays():
    assert decayed("constant", 4.0, 2.0, 0.9) == 4.0
