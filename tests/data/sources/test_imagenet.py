"""ImageNet on small files of its published format: a tar of tars of JPEGs, and what it unpacks to."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.pipeline import dry_run, prepare
from kennel.data.sources.options import PrepareOptions
from kennel.errors import DataError, UnknownNameError

Picture = Callable[..., bytes]
Make = Callable[..., Path]
Files = dict[str, bytes]

TRAIN = "ILSVRC2012_img_train.tar"
SYNSETS = {
    "n02085620": "Chihuahua",  # a dog
    "n02123045": "tabby",  # a cat
    "n02129165": "lion",  # a feline, and no true cat
    "n02279972": "monarch",  # a butterfly
    "n01443537": "goldfish",
    "n03126707": "crane",  # it lifts
}


def tar(files: Files) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def tar_of_tars(files: Files) -> bytes:
    """`nX/a.JPEG`: content, as a tar of nX.tar with a.JPEG."""
    inner: dict[str, Files] = {}
    for name, content in files.items():
        wnid, _, file = name.partition("/")
        inner.setdefault(wnid, {})[file] = content
    return tar({f"{wnid}.tar": tar(members) for wnid, members in inner.items()})


@pytest.fixture
def photographs(picture: Picture) -> Files:
    """`nX/nX_1.JPEG`, three of each synset, in no order."""
    return {
        f"{wnid}/{wnid}_{n}.JPEG": picture(10 * k + n, 30 + n, 30, "JPEG")
        for n in (7, 1, 12)
        for k, wnid in enumerate(SYNSETS)
    }


@pytest.fixture
def imagenet(tmp_path: Path, photographs: Files) -> Path:
    """The folder that --from gives."""
    folder = tmp_path / "imagenet"
    folder.mkdir()
    (folder / TRAIN).write_bytes(tar_of_tars(photographs))
    return folder


def names(packed: ImageDataset) -> list[str]:
    return (packed.path / "names.txt").read_text().splitlines()


def test_all_of_it_has_a_class_for_each_synset_in_the_order_of_the_wnids(
    imagenet: Path, tmp_path: Path
) -> None:
    packed = prepare("imagenet", tmp_path / "set", PrepareOptions(size=32), from_folder=imagenet)
    assert packed.classes == tuple(f"{wnid}-{SYNSETS[wnid]}" for wnid in sorted(SYNSETS))
    assert packed.labels is not None
    assert packed.labels.tolist() == [label for label in range(6) for _ in range(3)]
    assert names(packed)[:3] == [f"n01443537-goldfish/n01443537_{n}.JPEG" for n in (1, 12, 7)]
    assert packed.about["report"]["notes"] == []


@pytest.mark.parametrize(
    "subset", [(), ("dogs", "cats", "fish", "butterfly"), ("feline", "n02279972"), ("animals",)]
)
def test_every_way_that_it_comes_is_the_same_set(
    imagenet: Path,
    tmp_path: Path,
    photographs: Files,
    as_folder: Make,
    as_zip: Make,
    as_tar: Make,
    subset: tuple[str, ...],
) -> None:
    below_train = {f"train/{name}": content for name, content in photographs.items()}
    tars = as_folder({f"{wnid}.tar": b"" for wnid in SYNSETS}, "tars")
    for wnid in SYNSETS:
        members = {name.partition("/")[2]: c for name, c in photographs.items() if name.startswith(wnid)}
        (tars / f"{wnid}.tar").write_bytes(tar(members))
    mixed = as_folder({name: c for name, c in photographs.items() if name.startswith("n020")}, "mixed")
    for wnid in SYNSETS:
        (mixed / f"{wnid}.tar").write_bytes((tars / f"{wnid}.tar").read_bytes())
    kaggle = {f"ILSVRC/Data/CLS-LOC/{name}": content for name, content in below_train.items()}
    kaggle |= {
        "ILSVRC/Data/CLS-LOC/test/ILSVRC2012_test_00000001.JPEG": b"",
        "ILSVRC/Annotations/n1.xml": b"",
    }
    sources = [
        *(imagenet, imagenet / TRAIN, tars, mixed),
        *(as_folder(below_train, "unpacked"), as_folder(photographs, "bare")),
        *(as_zip(kaggle), as_tar(below_train), as_tar(photographs, "bare.tar.gz")),
    ]
    options = PrepareOptions(size=8, subset=subset)
    sets = [prepare("imagenet", tmp_path / f"s{n}", options, from_folder=at) for n, at in enumerate(sources)]
    assert len({packed.fingerprint for packed in sets}) == 1
    assert len({tuple(names(packed)) for packed in sets}) == 1
    assert len(sets[0]) == {0: 18, 4: 12, 2: 9, 1: 15}[len(subset)]


def test_the_tars_that_are_read_are_recorded_and_the_others_are_not_even_opened(
    imagenet: Path, tmp_path: Path, photographs: Files
) -> None:
    options = PrepareOptions(subset=("dogs", "cats"))
    packed = prepare("imagenet", tmp_path / "one", options, from_folder=imagenet)
    assert packed.about["provenance"]["options"]["subset"] == ["dogs", "cats"]
    assert [file["name"] for file in packed.about["provenance"]["files"]] == [TRAIN]
    tars = tmp_path / "tars"
    tars.mkdir()
    for wnid in ("n02085620", "n02123045"):
        members = {name.partition("/")[2]: c for name, c in photographs.items() if name.startswith(wnid)}
        (tars / f"{wnid}.tar").write_bytes(tar(members))
    (tars / "n03126707.tar").write_bytes(b"damaged" * 1000)
    again = prepare("imagenet", tmp_path / "many", options, from_folder=tars)
    assert again.fingerprint == packed.fingerprint
    files = [file["name"] for file in again.about["provenance"]["files"]]
    assert files == ["n02085620.tar", "n02123045.tar"]
    with pytest.raises(DataError, match=r"n03126707.tar' is damaged or cut off"):
        prepare("imagenet", tmp_path / "all", from_folder=tars)


def test_the_names_given_are_the_classes_in_their_order_where_that_is_asked_for(
    imagenet: Path, tmp_path: Path
) -> None:
    options = PrepareOptions(subset=("fish", "cats", "dogs"), classes="subset")
    packed = prepare("imagenet", tmp_path / "set", options, from_folder=imagenet)
    assert packed.classes == ("fish", "cats", "dogs")
    assert packed.labels is not None
    assert packed.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert names(packed)[0] == "fish/n01443537_1.JPEG"
    overlapping = PrepareOptions(subset=("cats", "feline"), classes="subset")
    with pytest.raises(DataError, match="is below both 'cats' and 'feline'"):
        prepare("imagenet", tmp_path / "no", overlapping, from_folder=imagenet)
    one = prepare("imagenet", tmp_path / "one", PrepareOptions(subset=("dogs",)), from_folder=imagenet)
    assert (len(one), one.classes) == (3, ())


def test_a_name_below_which_nothing_is_there_is_told(imagenet: Path, tmp_path: Path) -> None:
    report = dry_run("imagenet", PrepareOptions(subset=("dogs", "birds"), size=32), from_folder=imagenet)
    assert (report["kept"], report["class_counts"]) == (3, {})
    assert report["notes"] == [f"'{imagenet}' has no images below 'birds'"]
    with pytest.raises(DataError, match="has no images of ImageNet below birds for --split train"):
        prepare("imagenet", tmp_path / "set", PrepareOptions(subset=("birds",)), from_folder=imagenet)
    with pytest.raises(UnknownNameError, match="did you mean 'bird'"):
        prepare("imagenet", tmp_path / "set", PrepareOptions(subset=("birdz",)), from_folder=imagenet)


def test_what_is_unpacked_for_validation_is_the_split_for_testing(
    tmp_path: Path, photographs: Files, picture: Picture, as_folder: Make, as_zip: Make
) -> None:
    files = {f"train/{name}": content for name, content in photographs.items()}
    files |= {f"val/{wnid}/ILSVRC2012_val_{k}.JPEG": picture(200 + k) for k, wnid in enumerate(SYNSETS)}
    files |= {f"test/ILSVRC2012_test_{k}.JPEG": picture(300 + k) for k in range(2)}
    folder, archive = as_folder(files), as_zip(files)
    (tmp_path / "published" / "val").parent.mkdir()
    (folder / "val").rename(tmp_path / "published" / "val")
    (tmp_path / "published" / TRAIN).write_bytes(tar_of_tars(photographs))
    for split, count in (("train", 18), ("test", 6), ("all", 24)):
        sources = [archive, tmp_path / "published"]
        reports = [dry_run("imagenet", PrepareOptions(split=split), from_folder=at) for at in sources]
        assert [(report["kept"], report["dropped"]) for report in reports] == [(count, {})] * 2


def test_a_corrupt_image_in_a_tar_in_the_tar_is_dropped_with_its_reason(
    tmp_path: Path, photographs: Files
) -> None:
    name = "n02123045/n02123045_12.JPEG"
    photographs[name] = photographs[name][:300]
    (tmp_path / TRAIN).write_bytes(tar_of_tars(photographs))
    options = PrepareOptions(subset=("cats", "dogs"), max_bad=0.2)
    packed = prepare("imagenet", tmp_path / "set", options, from_folder=tmp_path / TRAIN)
    assert packed.about["report"]["dropped"] == {"broken": 1}
    assert packed.about["report"]["examples"]["broken"][0]["name"] == "n02123045-tabby/n02123045_12.JPEG"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: content[:-20_000], "damaged or cut off"),
        (gzip.compress, "compressed tar of tars"),
        (lambda content: b"", "cannot be read as a"),
    ],
)
def test_a_damaged_or_compressed_tar_is_told_in_a_sentence(
    imagenet: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], words: str
) -> None:
    (imagenet / TRAIN).write_bytes(spoil((imagenet / TRAIN).read_bytes()))
    for given in (imagenet, imagenet / TRAIN):
        with pytest.raises(DataError, match=words):
            prepare("imagenet", tmp_path / "set", from_folder=given)
    assert not (tmp_path / "set").exists()


def test_images_outside_of_every_synset_are_dropped_with_that_reason(
    tmp_path: Path, photographs: Files, picture: Picture, as_folder: Make
) -> None:
    source = as_folder({**photographs, "holiday/a.jpg": picture(99)})
    assert dry_run("imagenet", from_folder=source)["dropped"] == {"no synset": 1}


def test_so_many_synsets_are_drawn_by_the_seed_and_from_every_layout_alike(
    imagenet: Path, tmp_path: Path, photographs: Files, as_folder: Make, as_zip: Make
) -> None:
    below_train = {f"train/{name}": content for name, content in photographs.items()}
    sources = [imagenet, imagenet / TRAIN, as_folder(below_train), as_zip(below_train)]
    for subset, seed in (((), 0), (("animals",), 3)):
        options = PrepareOptions(size=8, subset=subset, class_count=3, seed=seed)
        sets = [
            prepare("imagenet", tmp_path / f"{seed}-{n}", options, from_folder=at)
            for n, at in enumerate(sources)
        ]
        assert len({packed.fingerprint for packed in sets}) == 1
        assert len({packed.classes for packed in sets}) == 1
        assert (len(sets[0]), len(sets[0].classes)) == (9, 3)
        assert sets[0].about["provenance"]["options"]["class_count"] == 3
    drawn = [
        tuple(
            dry_run("imagenet", PrepareOptions(class_count=3, seed=seed), from_folder=imagenet)[
                "class_counts"
            ]
        )
        for seed in range(8)
    ]
    assert len(set(drawn)) > 1
    assert "n03126707-crane" not in sets[0].classes  # it is no animal


def test_more_synsets_than_there_are_and_two_ways_to_make_classes_are_refused(
    imagenet: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="--class-count is 100, but there are images of 6 synsets"):
        prepare("imagenet", tmp_path / "set", PrepareOptions(class_count=100), from_folder=imagenet)
    with pytest.raises(DataError, match="--class-count draws synsets, but with --classes subset"):
        PrepareOptions(subset=("dogs", "cats"), classes="subset", class_count=2)
    with pytest.raises(DataError, match="--class-count is for imagenet, but SOURCE is 'digits'"):
        prepare("digits", tmp_path / "set", PrepareOptions(class_count=2))


def test_a_name_that_is_to_be_a_class_and_has_no_images_is_refused_and_renumbers_none(
    imagenet: Path, tmp_path: Path
) -> None:
    options = PrepareOptions(subset=("dogs", "birds", "cats"), classes="subset")
    with pytest.raises(DataError, match=r"has no images below birds .* leave it out of --subset"):
        prepare("imagenet", tmp_path / "set", options, from_folder=imagenet)
    with pytest.raises(DataError, match="below birds"):
        dry_run("imagenet", options, from_folder=imagenet)
    assert not (tmp_path / "set").exists()


def kaggle(photographs: Files, picture: Picture) -> Files:
    """The files of Kaggle's Object Localization Challenge: annotations, flat val and test, a table."""
    top = "ILSVRC/Data/CLS-LOC"
    files = {f"{top}/train/{name}": content for name, content in photographs.items()}
    files |= {f"{top}/val/ILSVRC2012_val_{k:08d}.JPEG": picture(200 + k) for k in range(6)}
    files |= {f"{top}/test/ILSVRC2012_test_{k:08d}.JPEG": picture(300 + k) for k in range(2)}
    files |= {f"ILSVRC/Annotations/CLS-LOC/train/{name[:-5]}.xml": b"<annotation/>" for name in photographs}
    files["ILSVRC/ImageSets/CLS-LOC/val.txt"] = b"ILSVRC2012_val_00000000 1\n"
    lines = [f"ILSVRC2012_val_{k:08d},{wnid} 1 2 3 4 {wnid} 5 6 7 8 " for k, wnid in enumerate(SYNSETS)]
    files["LOC_val_solution.csv"] = "\n".join(["ImageId,PredictionString", *reversed(lines)]).encode() + b"\n"
    files["LOC_synset_mapping.txt"] = b"n01440764 tench, Tinca tinca\n"
    return files


