"""Pictures that are decoded side by side leave the memory that is free."""

import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from kennel.data.sources import decode as decoding
from kennel.data.sources import decode_budget
from kennel.data.sources.decode import decode
from kennel.errors import DataError

MIB = 1 << 20


def test_pictures_in_flight_over_all_threads_fill_half_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode_budget, "free_host_bytes", lambda: 200 * MIB)
    now, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal now, most
        with decode_budget.in_flight(40 * MIB):
            with lock:
                now += 40
                most = max(most, now)
            time.sleep(0.02)
            with lock:
                now -= 40

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert now == 0
    assert 40 <= most <= 100


def test_a_picture_that_fits_into_no_memory_is_dropped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode_budget, "free_host_bytes", lambda: 20 * MIB)
    stream = io.BytesIO()
    Image.new("L", (2000, 2000)).save(stream, "PNG")
    with pytest.raises(DataError, match=r"decoding it takes 48,000,000 bytes of memory"):
        decode(stream.getvalue())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_compositing_by_strips_is_compositing_whole(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 23, 4), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    if mode == "P":
        image.info["transparency"] = 7
    monkeypatch.setattr(decoding, "_STRIP_PIXELS", 100)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    stored = Image.open(stream).convert("RGBA")
    whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), stored)
    found = decode(stream.getvalue())
    np.testing.assert_array_equal(np.asarray(found), np.asarray(whole.convert(found.mode)))
