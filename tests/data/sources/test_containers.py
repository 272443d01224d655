"""Containers that somebody else packed: what their headers say is not believed."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel.data.image_files import open_images
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources import containers
from kennel.data.sources.containers import BROKEN, open_container
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError, KennelError

Picture = Callable[..., bytes]


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """A tar header; sizes that do not fit in octal are written in base-256, as GNU tar does."""
    info = tarfile.TarInfo(name)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if 0 <= size < 8**11:
        block[124:136] = b"%011o\0" % size
    else:
        block[124:136] = (size % 256**12 if size < 0 else (1 << 95) + size).to_bytes(12, "big")
    block[156:157] = kind
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records: bytes) -> bytes:
    return header("pax", len(records), b"x") + records.ljust(-(-len(records) // 512) * 512, b"\0")


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n"
    length = len(body)
    while len(f"{length}{body}") != length:
        length = len(f"{length}{body}")
    return f"{length}{body}".encode()


def entry(name: str, content: bytes) -> bytes:
    return header(name, len(content)) + content.ljust(-(-len(content) // 512) * 512, b"\0")


SIZES = {
    "negative": lambda: header("a/bad.png", -512),
    "2^80": lambda: header("a/bad.png", 1 << 80),
    "pax nines": lambda: pax(record("size", "9" * 20)) + header("a/bad.png", 0),
    "pax negative": lambda: pax(record("size", "-1024")) + header("a/bad.png", 0),
}


@pytest.mark.parametrize("bad", SIZES.values(), ids=SIZES)
def test_a_tar_entry_of_an_impossible_size_is_dropped_as_broken(
    tmp_path: Path, picture: Picture, bad: Callable[[], bytes]
) -> None:
    good = [entry(f"a/{number}.png", picture(number)) for number in range(3)]
    (tmp_path / "bad.tar").write_bytes(good[0] + bad() + b"".join(good[1:]) + bytes(1024))
    packed = prepare(tmp_path / "bad.tar", tmp_path / "set", PrepareOptions(size=8, max_bad=0.5))
    assert len(packed) == 3
    assert packed.about["report"]["dropped"] == {BROKEN: 1}
    assert len(open_images(tmp_path / "bad.tar")) == 3


@pytest.mark.parametrize(
    "content",
    [
        header("x", -512, b"x"),  # the header of a header
        header("x", 1 << 80, b"x"),
        header("x", 6 << 30, b"L"),
        pax(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0")) + header("s", 512) + b"9" * 8,
        pax(record("path", "a")) * 3000 + entry("a", b"b"),
        b"\x1f\x8b" + bytes(600),
        b"PK\5\6" + bytes(600),
    ],
    ids=["negative", "2^80", "6 GB name", "endless map of holes", "nested", "gzip", "zip"],
)
def test_a_hostile_archive_is_one_sentence_in_bounded_time(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.tar").write_bytes(content + bytes(1024))
    with pytest.raises(KennelError, match=r"bad\.tar"):
        prepare(tmp_path / "bad.tar", tmp_path / "set")
    with pytest.raises(KennelError, match=r"bad\.tar"):
        open_images(tmp_path / "bad.tar")


def test_a_compressed_tar_fills_no_more_of_the_disk_than_pictures_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "UNPACKED_FREELY", 1 << 20)
    with gzip.open(tmp_path / "bomb.tar.gz", "wb") as stream:
        stream.write(bytes(30 << 20))
    with pytest.raises(DataError, match=r"uncompresses to more than [\d,]+ bytes"):
        open_container(tmp_path / "bomb.tar.gz")


def test_an_ordinary_tar_with_long_names_reads_as_before(tmp_path: Path, picture: Picture) -> None:
    for style in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "good.tar", "w", format=style) as archive:
            info = tarfile.TarInfo("long" * 60 + "/é.png")
            info.size = len(picture())
            archive.addfile(info, io.BytesIO(picture()))
        container = open_container(tmp_path / "good.tar")
        (member,) = container.members()
        assert member.name == info.name
        assert container.read(member) == picture()
        container.close()
