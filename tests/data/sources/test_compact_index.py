"""Columns give back what was put in, and hold no Python object for each of many files."""

import random
import subprocess
import sys
from array import array

import numpy as np
import pytest

from kennel.data.sources import compact_index
from kennel.data.sources.compact_index import CompactStrings, FileIndex, SeenPixels, order_of

WORDS = ["b/ä.png", "", "a/1.png", "日本/語.jpg", "a/10.png", "odd \udcff byte", "a/1.png"]


def test_names_are_given_back_whatever_their_letters():
    names = CompactStrings(WORDS)
    assert list(names) == WORDS
    assert [names[index] for index in range(len(names))] == WORDS
    assert list(names.take([3, 3, 0])) == ["日本/語.jpg", "日本/語.jpg", "b/ä.png"]
    for index in (len(WORDS), -1):
        with pytest.raises(IndexError):
            names[index]


@pytest.mark.parametrize("at_once", [3, 1000], ids=["merged", "at once"])
def test_names_are_sorted_by_label_and_then_as_python_sorts_strings(monkeypatch, at_once):
    monkeypatch.setattr(compact_index, "_SORTED_AT_ONCE", at_once)
    draw = random.Random(0)
    words = [*WORDS, *("".join(draw.choices("ab/é😀-", k=3)) for _ in range(90))]
    labels = [draw.randrange(3) for _ in words]
    expected = sorted(range(len(words)), key=lambda index: (labels[index], words[index]))
    assert list(order_of(labels, CompactStrings(words))) == expected
    assert list(order_of([], CompactStrings())) == []


def test_places_are_taken_in_order():
    places = FileIndex()
    for number in range(5):
        places.add(number % 2, number << 40, number * 7)
    taken = places.take(array("q", [4, 0, 3]))
    assert [list(column) for column in (taken.container, taken.where, taken.size)] == [
        *([0, 0, 1], [4 << 40, 0, 3 << 40], [28, 0, 21])
    ]


def test_equal_contents_are_seen_however_many_came_between(monkeypatch):
    monkeypatch.setattr(compact_index, "_FRESH", 8)
    seen = SeenPixels()
    contents = [number.to_bytes(4, "big") for number in range(500)]
    assert all(seen.add(content) for content in contents)
    assert not any(seen.add(content) for content in reversed(contents))
    assert seen.add(b"another")
    assert sum(len(part) for part in seen._sorted) + len(seen._fresh) == 501
    assert len(seen._sorted) <= 6  # each less than half of the one before
    assert all(np.array_equal(part, np.sort(part)) for part in seen._sorted)


# In a process of its own, where types are not checked: what checks them allocates too.
LISTED = """
import sys, tracemalloc
from kennel.data.sources.index import FileCollection
from kennel.data.sources.containers import Member

class Many:
    def __init__(self, count):
        self.count = count

    def members(self):
        # Named backwards, so that sorting has something to do.
        for number in range(self.count):
            yield Member(f"photographs/{number % 100:03}/image {self.count - number:09}.jpg", number, 12_345)

    def read(self, member):
        raise AssertionError("nothing is read")

    def close(self):
        pass

for count in (1000, 21_000):
    tracemalloc.start()
    collection = FileCollection([Many(count)], with_annotations=False)
    print(*tracemalloc.get_traced_memory())
    print(sum(one.count for one in tracemalloc.take_snapshot().statistics("filename")))
    tracemalloc.stop()
    assert len(collection.classes) == 100
    assert collection.name(0).startswith("000/")
"""


@pytest.mark.slow
def test_a_collection_holds_its_files_in_columns_and_no_objects():
    outcome = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=True)
    figures = list(map(int, outcome.stdout.split()))
    held, peak, blocks = (more - fewer for fewer, more in zip(figures[:3], figures[3:], strict=True))
    # 23 letters, 8 bytes of their end, 17 of the place, 4 of the label; columns grow by an eighth at a time.
    assert held / 20_000 < 60
    assert blocks < 2500  # Python keeps up to 2,000 tuples for later use
    # For a moment names are sorted as strings, a part at a time, and columns are held twice.
    assert peak / 20_000 < 400
