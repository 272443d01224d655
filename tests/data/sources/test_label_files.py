import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.data.sources.label_files import class_of, parse_labels
from kennel.data.sources.layouts import in_order
from kennel.errors import DataError

TEXT = st.text(alphabet=st.sampled_from('ab01.,;\\t\\n"[]{}: \x00\x1b\u202e\u0663-'), max_size=60)
JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | TEXT, st.lists, max_leaves=8)


@settings(max_examples=200, deadline=None)
@given(
    content=st.binary(max_size=80)
    | TEXT.map(str.encode)
    | JSON.map(lambda one: repr({"labels": one}).encode()),
    name=st.sampled_from(("dataset.json", "metadata.csv", "metadata.jsonl", "a.txt")),
)
def test_any_content_is_labels_of_one_line_each_or_one_sentence(content: bytes, name: str) -> None:
    said = ""
    labels = None
    try:
        labels = parse_labels(content, name)
    except DataError as error:
        said = str(error)
    assert all(word.isprintable() for word in (said, *(labels or {}).values()))


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (b"3\n", "3"),
        (b"3.0", "3"),
        (b" cat ", "cat"),
        (b"a/b", "a\u2215b"),
        (b"nan", ""),
        (b"", ""),
        (b"-1", "-1"),
    ],
)
def test_a_label_is_a_whole_number_or_a_text(value: bytes, label: str) -> None:
    assert class_of(value) == label


def test_a_number_of_many_digits_is_no_label() -> None:
    with pytest.raises(DataError, match="like a caption"):
        parse_labels(b"a.png," + b"9" * 50_000, "labels.csv")


def test_classes_that_are_numbers_are_in_the_order_of_numbers() -> None:
    assert in_order({"10", "9", "-1"}) == ("-1", "9", "10")
    assert in_order({"10", "9", "a"}) == ("10", "9", "a")