def test_kaggle_s_folders_and_its_zip_are_the_same_set_with_the_classes_of_its_table(
    imagenet: Path, tmp_path: Path, photographs: Files, picture: Picture, as_folder: Make, as_zip: Make
) -> None:
    files = kaggle(photographs, picture)
    folder, archive = as_folder(files, "kaggle"), as_zip(files)
    published = prepare("imagenet", tmp_path / "published", from_folder=imagenet)
    for number, source in enumerate((folder, archive, folder / "ILSVRC" / "Data" / "CLS-LOC")):
        train = prepare("imagenet", tmp_path / f"train{number}", from_folder=source)
        assert train.fingerprint == published.fingerprint
        assert train.about["report"]["dropped"] == {}
        test = prepare(
            "imagenet", tmp_path / f"test{number}", PrepareOptions(split="test"), from_folder=source
        )
        assert (len(test), test.about["report"]["dropped"]) == (6, {})
        assert test.classes == published.classes
        found = dict(line.split("/") for line in reversed(names(test)))
        assert found == {
            f"{wnid}-{word}": f"ILSVRC2012_val_{k:08d}.JPEG" for k, (wnid, word) in enumerate(SYNSETS.items())
        }


def test_an_image_for_validation_that_kaggle_s_table_lacks_is_dropped_with_that_reason(
    photographs: Files, picture: Picture, as_folder: Make
) -> None:
    files = kaggle(photographs, picture)
    del files["LOC_val_solution.csv"]
    folder = as_folder(files, "kaggle")
    report = dry_run("imagenet", PrepareOptions(split="test"), from_folder=folder)
    assert report["dropped"] == {"no synset": 6}
    assert "LOC_val_solution.csv does not list it" in report["examples"]["no synset"][0]["detail"]
    (folder / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\nILSVRC2012_val_00000000,dog 1 2\n"
    )
    with pytest.raises(DataError, match="has a line without a wnid"):
        dry_run("imagenet", PrepareOptions(split="test"), from_folder=folder)
