"""CelebA on small files of its published format: a zip of 178x218 JPEGs and two lists."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.pipeline import dry_run, prepare
from kennel.data.sources.decode import decode
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError, UnknownNameError

Picture = Callable[..., bytes]
Make = Callable[..., Path]

PARTS = (0, 0, 0, 0, 1, 1, 2, 2, 2)
ATTRIBUTES = ("5_o_Clock_Shadow", "Attractive", "Smiling", "Young")
SIGNS = [[1 if (number >> bit) & 1 else -1 for bit in range(len(ATTRIBUTES))] for number in range(len(PARTS))]


def file(number: int) -> str:
    return f"{number + 1:06d}.jpg"


def write_lists(folder: Path) -> None:
    """The two lists, spaces as in the published files: two before a positive number."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{file(number)} {part}" for number, part in enumerate(PARTS)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    rows = [f"{file(n)} " + " ".join(f"{sign:2d}" for sign in signs) for n, signs in enumerate(SIGNS)]
    text = "\n".join([str(len(rows)), " ".join(ATTRIBUTES) + " ", *rows]) + "\n"
    (folder / "list_attr_celeba.txt").write_text(text)


@pytest.fixture
def faces(picture: Picture) -> dict[str, bytes]:
    return {f"img_align_celeba/{file(n)}": picture(n, 178, 218, "JPEG") for n in range(len(PARTS))}


@pytest.fixture
def celeba(tmp_path: Path, faces: dict[str, bytes], as_zip: Make) -> Path:
    """The folder that --from gives."""
    write_lists(tmp_path / "celeba")
    as_zip(faces, "celeba/img_align_celeba.zip")
    return tmp_path / "celeba"


def names(packed: ImageDataset) -> list[str]:
    return (packed.path / "names.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("split", "numbers"), [("train", [0, 1, 2, 3]), ("test", [6, 7, 8]), ("all", list(range(9)))]
)
def test_the_split_is_the_published_partition_and_validation_is_in_all_alone(
    celeba: Path, tmp_path: Path, faces: dict[str, bytes], split: str, numbers: list[int]
) -> None:
    options = PrepareOptions(split=split, size=218, fit="pad")
    packed = prepare("celeba", tmp_path / "set", options, from_folder=celeba)
    assert names(packed) == [file(number) for number in numbers]
    assert (packed.classes, packed.labels) == ((), None)
    for row, number in enumerate(numbers):
        pixels = np.asarray(decode(faces[f"img_align_celeba/{file(number)}"])).transpose(2, 0, 1)
        assert np.array_equal(packed.images[row][:, :, 20:198], pixels)
    assert packed.about["report"]["notes"] == []


def test_an_attribute_makes_two_classes_and_the_one_without_it_is_first(celeba: Path, tmp_path: Path) -> None:
    for attribute, column in (("Smiling", 2), ("attractive", 1)):
        spelling = ATTRIBUTES[column]
        options = PrepareOptions(split="all", attribute=attribute, size=8)
        packed = prepare("celeba", tmp_path / spelling, options, from_folder=celeba)
        assert packed.classes == (f"No {spelling}", spelling)
        assert packed.labels is not None
        for name, label in zip(names(packed), packed.labels, strict=True):
            number = int(name.rpartition("/")[2].removesuffix(".jpg")) - 1
            assert SIGNS[number][column] == (1 if label else -1)
        assert packed.about["provenance"]["options"]["attribute"] == attribute
        files = [entry["name"] for entry in packed.about["provenance"]["files"]]
        assert files == ["img_align_celeba.zip", "list_attr_celeba.txt"]


def test_a_zip_an_unpacked_folder_and_the_folders_of_the_share_are_the_same_set(
    celeba: Path, tmp_path: Path, faces: dict[str, bytes], as_folder: Make, as_zip: Make
) -> None:
    write_lists(as_folder(faces, "unpacked"))
    write_lists(tmp_path / "share" / "Anno")
    (tmp_path / "share" / "Anno" / "list_eval_partition.txt").rename(tmp_path / "share" / "moved")
    (tmp_path / "share" / "Eval").mkdir()
    (tmp_path / "share" / "moved").rename(tmp_path / "share" / "Eval" / "list_eval_partition.txt")
    (tmp_path / "share" / "Img").mkdir()
    as_zip(dict(reversed(faces.items())), "share/Img/img_align_celeba.zip")
    options = PrepareOptions(attribute="Young", size=16, split="test")
    sources = [celeba, celeba / "img_align_celeba.zip", tmp_path / "unpacked", tmp_path / "share"]
    sets = [prepare("celeba", tmp_path / f"s{n}", options, from_folder=at) for n, at in enumerate(sources)]
    assert len({packed.fingerprint for packed in sets}) == 1
    assert len({tuple(names(packed)) for packed in sets}) == 1
    assert len(sets[0]) == 3


