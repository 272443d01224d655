"""What is read of a pickle is data; whatever else it holds is refused, and nothing in it happens."""

import io
import os
import pickle
import pickletools
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kennel.data.sources import restricted_pickle
from kennel.data.sources.restricted_pickle import read_arrays
from kennel.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 12), dtype=np.uint8)


def python_2(images: np.ndarray) -> bytes:  # type: ignore[type-arg]
    """A dictionary as Python 2 wrote CIFAR's: protocol 2, texts and bytes as strings, NumPy's old names."""
    raw, rows, columns = images.tobytes(), *images.shape
    return b"".join(
        (
            *(
                b"\x80\x02}(",
                b"U\x04data",
                b"cnumpy.core.multiarray\n_reconstruct\nq\x01(cnumpy\nndarray\nq\x02",
            ),
            *(b"K\x00\x85U\x01btRq\x03", b"(K\x01", bytes((75, rows, 75, columns, 0x86))),
            *(
                b"cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05",
                b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            ),
            *(b"\x89T" + len(raw).to_bytes(4, "little") + raw + b"tb",),
            *(b"U\x06labels](K\x03K\x09e", b"U\x0bbatch_label", b"U\x05a setu."),
        )
    )


def test_what_python_2_wrote_of_cifar_is_read() -> None:
    found = read_arrays(python_2(IMAGES))
    np.testing.assert_array_equal(found["data"], IMAGES)
    assert (found["labels"], found["batch_label"]) == ([3, 9], b"a set")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_this_python_and_numpy_write_is_read_in_every_protocol(protocol: int, order: str) -> None:
    images = np.array(IMAGES, order=order)  # type: ignore[call-overload]
    wrote = {
        b"data": images,
        b"labels": [1, 2, 300],
        "names": ["a", b"b\xff"],
        "none": None,
        "yes": True,
        "t": (1, 2),
    }
    try:
        found = read_arrays(pickle.dumps(wrote, protocol))
    except DataError:
        assert (
            protocol == 5
        )  # arrays are then written through a buffer's function, which no CIFAR archive names
        return
    np.testing.assert_array_equal(found.pop("data"), IMAGES)
    assert found == {"labels": [1, 2, 300], "names": ["a", b"b\xff"], "none": None, "yes": True, "t": (1, 2)}


class Calls:
    """Pickled as the call of a function."""

    def __init__(self, function: Callable[..., Any], *given: Any) -> None:
        self.call = (function, given)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_program_in_a_pickle_is_refused_and_nothing_of_it_is_executed(
    tmp_path: Path, protocol: int
) -> None:
    trace = tmp_path / "trace"
    programs = [
        Calls(os.system, f"touch {trace}"),
        Calls(eval, f"open({str(trace)!r}, 'w')"),
        Calls(open, str(trace), "w"),
        Calls(getattr, os, "getcwd"),
        Calls(np.load, str(trace)),
        Calls(np.zeros, (1 << 40,)),
        IMAGES.dtype.type(3),
        {1, 2},
        restricted_pickle,
    ]
    for program in programs:
        for wrote in (program, {"data": program}, {"data": IMAGES, "labels": [program]}):
            try:
                content = pickle.dumps(wrote, protocol)
            except TypeError:  # a module has no pickle
                continue
            with pytest.raises(DataError, match=r"it uses \S+\.|it has the operation|it is not a dictionary"):
                read_arrays(content)
    assert not trace.exists()


STATE = b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89U\x02abtb"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02}",
        b"\x80\x02].",
        b"\x80\x02K\x01.",
        b"not a pickle",
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a place of 2^31: all places below it would be made, 32 GB
        b"\x80\x02}p4000000000\n.",
        b"\x80\x02}p-1\n.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x00.",  # a buffer of 2^56 bytes
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"I" + b"9" * 100_000 + b"\n.",
        b"L" + b"9" * 100_000 + b"L\n.",
        b"\x80\x02\x82\x01.",  # an extension of copyreg
        b"\x80\x02Pid\n.",
        b"(icos\nsystem\n.",
        b"\x80\x02cnumpy\nndarray\n}U\x05sneakK\x01sb.",  # changes what it may only call
        b"\x80\x02cnumpy\nndarray\nN}U\x08__call__K\x01s\x86b.",
        b"\x80\x02c_codecs\nencode\nU\x01aU\x05rot13\x86R.",
        b"\x80\x02}U\x04data" + ARRAY + b"s.",  # no state
        b"\x80\x02}U\x04data" + ARRAY + STATE.replace(b"K\x02\x85", b"J\xff\xff\xff\xff\x85") + b"s.",
        b"\x80\x02}U\x04data" + ARRAY + STATE.replace(b"K\x02\x85", b"J\xff\xff\xff\x7f\x85") + b"s.",
        b"\x80\x02}U\x04data" + ARRAY + STATE.replace(b"U\x02u1", b"U\x02O8") + b"s.",
        b"\x80\x02}U\x04data" + ARRAY + STATE.replace(b"U\x02u1", b"U\x02f8") + b"s.",
        b"\x80\x02}K\x01K\x02s.",  # a key that is no text
    ],
)
def test_what_is_damaged_or_bent_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(DataError) as error:
        read_arrays(content)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_an_array_of_objects_is_refused() -> None:
    with pytest.raises(DataError, match=r"not written as NumPy|does not have unsigned bytes"):
        read_arrays(pickle.dumps({"data": IMAGES.astype(object)}, 2))


def test_the_bent_arrays_are_right_where_they_are_not_bent() -> None:
    np.testing.assert_array_equal(
        read_arrays(b"\x80\x02}U\x04data" + ARRAY + STATE + b"s.")["data"], np.frombuffer(b"ab", np.uint8)
    )


def test_no_name_can_be_changed_for_the_next_file() -> None:
    for content in (
        b"\x80\x02cnumpy\ndtype\nN}U\x08__init__K\x01s\x86b.",
        b"\x80\x02cnumpy\ndtype\n}U\x04nameK\x01sb.",
    ):
        with pytest.raises(DataError):
            read_arrays(content)
    np.testing.assert_array_equal(read_arrays(python_2(IMAGES))["data"], IMAGES)


def test_tuples_within_tuples_do_not_end_the_process() -> None:
    """Python takes their hash by recursion in C, without a limit."""
    deep = 11_990
    results: list[Any] = []

    def read(depth: int) -> None:
        try:
            results.append(read_arrays(b"\x80\x02}N" + b"\x85" * depth + b"K\x01s."))
        except DataError as error:
            results.append(str(error))

    for depth in (deep, 2_000_000):
        thread = threading.Thread(target=read, args=(depth,))
        thread.start()
        thread.join()
    assert "not text" in results[0]
    assert "more operations" in results[1]


def test_a_file_is_bounded_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="more operations than"):
        read_arrays(b"\x80\x02" + b"N" * (1 << 21) + b".")
    monkeypatch.setattr(restricted_pickle, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="more than 100"):
        read_arrays(python_2(IMAGES) + bytes(100))


def test_one_flipped_byte_gives_data_or_a_sentence_and_nothing_else() -> None:
    """Whatever the byte: pickletools is what says that the test's own pickle is whole."""
    whole = python_2(IMAGES)
    assert list(pickletools.genops(io.BytesIO(whole)))[-1][0].name == "STOP"
    random = np.random.default_rng(0)
    for _ in range(3000):
        content = bytearray(whole)
        for place in random.integers(0, len(content), int(random.integers(1, 4))):
            content[place] = random.integers(0, 256)
        with suppress(DataError):
            assert isinstance(read_arrays(bytes(content)), dict)
