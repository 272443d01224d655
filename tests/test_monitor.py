"""Means over a tick, and no NaN in silence."""

import pytest
import torch

from kennel.errors import RunError
from kennel.monitor import Tally, refuse_non_finite


def test_a_reading_gives_means_and_a_fresh_start():
    tally = Tally()
    tally.add({"a": torch.tensor(1.0), "b": torch.tensor(5.0)})
    tally.add({"a": torch.tensor(3.0)})
    assert tally.read() == {"a": 2.0, "b": 5.0}
    assert tally.read() == {}


def test_a_tally_survives_a_checkpoint_in_the_middle_of_a_tick():
    whole, first = Tally(), Tally()
    for value in (0.1, 0.2):
        whole.add({"a": torch.tensor(value)})
        first.add({"a": torch.tensor(value)})
    second = Tally()
    second.load_state_dict(first.state_dict())
    for tally in (whole, second):
        tally.add({"a": torch.tensor(0.4)})
    assert whole.read() == second.read()


def test_the_sums_of_several_ranks_are_their_mean_to_one_process():
    tally = Tally()
    tally.load_state_dict({"sum.a": torch.tensor([1.0, 4.0]), "count.a": torch.tensor(2)})
    assert tally.read() == {"a": 1.25}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_statistic_that_is_not_finite_stops_the_run_and_is_named(value):
    with pytest.raises(RunError, match="generator loss became"):
        refuse_non_finite({"discriminator_loss": 1.0, "generator_loss": value}, 640)