def test_the_usual_centre_square_is_cut_out_before_the_size_is_changed(
    celeba: Path, tmp_path: Path, faces: dict[str, bytes]
) -> None:
    options = PrepareOptions(center_crop=108, size=108)
    packed = prepare("celeba", tmp_path / "set", options, from_folder=celeba)
    whole = np.asarray(decode(faces[f"img_align_celeba/{file(0)}"])).transpose(2, 0, 1)
    assert np.array_equal(packed.images[0], whole[:, 55:163, 35:143])  # (218 - 108) / 2, (178 - 108) / 2
    assert packed.about["report"]["aspect"]["after"][20] == 4


def test_what_the_lists_do_not_have_is_dropped_and_what_the_zip_does_not_have_is_told(
    tmp_path: Path, faces: dict[str, bytes], picture: Picture, as_zip: Make
) -> None:
    write_lists(tmp_path / "celeba")
    del faces[f"img_align_celeba/{file(1)}"]
    faces["img_align_celeba/999999.jpg"] = picture(90, 178, 218, "JPEG")
    as_zip(faces, "celeba/img_align_celeba.zip")
    report = dry_run("celeba", from_folder=tmp_path / "celeba")
    assert (report["kept"], report["dropped"]) == (3, {"not listed": 1})
    attribute = PrepareOptions(split="all", attribute="Young")
    assert dry_run("celeba", attribute, from_folder=tmp_path / "celeba")["dropped"] == {"not listed": 1}
    (tmp_path / "celeba" / "list_attr_celeba.txt").unlink()
    del faces["img_align_celeba/999999.jpg"]
    as_zip(faces, "celeba/img_align_celeba.zip")
    report = dry_run("celeba", from_folder=tmp_path / "celeba")  # no classes, so no list of attributes
    assert report["notes"] == ["1 of the 4 images listed in list_eval_partition.txt are missing"]


def test_a_corrupt_face_is_dropped_with_its_reason(
    celeba: Path, tmp_path: Path, faces: dict[str, bytes], as_zip: Make
) -> None:
    name = f"img_align_celeba/{file(2)}"
    as_zip({**faces, name: faces[name][:900]}, "celeba/img_align_celeba.zip")
    packed = prepare("celeba", tmp_path / "set", PrepareOptions(max_bad=0.5), from_folder=celeba)
    assert packed.about["report"]["dropped"] == {"broken": 1}
    assert packed.about["report"]["examples"]["broken"][0]["name"] == file(2)


def kaggle(faces: dict[str, bytes]) -> dict[str, bytes]:
    """The files of Kaggle's celeba-dataset: the images a folder deeper, the lists as tables."""
    files = {f"img_align_celeba/{name}": content for name, content in faces.items()}
    rows = [",".join([file(n), *map(str, signs)]) for n, signs in enumerate(SIGNS)]
    files["list_attr_celeba.csv"] = "\r\n".join([",".join(["image_id", *ATTRIBUTES]), *rows]).encode()
    rows = [f"{file(n)},{part}" for n, part in enumerate(PARTS)]
    files["list_eval_partition.csv"] = "\n".join(["image_id,partition", *rows]).encode() + b"\n"
    files["list_bbox_celeba.csv"] = b"image_id,x_1,y_1,width,height\n"
    return files


