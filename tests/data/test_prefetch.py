"""What is made ahead comes in order, in bounds, with its errors, and leaves no thread behind."""

import gc
import threading
import time

import pytest

from kennel.data.prefetch import Prefetcher


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "kennel-ahead"]


def eventually(condition):
    """Whether it comes true within five seconds."""
    until = time.monotonic() + 5
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
    return True


def test_values_come_in_order_and_from_wherever_they_are_asked_for():
    ahead = Prefetcher(lambda position: position * position, 3, 4)
    assert [ahead.at(position) for position in (0, 3, 6, 9, 30, 33, 0, 3)] == [0, 9, 36, 81, 900, 1089, 0, 9]
    ahead.close()


def test_so_many_are_made_ahead_and_no_more():
    made = []
    ahead = Prefetcher(made.append, 1, 3)
    ahead.at(0)
    assert eventually(lambda: made == [0, 1, 2, 3])
    time.sleep(0.02)
    assert made == [0, 1, 2, 3]
    ahead.at(1)
    assert eventually(lambda: made == [0, 1, 2, 3, 4])
    ahead.close()


def test_an_error_is_raised_where_its_value_is_asked_for_and_not_before():
    def make(position):
        if position == 2:
            raise OSError("the disk is gone")
        return position

    ahead = Prefetcher(make, 1, 4)
    assert [ahead.at(0), ahead.at(1)] == [0, 1]
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            ahead.at(2)
    assert ahead.at(3) == 3
    ahead.close()


def test_a_value_that_is_made_while_another_place_is_asked_for_is_not_mistaken_for_it():
    begun, go = threading.Event(), threading.Event()

    def make(position):
        if position == 1:
            begun.set()
            go.wait(5)
        return position

    ahead = Prefetcher(make, 1, 2)
    ahead.at(0)
    assert begun.wait(5)
    threading.Timer(0.02, go.set).start()
    assert ahead.at(100) == 100
    assert ahead.at(101) == 101
    ahead.close()


def test_closing_ends_the_thread_and_a_hanging_read_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("kennel.data.prefetch._CLOSING_SECONDS", 0.05)
    ahead = Prefetcher(lambda position: position, 1, 2)
    ahead.at(0)
    ahead.close()
    assert eventually(lambda: not threads())
    with pytest.raises(RuntimeError, match="closed"):
        ahead.at(10)

    go = threading.Event()
    hanging = Prefetcher(lambda position: go.wait(5) if position else 0, 1, 2)
    hanging.at(0)
    began = time.monotonic()
    hanging.close()
    assert time.monotonic() - began < 1
    assert all(thread.daemon for thread in threads())
    go.set()
    assert eventually(lambda: not threads())


def test_one_that_was_never_asked_has_no_thread_and_one_that_is_forgotten_loses_its_own():
    Prefetcher(lambda position: position, 1, 2).close()
    assert not threads()
    ahead = Prefetcher(lambda position: position, 1, 2)
    ahead.at(0)
    assert len(threads()) == 1
    del ahead
    gc.collect()
    assert eventually(lambda: not threads())
