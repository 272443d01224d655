import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from kennel.data.prepare.pipeline import prepare
from kennel.data.sources.catalog import KNOWN_SETS, fetch
from kennel.data.sources.cifar import CIFAR10_CLASSES
from kennel.data.sources.download import PublishedFile, download
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError
from kennel.storage.cache import cache_folder


def idx(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    sides = b"".join(int(side).to_bytes(4, "big") for side in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sides + array.tobytes()


def four_files(folder: Path) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """The four usual files, the test images unpacked; returns the training images and labels."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = random.integers(0, 256, (30, 28, 28), dtype=np.uint8), np.arange(30, dtype=np.uint8) % 10
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(images[:12]))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(labels[:12]))
    return images, labels


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """(address, folder) of an HTTP server on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/", folder
        running.shutdown()
        thread.join()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_the_digits_are_embedded_and_use_the_whole_range(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    packed = prepare("digits", tmp_path / "digits")
    assert packed.shape == (1, 8, 8)
    assert len(packed) == 1797
    assert packed.classes == tuple("0123456789")
    assert (int(packed.images.min()), int(packed.images.max())) == (0, 255)
    assert np.array_equal(np.rint(packed.images[:, 0] / (255 / 16)), load_digits().images)
    assert packed.labels is not None
    assert np.array_equal(packed.labels, load_digits().target)


def test_idx_files_are_packed_bit_for_bit(tmp_path: Path) -> None:
    images, labels = four_files(tmp_path / "idx")
    train = prepare(tmp_path / "idx", tmp_path / "train")
    assert np.array_equal(train.images[:, 0], images)
    assert train.labels is not None
    assert np.array_equal(train.labels, labels)
    assert len(prepare(tmp_path / "idx", tmp_path / "test", PrepareOptions(split="test"))) == 12
    both = prepare(tmp_path / "idx", tmp_path / "both", PrepareOptions(split="all"))
    assert np.array_equal(both.images[30:, 0], images[:12])  # copies of published sets are not dropped
    single = prepare(tmp_path / "idx" / "train-images-idx3-ubyte.gz", tmp_path / "single")
    assert single.fingerprint == train.fingerprint
    larger = prepare(tmp_path / "idx", tmp_path / "larger", PrepareOptions(size=32, fit="pad"))
    assert larger.shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("train-images-idx3-ubyte.gz", lambda content: content[:-50]),
        ("train-images-idx3-ubyte.gz", lambda content: gzip.compress(gzip.decompress(content)[:-1])),
        ("train-images-idx3-ubyte.gz", lambda content: gzip.compress(b"\0\0\x0d\3" + bytes(100))),
        ("train-labels-idx1-ubyte.gz", lambda content: gzip.compress(idx(np.zeros(29, np.uint8)))),
        ("train-labels-idx1-ubyte.gz", lambda content: b""),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path: Path, name: str, spoil: Callable[[bytes], bytes]) -> None:
    four_files(tmp_path / "idx")
    (tmp_path / "idx" / name).write_bytes(spoil((tmp_path / "idx" / name).read_bytes()))
    with pytest.raises(DataError, match="idx"):
        prepare(tmp_path / "idx", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_cifar_comes_from_an_archive_of_any_name(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (6, 4, 3073), dtype=np.uint8)
    rows[..., 0] %= 10
    names = [*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]
    source = tmp_path / "mine.tar.gz"
    with tarfile.open(source, "w:gz") as archive:
        for name, batch in zip(names, rows, strict=True):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = batch.nbytes
            archive.addfile(info, io.BytesIO(batch.tobytes()))
    packed = prepare("cifar10", tmp_path / "set", from_folder=source)
    assert packed.shape == (3, 32, 32)
    assert np.array_equal(packed.images.reshape(20, -1), rows[:5, :, 1:].reshape(20, -1))
    assert packed.labels is not None
    kept = [packed.classes[label] for label in packed.labels]
    assert kept[0] == CIFAR10_CLASSES[rows[0, 0, 0]]
    test = prepare("cifar10", tmp_path / "test", PrepareOptions(split="test"), from_folder=source)
    assert np.array_equal(test.images.reshape(4, -1), rows[5, :, 1:])


@pytest.mark.parametrize(("name", "top"), [("mnist", "0"), ("fashion_mnist", "T-shirt/top")])
def test_the_real_files_at_hand_are_verified_and_packed(
    shared_data: Path, tmp_path: Path, name: str, top: str
) -> None:
    packed = prepare(
        name, tmp_path / "set", PrepareOptions(split="test", limit=500), from_folder=shared_data / name
    )
    assert (len(packed), packed.shape, packed.classes[0]) == (500, (1, 28, 28), top)
    assert packed.about["report"]["images"] == 10_000
    assert packed.about["provenance"]["files"][0]["name"] == "train-images-idx3-ubyte.gz"


def test_a_file_at_hand_with_another_checksum_is_refused(tmp_path: Path) -> None:
    four_files(tmp_path / "idx")
    for part in ("images-idx3", "labels-idx1"):
        plain = tmp_path / "idx" / f"t10k-{part}-ubyte"
        plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(DataError, match="not the published"):
        prepare("mnist", tmp_path / "set", from_folder=tmp_path / "idx")


def test_a_missing_file_is_named_with_its_address(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks images.tar, annotation.tar .* fetch it from http://vision"):
        prepare("stanford_dogs", tmp_path / "set", from_folder=tmp_path)
    with pytest.raises(DataError, match="which does not exist"):
        prepare("mnist", tmp_path / "set", from_folder=tmp_path / "absent")
    with pytest.raises(DataError, match="--from needs a known set"):
        prepare("./mnist", tmp_path / "set", from_folder=tmp_path)


def test_stanford_dogs_is_cropped_to_boxes_from_its_two_archives(
    tmp_path: Path, picture: Callable[..., bytes], as_tar: Callable[..., Path]
) -> None:
    box = (
        b"<annotation><size><width>40</width><height>30</height></size><object><bndbox><xmin>0</xmin><ymin>0</ymin>"
        b"<xmax>20</xmax><ymax>24</ymax></bndbox></object></annotation>"
    )
    as_tar(
        {f"Images/n{b}-x/{n}.jpg": picture(b + n, 40, 30, "JPEG") for b in (1, 2) for n in (0, 7)},
        "images.tar",
    )
    as_tar({f"Annotation/n{b}-x/{n}": box for b in (1, 2) for n in (0, 7)}, "annotation.tar")
    packed = prepare("stanford_dogs", tmp_path / "set", from_folder=tmp_path)
    assert (len(packed), packed.classes) == (4, ("n1-x", "n2-x"))
    assert packed.about["provenance"]["options"]["crop"] == "box"
    assert [file["name"] for file in packed.about["provenance"]["files"]] == ["images.tar", "annotation.tar"]
    whole = prepare("stanford_dogs", tmp_path / "whole", PrepareOptions(crop="none"), from_folder=tmp_path)
    assert whole.fingerprint != packed.fingerprint


def test_stanford_dogs_is_the_same_set_as_kaggle_gives_it_unpacked_and_zipped(
    tmp_path: Path,
    picture: Callable[..., bytes],
    as_tar: Callable[..., Path],
    as_folder: Callable[..., Path],
    as_zip: Callable[..., Path],
) -> None:
    box = (
        b"<annotation><size><width>40</width><height>30</height></size><object><bndbox><xmin>0</xmin><ymin>0</ymin>"
        b"<xmax>20</xmax><ymax>24</ymax></bndbox></object></annotation>"
    )
    images = {f"Images/n{b}-x/n{b}_{n}.jpg": picture(b + n, 40, 30, "JPEG") for b in (1, 2) for n in (0, 7)}
    boxes = {f"Annotation/n{b}-x/n{b}_{n}": box for b in (1, 2) for n in (0, 7)}
    (tmp_path / "site").mkdir()
    as_tar(images, "site/images.tar")
    as_tar(boxes, "site/annotation.tar")
    kaggle = {f"images/{name}": content for name, content in images.items()}
    kaggle |= {f"annotations/{name}": content for name, content in boxes.items()}
    (tmp_path / "downloads").mkdir()
    sources = [
        tmp_path / "site",
        tmp_path / "site" / "images.tar",  # one of two that belong together
        as_folder({**images, **boxes}, "unpacked"),
        as_folder(kaggle, "kaggle"),
        as_zip(kaggle, "downloads/archive.zip"),
        tmp_path / "downloads",
    ]
    for crop in (None, "none"):
        options = PrepareOptions(crop=crop, size=16)
        sets = [
            prepare("stanford_dogs", tmp_path / f"{crop}{number}", options, from_folder=source)
            for number, source in enumerate(sources)
        ]
        assert len({packed.fingerprint for packed in sets}) == 1
        assert {packed.classes for packed in sets} == {("n1-x", "n2-x")}
        assert [packed.about["report"]["dropped"] for packed in sets] == [{}] * len(sources)


def test_a_file_is_downloaded_once_verified_and_kept(tmp_path: Path, server: tuple[str, Path]) -> None:
    address, folder = server
    content = bytes(range(256)) * 4000
    (folder / "a.bin").write_bytes(content)
    file = PublishedFile("a.bin", (f"{address}missing.bin", f"{address}a.bin"), md5(content))
    seen: list[tuple[int, int]] = []
    got = download(file, tmp_path / "cache", lambda done, total: seen.append((done, total)))
    assert got.read_bytes() == content
    assert seen[-1] == (len(content), len(content))
    (folder / "a.bin").unlink()
    assert download(file, tmp_path / "cache") == got
    got.write_bytes(b"rotten")
    with pytest.raises(DataError, match=r"not the published a\.bin"):
        download(file, tmp_path / "cache")


def test_a_download_with_another_checksum_is_not_kept(tmp_path: Path, server: tuple[str, Path]) -> None:
    address, folder = server
    (folder / "a.bin").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"not the published a\.bin.*--from FOLDER"):
        download(PublishedFile("a.bin", (f"{address}a.bin",), md5(b"right")), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_download_that_ends_early_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(bytes(10))

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Cut) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{running.server_port}/a.bin"
        try:
            with pytest.raises(DataError, match=r"a\.bin cannot be downloaded"):
                download(PublishedFile("a.bin", (address,)), tmp_path / "cache")
        finally:
            running.shutdown()
            thread.join()
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_a_network_the_address_and_the_way_around_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    address = "http://127.0.0.1:9/train.gz"  # nothing listens on the discard port
    with pytest.raises(DataError, match=rf"train.gz cannot be downloaded \({address}: .*--from FOLDER"):
        download(PublishedFile("train.gz", (address,)), tmp_path / "cache")


def test_a_known_set_is_prepared_from_the_network_through_the_cache(
    tmp_path: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = server
    four_files(folder)
    for part in ("images-idx3", "labels-idx1"):
        plain = folder / f"t10k-{part}-ubyte"
        plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    known = KNOWN_SETS["mnist"]
    files = tuple(
        PublishedFile(file.name, (address + file.name,), md5((folder / file.name).read_bytes()))
        for file in known.files
    )
    monkeypatch.setitem(KNOWN_SETS._entries, "mnist", replace(known, files=files))
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    assert len(prepare("mnist", tmp_path / "set")) == 30
    assert sorted(file.name for file in (tmp_path / "cache" / "mnist").iterdir()) == sorted(
        file.name for file in files
    )


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KENNEL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "kennel"
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


@pytest.mark.parametrize("variable", ["KENNEL_CACHE", "XDG_CACHE_HOME"])
def test_a_cache_in_the_home_folder_is_the_same_one_for_downloads_and_for_weights(
    tmp_path: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    address, served = server
    monkeypatch.delenv("KENNEL_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(variable, "~/x")
    monkeypatch.chdir(tmp_path)
    (served / "a.bin").write_bytes(b"content")
    known = replace(
        KNOWN_SETS["mnist"], files=(PublishedFile("a.bin", (f"{address}a.bin",), md5(b"content")),)
    )
    (file,) = fetch(known)
    assert file.is_relative_to(tmp_path / "home" / "x")
    assert file.parents[1] == cache_folder()
    assert not (tmp_path / "~").exists()


def test_every_known_set_says_where_it_is_from_and_in_what_terms() -> None:
    assert list(KNOWN_SETS) == [
        *("celeba", "celeba_hq", "cifar10", "digits", "fashion_mnist"),
        *("imagenet", "lsun", "mnist", "stacked_mnist", "stanford_dogs"),
    ]
    for name in KNOWN_SETS:
        known = KNOWN_SETS[name]
        assert known.terms
        assert known.home
        assert all(file.addresses for file in known.files)
    for name in ("stanford_dogs", "celeba", "celeba_hq", "imagenet"):
        assert "non-commercial" in KNOWN_SETS[name].terms


@pytest.mark.parametrize("name", ["celeba", "celeba_hq", "imagenet", "lsun"])
def test_a_set_that_is_fetched_by_hand_says_where_and_downloads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("kennel.data.sources.catalog.download", lambda *_: pytest.fail("a download"))
    with pytest.raises(DataError, match=rf"^{name} is not downloaded by kennel: .*https?://.*--from FOLDER$"):
        prepare(name, tmp_path / "set")
    with pytest.raises(DataError, match="which does not exist"):
        prepare(name, tmp_path / "set", from_folder=tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_an_option_of_another_set_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--attribute is for celeba, but SOURCE is 'digits'"):
        prepare("digits", tmp_path / "set", PrepareOptions(attribute="Smiling"))
    with pytest.raises(DataError, match="--subset is for imagenet"):
        prepare("mnist", tmp_path / "set", PrepareOptions(subset=("dogs",)))
    with pytest.raises(DataError, match="--category is for lsun"):
        prepare("imagenet", tmp_path / "set", PrepareOptions(category=("bridge",)))
    names = "celeba, cifar10, fashion_mnist, imagenet, lsun, mnist and stacked_mnist"
    parted = f"--split is for {names}, but SOURCE is '.*'"
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    for source in ("digits", str(tmp_path / "photos")):
        with pytest.raises(DataError, match=parted):
            prepare(source, tmp_path / "set", PrepareOptions(split="test"))
    with pytest.raises(DataError, match="--classes subset makes a class of each name"):
        PrepareOptions(classes="subset")