def test_kaggle_s_folder_and_its_zip_are_the_published_set(
    celeba: Path, tmp_path: Path, faces: dict[str, bytes], as_folder: Make, as_zip: Make
) -> None:
    files = kaggle(faces)
    (tmp_path / "downloads").mkdir()
    as_zip(files, "downloads/archive.zip")
    sources = [as_folder(files, "kaggle"), tmp_path / "downloads" / "archive.zip", tmp_path / "downloads"]
    for attribute in (None, "Smiling"):
        options = PrepareOptions(split="test" if attribute is None else "all", attribute=attribute, size=16)
        wanted = prepare("celeba", tmp_path / f"published {attribute}", options, from_folder=celeba)
        for number, source in enumerate(sources):
            packed = prepare("celeba", tmp_path / f"{attribute} {number}", options, from_folder=source)
            assert (packed.fingerprint, names(packed)) == (wanted.fingerprint, names(wanted))
            assert packed.about["report"]["dropped"] == {}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list_eval_partition.csv", b"image_id,partition\na.jpg,3\n", r"'a\.jpg 3' in line 2"),
        ("list_eval_partition.csv", b"\xff\xfe", "cannot be read"),
        ("list_attr_celeba.csv", b"", "does not begin with"),
        ("list_attr_celeba.csv", b"image_id,Smiling\na.jpg,yes\n", "1 times 1 or -1 in line 2"),
    ],
)
def test_damaged_tables_of_kaggle_are_told_in_a_sentence(
    tmp_path: Path, faces: dict[str, bytes], as_folder: Make, name: str, content: bytes, words: str
) -> None:
    folder = as_folder({**kaggle(faces), name: content}, "kaggle")
    with pytest.raises(DataError, match=words):
        prepare("celeba", tmp_path / "set", PrepareOptions(attribute="Smiling"), from_folder=folder)


def test_an_attribute_that_all_images_have_makes_no_classes_in_silence(
    celeba: Path, tmp_path: Path, faces: dict[str, bytes], as_zip: Make
) -> None:
    smiling = {name: content for n, (name, content) in enumerate(faces.items()) if SIGNS[n][2] == 1}
    as_zip(smiling, "celeba/img_align_celeba.zip")
    with pytest.raises(DataError, match="--attribute Smiling makes two classes, but all images of"):
        prepare(
            "celeba", tmp_path / "set", PrepareOptions(split="all", attribute="Smiling"), from_folder=celeba
        )


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "list_eval_partition.txt").unlink(), "lacks list_eval_partition.txt"),
        (lambda folder: (folder / "img_align_celeba.zip").unlink(), "lacks img_align_celeba.zip"),
        (lambda folder: (folder / "list_attr_celeba.txt").unlink(), "lacks list_attr_celeba.txt"),
        (lambda folder: (folder / "list_attr_celeba.txt").write_text(""), "does not begin with a count"),
        (
            lambda folder: (folder / "list_attr_celeba.txt").write_text("2\nSmiling\na.jpg 1\n"),
            "announces 2 images but lists 1",
        ),
        (
            lambda folder: (folder / "list_attr_celeba.txt").write_text("1\nSmiling Young\na.jpg 1\n"),
            "2 times 1 or -1 in line 3",
        ),
        (
            lambda folder: (folder / "list_eval_partition.txt").write_text("a.jpg 0\nb.jpg 3\n"),
            r"'b\.jpg 3' in line 2",
        ),
    ],
)
def test_missing_and_damaged_files_are_told_in_a_sentence(
    celeba: Path, tmp_path: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(celeba)
    with pytest.raises(DataError, match=words):
        prepare("celeba", tmp_path / "set", PrepareOptions(attribute="Smiling"), from_folder=celeba)
    assert not (tmp_path / "set").exists()


def test_an_unknown_attribute_is_answered_with_the_nearest(celeba: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'Smiling'"):
        prepare("celeba", tmp_path / "set", PrepareOptions(attribute="Smile"), from_folder=celeba)


def test_celeba_hq_is_any_images_without_classes_and_without_masks(
    tmp_path: Path, picture: Picture, as_folder: Make, as_zip: Make
) -> None:
    images = {f"CelebAMask-HQ/CelebA-HQ-img/{n}.jpg": picture(n, 32, 32, "JPEG") for n in range(12)}
    masks = {
        f"CelebAMask-HQ/CelebAMask-HQ-mask-anno/0/{n:05d}_hair.png": picture(50 + n, 16, 16, mode="L")
        for n in range(5)
    }
    as_zip({**images, **masks}, "CelebAMask-HQ.zip")
    (tmp_path / "alone").mkdir()
    as_zip({**images, **masks}, "alone/hq.zip")
    bare = {name.rpartition("/")[2]: content for name, content in images.items()}
    sources = [tmp_path / "CelebAMask-HQ.zip", tmp_path / "alone", as_folder(bare, "data256x256")]
    sets = [prepare("celeba_hq", tmp_path / f"s{n}", from_folder=source) for n, source in enumerate(sources)]
    assert len({packed.fingerprint for packed in sets}) == 1
    assert (len(sets[0]), sets[0].classes, sets[0].labels) == (12, (), None)
    assert sets[0].about["report"]["notes"] == []
    assert names(sets[0]) == sorted(bare)
    assert [len(packed.about["provenance"]["files"]) for packed in sets] == [1, 1, 0]
