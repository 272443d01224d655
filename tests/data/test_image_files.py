import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.data import image_files
from kennel.data.dataset import ImageDataset
from kennel.data.image_files import FileSet, NpzSet, open_images
from kennel.data.images import ImageSource, Subset
from kennel.data.sources.decode import decode
from kennel.errors import DataError


def pictures(count: int = 5, side: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five PNGs in two sub-folders, with files beside them that are no images."""
    place = tmp_path / "images"
    for index, picture in enumerate(pictures()):
        path = place / f"class {index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    (place / "notes.txt").write_text("not an image")
    (place / "._0.png").write_bytes(b"what macOS leaves")
    return place


def everything(images: ImageSource, size: int = 2) -> np.ndarray:
    return np.concatenate(list(images.batches(size)))


def same_in_parts(images: ImageSource, size: int) -> None:
    """What ranks read: every `step`-th batch is that of all batches."""
    whole = list(images.batches(size))
    for first, step in ((0, 1), (0, 2), (1, 2), (2, 3), (1, 1), (7, 8)):
        part = list(images.batches(size, first, step))
        assert len(part) == len(whole[first::step])
        for one, other in zip(part, whole[first::step], strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_folder_a_zip_and_a_tar_of_the_same_files_hold_the_same_pixels(
    folder: Path, tmp_path: Path
) -> None:
    files = sorted(folder.rglob("*.png"))
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for file in files:
            archive.write(file, file.relative_to(folder))
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz")):
        with tarfile.open(tmp_path / f"images{suffix}", mode) as archive:
            for file in files:
                archive.add(file, str(file.relative_to(folder)))
    order = [0, 2, 4, 1, 3]
    sets = [open_images(folder), *(open_images(tmp_path / f"images{s}") for s in (".zip", ".tar", ".tar.gz"))]
    for images in sets:
        assert isinstance(images, ImageSource)
        assert (len(images), images.shape) == (5, (3, 6, 6))
        assert [len(batch) for batch in images.batches(2)] == [2, 2, 1]
        np.testing.assert_array_equal(everything(images), pictures()[order].transpose(0, 3, 1, 2))
        same_in_parts(images, 2)
        assert images.fingerprint == sets[0].fingerprint


def test_grey_files_have_one_channel_until_colour_is_among_them(tmp_path: Path) -> None:
    for index in range(2):
        Image.fromarray(pictures()[index, ..., 0]).save(tmp_path / f"{index}.png")
    grey = FileSet(tmp_path)
    assert grey.shape == (1, 6, 6)
    Image.fromarray(pictures()[2]).save(tmp_path / "2.png")
    mixed = FileSet(tmp_path)
    assert mixed.shape == (3, 6, 6)
    np.testing.assert_array_equal(everything(mixed)[0], np.repeat(everything(grey)[0], 3, axis=0))
    assert mixed.fingerprint != grey.fingerprint


@pytest.mark.parametrize("channels", [1, 3, None])
def test_an_npz_gives_its_images(tmp_path: Path, channels: int | None) -> None:
    array = pictures()[..., :channels] if channels else pictures()[..., 0]
    np.savez(tmp_path / "samples.npz", images=array, labels=np.zeros(5))
    images = open_images(tmp_path / "samples.npz")
    assert images.shape == (channels or 1, 6, 6)
    expected = array if channels else array[..., None]
    np.testing.assert_array_equal(everything(images), expected.transpose(0, 3, 1, 2))


def test_a_packed_set_opens_as_one(packed_set: Callable[..., Path]) -> None:
    assert isinstance(open_images(packed_set()), ImageDataset)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"pictures": pictures()}, "has no array 'images' \\(it has: pictures\\)"),
        ({"images": pictures() / 255}, "holds float64 pixels: scale to 0..255"),
        ({"images": np.full((2, 4, 4, 3), np.nan)}, "holds NaN or infinite pixels"),
        ({"images": pictures()[0]}, "expected N x H x W x C"),
        ({"images": np.zeros((2, 4, 4, 4), np.uint8)}, "expected N x H x W x C"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "holds no images"),
        ({"images": np.array([{}], object)}, "cannot be read as an npz"),
    ],
)
def test_an_npz_of_something_else_is_refused(
    tmp_path: Path, content: dict[str, np.ndarray], sentence: str
) -> None:
    np.savez(tmp_path / "samples.npz", **content)
    with pytest.raises(DataError, match=sentence):
        NpzSet(tmp_path / "samples.npz")


def test_mixed_sizes_are_refused_with_both_names(folder: Path) -> None:
    Image.fromarray(pictures(1, 9)[0]).save(folder / "large.png")
    with pytest.raises(DataError, match=r"mixes sizes: .*0\.png is 6x6, large\.png is 9x9"):
        FileSet(folder)


def test_a_damaged_file_is_named(folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"text")
    with pytest.raises(DataError, match=r"broken\.jpg in .* cannot be judged"):
        FileSet(folder)


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(pictures(1)[0]).save(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    assert len(FileSet(folder)) == 5


@pytest.mark.parametrize("name", ["bad.zip", "bad.tar", "bad.npz"])
def test_a_damaged_archive_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read as"):
        open_images(tmp_path / name)


def test_what_is_no_collection_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(DataError, match="holds no images"):
        open_images(tmp_path / "empty")
    with pytest.raises(DataError, match="is not a collection of images"):
        open_images(tmp_path / "text.txt")
    with pytest.raises(DataError, match="does not exist"):
        open_images(tmp_path / "absent")


def test_files_of_other_ranks_are_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_images(folder)
    decoded: list[bytes] = []

    def counting(data: bytes, name: str) -> Image.Image:
        decoded.append(data)
        return decode(data, name=name)

    monkeypatch.setattr(image_files, "decode", counting)
    (batch,) = images.batches(2, 1, 2)
    assert len(batch) == len(decoded) == 2


def test_parts_of_arrays_packed_sets_and_choices_are_those_of_the_whole(
    packed_set: Callable[..., Path], tmp_path: Path
) -> None:
    np.savez(tmp_path / "images.npz", images=pictures(11))
    packed = ImageDataset(packed_set(count=11))
    for images in (packed, NpzSet(tmp_path / "images.npz"), Subset(packed, np.array([0, 1, 2, 7, 8, 10]))):
        same_in_parts(images, 2)
        same_in_parts(images, 3)


def test_a_choice_comes_in_whole_batches(packed_set: Callable[..., Path]) -> None:
    packed = ImageDataset(packed_set(count=40))
    rows = np.sort(np.random.default_rng(0).permutation(40)[:17])
    batches = list(Subset(packed, rows).batches(4))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(batches), packed.images[rows])
