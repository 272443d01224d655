"""A set whose pictures are brought to one size is the set that `kennel data prepare` would pack."""

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kennel.data.image_files import FileSet, open_images
from kennel.data.images import ArrayImages, ImageSource
from kennel.data.prepare.pipeline import prepare
from kennel.data.resize import Resize, ResizedSet, SizesError, resized
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError

SIZES = ((24, 40), (32, 32), (50, 34), (16, 16), (20, 60))
FITS = ("crop", "squash", "pad")


@pytest.fixture
def mixed(as_folder: Callable[..., Path], picture: Callable[..., bytes]) -> Path:
    """Five pictures of as many sizes, one of them grey, one of 32x32, two with a side below 24."""
    return as_folder(
        {
            f"{number}.png": picture(number, *size, mode="L" if number == 2 else "RGB")
            for number, size in enumerate(SIZES)
        },
        "mixed",
    )


def everything(images: ImageSource) -> np.ndarray:  # type: ignore[type-arg]
    return np.concatenate(list(images.batches(2)))


@pytest.mark.parametrize("fit", FITS)
def test_pictures_of_mixed_sizes_are_judged_as_they_would_be_prepared(
    mixed: Path, tmp_path: Path, fit: str
) -> None:
    packed = prepare(mixed, tmp_path / "set", PrepareOptions(size=32, fit=fit, min_side=0))
    images = open_images(mixed, Resize(32, fit))
    assert (len(images), images.shape) == (5, (3, 32, 32))
    np.testing.assert_array_equal(everything(images), packed.images)
    for first, step in ((0, 1), (0, 2), (1, 2), (2, 3)):  # what ranks read
        whole, part = list(images.batches(2)), list(images.batches(2, first, step))
        assert [batch.tolist() for batch in part] == [batch.tolist() for batch in whole[first::step]]


def test_archives_of_mixed_sizes_are_resized_as_folders_are(mixed: Path, tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w") as packed,
        tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tarred,
    ):
        for file in sorted(mixed.iterdir()):
            packed.write(file, file.name)
            tarred.add(file, file.name)
    sets = [open_images(path, Resize(24)) for path in (mixed, tmp_path / "a.zip", tmp_path / "a.tar.gz")]
    assert len({images.fingerprint for images in sets}) == 1
    for images in sets[1:]:
        np.testing.assert_array_equal(everything(images), everything(sets[0]))


def test_without_a_size_mixed_sizes_are_refused_with_the_command_that_takes_them(mixed: Path) -> None:
    with pytest.raises(
        SizesError, match=r"0\.png is 24x40, 1\.png is 32x32: .*`kennel judge --size 24`"
    ) as error:
        FileSet(mixed)
    assert error.value.side == 24


def test_the_fingerprint_holds_the_size_and_the_fit_and_nothing_where_nothing_changes(
    mixed: Path, as_folder: Callable[..., Path], picture: Callable[..., bytes]
) -> None:
    found = {open_images(mixed, Resize(size, fit)).fingerprint for size in (24, 32) for fit in FITS}
    assert len(found) == 6
    even = as_folder({f"{n}.png": picture(n, 32, 32) for n in range(3)}, "even")
    assert open_images(even).fingerprint == open_images(even, Resize(32, "squash")).fingerprint
    assert open_images(even).fingerprint != open_images(even, Resize(16)).fingerprint


def test_what_was_resized_and_how_many_were_enlarged_is_known(mixed: Path) -> None:
    images = FileSet(mixed, Resize(24))
    assert images.fit == "the centre square of each resized to 24x24 (lanczos, antialiased)"
    assert images.enlarged == 2  # 16x16 and 20x60
    assert FileSet(mixed, Resize(24, "pad")).enlarged == 1  # 16x16
    assert "squashed" in FileSet(mixed, Resize(24, "squash")).fit


@pytest.mark.parametrize("channels", [1, 3])
def test_any_set_can_be_brought_to_another_size(
    packed_set: Callable[..., Path], tmp_path: Path, channels: int
) -> None:
    place = packed_set(count=9, channels=channels, size=16, classes=3)
    whole, small = open_images(place), open_images(place, Resize(8))
    assert isinstance(small, ResizedSet)
    assert (small.shape, len(small), small.classes) == (
        (channels, 8, 8),
        9,
        ("class 0", "class 1", "class 2"),
    )
    np.testing.assert_array_equal(small.labels, whole.labels)  # type: ignore[attr-defined, arg-type]
    assert open_images(place, Resize(16)).fingerprint == whole.fingerprint
    wide = ArrayImages(np.random.default_rng(0).integers(0, 256, (4, channels, 6, 12), dtype=np.uint8))
    cut = resized(wide, Resize(6))
    np.testing.assert_array_equal(everything(cut), everything(wide)[:, :, :, 3:9])
    assert resized(wide, None) is wide
    np.savez(tmp_path / "a.npz", images=everything(whole).transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(everything(open_images(tmp_path / "a.npz", Resize(8))), everything(small))


def test_a_resized_set_says_all_that_the_other_says_of_its_classes() -> None:
    images = ArrayImages(np.zeros((2, 1, 8, 8), np.uint8), labels=np.array([1, 0]), classes=("a", "b"))
    images.class_sampling = "uniform"  # type: ignore[attr-defined]
    small = resized(images, Resize(4))
    for name in ("labels", "classes", "class_sampling"):
        assert getattr(small, name) is getattr(images, name)
    assert not hasattr(small, "at")  # pixels of the other size
    assert not hasattr(resized(ArrayImages(np.zeros((2, 1, 8, 8), np.uint8)), Resize(4)), "class_sampling")


@pytest.mark.parametrize(
    ("size", "fit", "word"), [(0, "crop", "--size"), (9000, "crop", "--size"), (8, "cut", "--fit")]
)
def test_a_resize_that_cannot_be_meant_is_refused(size: int, fit: str, word: str) -> None:
    with pytest.raises(DataError, match=word):
        Resize(size, fit)
