"""A budget in hours: the speed that it goes by, and the images that it comes to."""

import pytest
import torch

from kennel.errors import RecipeError
from kennel.training.time_budget import LONGEST, check_hours, images_of, measured_speed

CPU = torch.device("cpu")


class FakeTime:
    """Rounds that take what they are told to, and nothing else takes time."""

    def __init__(self, monkeypatch, *seconds):
        self.now, self.played, self.seconds = 0.0, 0, seconds
        monkeypatch.setattr("kennel.training.time_budget.iterate", lambda state: self._round())

    def _round(self):
        self.now += self.seconds[min(self.played, len(self.seconds) - 1)]
        self.played += 1

    def __call__(self):
        return self.now


def speed(recipe, data, clock):
    return measured_speed(recipe, data, CPU, None, None, clock)


def test_the_first_iterations_in_which_kernels_are_chosen_are_left_out(small_recipe, packed_set, monkeypatch):
    clock = FakeTime(monkeypatch, 2.0, 2.0, 2.0, 0.5)
    assert speed(small_recipe(), packed_set(), clock) == 8 / 0.5
    assert clock.now == pytest.approx(12)  # six seconds that were timed


def test_an_iteration_that_was_disturbed_does_not_count(small_recipe, packed_set, monkeypatch):
    clock = FakeTime(monkeypatch, 1.0, 1.0, 1.0, 0.5, 4.0, 0.5, 0.5, 0.5)
    assert speed(small_recipe(), packed_set(), clock) == 8 / 0.5


def test_one_iteration_is_timed_however_long_it_takes(small_recipe, packed_set, monkeypatch):
    clock = FakeTime(monkeypatch, 10 * LONGEST)
    assert speed(small_recipe(), packed_set(), clock) == 8 / (10 * LONGEST)
    assert clock.played == 1


def test_real_iterations_have_a_speed(small_recipe, packed_set, monkeypatch):
    monkeypatch.setattr("kennel.training.time_budget.TIMED", 0.05)
    assert measured_speed(small_recipe(), packed_set(), CPU, None, None) > 1


def test_hours_become_whole_hundreds_of_images_and_a_batch_at_least():
    assert images_of(1.0, 101.34, 32) == 364_800
    assert images_of(0.001, 1.0, 32) == 32


@pytest.mark.parametrize("hours", [0.0, -1.0, float("nan"), float("inf")])
def test_hours_that_are_none_are_refused(hours):
    with pytest.raises(RecipeError, match="give a number above 0"):
        check_hours(hours)
