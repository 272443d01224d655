import io
import json
import os
import random
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.data.dataset import ImageDataset, set_fingerprint
from kennel.data.prepare.pipeline import dry_run, prepare
from kennel.data.sources.decode import decode
from kennel.data.sources.options import PrepareOptions, parse_aspect
from kennel.errors import DataError, UnknownNameError

Picture = Callable[..., bytes]
Make = Callable[..., Path]

ANY_BAD = PrepareOptions(max_bad=1.0, size=16)


def annotation(width: int, height: int, *boxes: tuple[int, int, int, int]) -> bytes:
    edges = ("xmin", "ymin", "xmax", "ymax")
    objects = "".join(
        "<object><bndbox>"
        + "".join(f"<{edge}>{value}</{edge}>" for edge, value in zip(edges, box, strict=True))
        + "</bndbox></object>"
        for box in boxes
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{size}{objects}</annotation>".encode()


def three_classes(picture: Picture) -> dict[str, bytes]:
    files = {
        f"{breed}/{n}.png": picture(10 * b + n) for b, breed in enumerate(("b", "a c", "a")) for n in range(7)
    }
    shuffled = list(files.items())
    random.Random(0).shuffle(shuffled)
    return dict(shuffled)


def dropped(packed: ImageDataset) -> dict[str, int]:
    counts: dict[str, int] = packed.about["report"]["dropped"]
    return counts


def test_a_folder_a_zip_and_every_tar_of_the_same_files_are_the_same_set(
    tmp_path: Path, picture: Picture, as_folder: Make, as_zip: Make, as_tar: Make
) -> None:
    files = three_classes(picture)
    below = {f"./top/{name}": content for name, content in files.items()}
    sources = [
        as_folder(files),
        as_zip(files),
        as_zip(below, "below.zip"),
        as_tar(files),
        as_tar(below, "t.tar.gz"),
    ]
    sources += [as_tar(files, "t.tar.bz2"), as_tar(files, "t.tar.xz")]
    sets = [prepare(source, tmp_path / f"set{n}") for n, source in enumerate(sources)]
    assert len({packed.fingerprint for packed in sets}) == 1
    assert sets[0].classes == ("a", "a c", "b")
    assert sets[0].shape == (3, 64, 64)
    assert sets[0].labels is not None
    assert sets[0].labels.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    names = (sets[0].path / "names.txt").read_text().splitlines()
    assert names == [f"{breed}/{n}.png" for breed in ("a", "a c", "b") for n in range(7)]


def test_the_packed_set_does_not_depend_on_the_number_of_workers(
    tmp_path: Path, picture: Picture, as_zip: Make
) -> None:
    source = as_zip({f"{n % 3}/{n}.png": picture(n % 90, 20, 22) for n in range(150)})
    sets = [prepare(source, tmp_path / str(n), PrepareOptions(workers=n, size=8)) for n in (1, 2, 5)]
    assert len({packed.fingerprint for packed in sets}) == 1
    assert len({(packed.path / "dropped.jsonl").read_text() for packed in sets}) == 1
    assert dropped(sets[0]) == {"duplicate": 60}


def test_dataset_json_tells_what_was_done(tmp_path: Path, picture: Picture, as_zip: Make) -> None:
    source = as_zip(
        {"cat/a.png": picture(1), "dog/b.png": picture(2), "dog/c.png": picture(3), "dog/read.me": b""}
    )
    packed = prepare(source, tmp_path / "set", PrepareOptions(aspect=parse_aspect("0.8:1.25")))
    about = packed.about
    assert (about["count"], about["size"], about["channels"]) == (3, 64, 3)
    assert (about["classes"], about["class_counts"]) == (["cat", "dog"], [1, 2])
    assert about["fingerprint"] == set_fingerprint(packed.images, packed.labels, packed.classes)
    assert about["provenance"]["options"]["aspect"] == ["4/5", "5/4"]
    assert len(about["provenance"]["files"][0]["sha256"]) == 64
    assert (about["report"]["seen"], about["report"]["kept"], about["report"]["ignored"]) == (3, 3, 1)
    assert sum(about["report"]["aspect"]["before"]) == 3
    assert sorted(file.name for file in packed.path.iterdir()) == [
        "dataset.json", "dropped.jsonl", "images.npy", "labels.npy", "names.txt"
    ]  # fmt: skip


def test_pixels_that_need_no_resizing_arrive_unchanged(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    content = picture(4, 64, 64)
    packed = prepare(as_folder({"a.png": content}), tmp_path / "set")
    assert np.array_equal(packed.images[0].transpose(1, 2, 0), np.asarray(decode(content)))
    assert packed.labels is None
    assert packed.classes == ()


def test_misbehaving_files_are_decoded_rightly_or_dropped_with_their_reason(
    tmp_path: Path, picture: Picture, as_folder: Make, png_header: Callable[[int, int], bytes]
) -> None:
    jpeg = picture(1, 64, 64, "JPEG")
    files = {
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "empty.jpg": b"",
        "letter.jpg": b"Dear Sir or Madam",
        "bomb.png": png_header(20_000, 20_000),
        "one.png": picture(2, 1, 1),
        "cmyk.jpg": picture(3, 30, 30, "JPEG", "CMYK"),
        "palette.gif": picture(4, 30, 30, "GIF"),
        "alpha.png": picture(5, 30, 30, "PNG", "RGBA"),
        "犬 и ñ 🐕.png": picture(6),
        "line\nbreak.png": picture(7),
        "copy of line break.png": picture(7),
        "notes.txt": b"not an image by name",
        ".hidden.png": picture(8),
        "__MACOSX/._one.png": b"resource fork",
        "Thumbs.db": b"",
    }
    folder = as_folder(files)
    (folder / "loop").symlink_to(folder)
    (folder / "out.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "round.png").symlink_to(folder / "round.png")
    os.mkfifo(folder / "pipe.png")
    packed = prepare(folder, tmp_path / "set", ANY_BAD)
    assert dropped(packed) == {
        "broken": 3,
        "link": 3,
        "too many pixels": 1,
        "not a regular file": 1,
        "duplicate": 1,
        "too small": 1,
    }
    assert packed.about["report"]["ignored"] == 1
    assert packed.about["report"]["seen"] == len(packed) + 10
    names = (packed.path / "names.txt").read_text("utf-8").splitlines()
    assert len(names) == len(packed) == 5
    assert "犬 и ñ 🐕.png" in names
    reasons = [json.loads(line) for line in (packed.path / "dropped.jsonl").read_text("utf-8").splitlines()]
    assert {entry["name"]: entry["detail"] for entry in reasons}["empty.jpg"] == "the file is empty"


def test_names_that_are_not_unicode_are_taken(tmp_path: Path, picture: Picture) -> None:
    folder = os.fsencode(tmp_path / "source")
    os.mkdir(folder)  # noqa: PTH102 - pathlib has no names of bytes
    with open(os.path.join(folder, b"caf\xe9.png"), "wb") as file:  # noqa: PTH118, PTH123
        file.write(picture(1))
    packed = prepare(tmp_path / "source", tmp_path / "set")
    assert (packed.path / "names.txt").read_text("utf-8") == "caf\\udce9.png\n"


def test_tar_members_that_climb_out_are_dropped_and_nothing_is_written_outside(
    tmp_path: Path, picture: Picture
) -> None:
    (tmp_path / "room").mkdir()
    source = tmp_path / "room" / "evil.tar"
    with tarfile.open(source, "w") as archive:
        for name in ("../climbed.png", "/tmp/kennel-climbed.png", "a/../../climbed.png", "good/a.png"):
            info = tarfile.TarInfo(name)
            content = picture(1)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind in (
            ("s.png", tarfile.SYMTYPE),
            ("h.png", tarfile.LNKTYPE),
            ("d.png", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(f"good/{name}")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    packed = prepare(source, tmp_path / "room" / "set", ANY_BAD)
    assert dropped(packed) == {"unsafe path": 3, "link": 2, "not a regular file": 1}
    assert len(packed) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["room"]
    assert sorted(path.name for path in (tmp_path / "room").iterdir()) == ["evil.tar", "set"]
    assert not Path("/tmp/kennel-climbed.png").exists()


def test_zip_members_that_climb_out_lie_or_are_damaged_are_dropped(
    tmp_path: Path, picture: Picture, as_zip: Make
) -> None:
    source = as_zip(
        {"../out.png": picture(1), "C:\\out.png": picture(1), "a\\b.png": picture(2), "c/d.png": picture(3)}
    )
    with zipfile.ZipFile(source, "a") as archive:
        link = zipfile.ZipInfo("a/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a/flip.png", picture(9))
    content = bytearray(source.read_bytes())
    place = bytes(content).index(b"a/flip.png") + len("a/flip.png") + 60
    content[place] ^= 255
    source.write_bytes(bytes(content))
    packed = prepare(source, tmp_path / "set", ANY_BAD)
    assert dropped(packed) == {"unsafe path": 2, "link": 1, "broken": 1}
    assert packed.classes == ("a", "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "source.zip"]


def test_too_many_bad_files_stop_the_run_and_leave_nothing(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    files = {f"{n}.png": picture(n) for n in range(18)} | {"x.jpg": b"no", "y.jpg": b"no"}
    folder = as_folder(files)
    with pytest.raises(DataError, match=r"more than 5% of the files are bad \(2 broken, of 20 files"):
        prepare(folder, tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
    assert len(prepare(folder, tmp_path / "set", PrepareOptions(max_bad=0.1))) == 18


def test_what_the_user_filters_out_is_not_bad(tmp_path: Path, picture: Picture, as_folder: Make) -> None:
    files = {f"{n}.png": picture(n, 20, 40) for n in range(9)} | {"square.png": picture(20, 30, 30)}
    packed = prepare(as_folder(files), tmp_path / "set", PrepareOptions(aspect=parse_aspect("4/5:5/4")))
    assert dropped(packed) == {"aspect": 9}


def test_an_interrupt_leaves_nothing_under_the_name(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    folder = as_folder({f"{n}.png": picture(n) for n in range(40)})

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    for workers in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, tmp_path / "set", PrepareOptions(workers=workers), interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_progress_counts_every_picture(tmp_path: Path, picture: Picture, as_folder: Make) -> None:
    seen: list[tuple[int, int]] = []
    folder = as_folder({f"{n}.png": picture(n) for n in range(40)})
    prepare(folder, tmp_path / "set", None, lambda done, total: seen.append((done, total)))
    assert seen == [(16, 40), (32, 40), (40, 40)]


def test_an_existing_set_is_replaced_only_when_told_and_only_when_the_new_one_is_whole(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    folder = as_folder({"a.png": picture(1)})
    old = prepare(folder, tmp_path / "set").fingerprint
    (folder / "a.png").write_bytes(b"spoilt")
    with pytest.raises(DataError, match="--overwrite"):
        prepare(folder, tmp_path / "set")
    with pytest.raises(DataError, match="bad"):
        prepare(folder, tmp_path / "set", overwrite=True)
    assert ImageDataset(tmp_path / "set").fingerprint == old
    (folder / "a.png").write_bytes(picture(2))
    assert prepare(folder, tmp_path / "set", overwrite=True).fingerprint != old


def test_a_folder_that_is_no_packed_set_is_never_replaced(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    folder = as_folder({"a.png": picture(1)})
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="not a packed set"):
        prepare(folder, tmp_path / "home", overwrite=True)
    with pytest.raises(DataError, match="inside SOURCE"):
        prepare(folder, folder / "set")
    with pytest.raises(DataError, match="inside DEST"):
        prepare(folder / "a.png", folder, overwrite=True)
    assert (tmp_path / "home" / "letter.txt").exists()


def test_what_cannot_be_a_source_is_told_in_one_sentence(
    tmp_path: Path, as_folder: Make, as_tar: Make
) -> None:
    empty = as_folder({"notes.txt": b"x"})
    (tmp_path / "plain.tar").write_bytes(b"not a tar" * 1000)
    cut = as_tar({f"{n}.png": bytes(5000) for n in range(9)}, "cut.tar.gz")
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(DataError, match="has no images"):
        prepare(empty, tmp_path / "set")
    for source in (tmp_path / "plain.tar", cut, tmp_path / "absent" / "x"):
        with pytest.raises(DataError):
            prepare(source, tmp_path / "set")
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        prepare("digit", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_tar_that_was_cut_off_is_refused(tmp_path: Path, picture: Picture, as_tar: Make) -> None:
    source = as_tar({f"{n}.png": picture(n, 60, 60) for n in range(9)})
    source.write_bytes(source.read_bytes()[:20_000])
    with pytest.raises(DataError, match=r"damaged|bad"):
        prepare(source, tmp_path / "set")


def test_a_tar_with_a_damaged_header_in_the_middle_is_refused_and_not_cut_short(
    tmp_path: Path, picture: Picture, as_tar: Make
) -> None:
    source = as_tar({f"{n}.png": picture(n) for n in range(9)})
    content = bytearray(source.read_bytes())
    place = bytes(content).index(b"5.png\0")
    content[place : place + 200] = b"x" * 200
    source.write_bytes(bytes(content))
    with pytest.raises(DataError, match="damaged"):
        prepare(source, tmp_path / "set")


def test_boxes_are_cropped_in_stored_pixels_and_clipped_to_the_image(tmp_path: Path, as_zip: Make) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    files = {"Images/dog/1.png": stream.getvalue(), "Images/dog/2.png": stream.getvalue()}
    files |= {"Annotation/dog/1": annotation(80, 50, (10, 20, 26, 36), (64, 34, 90, 70))}
    source = as_zip(files)
    packed = prepare(source, tmp_path / "first", PrepareOptions(crop="box", size=16))
    assert np.array_equal(packed.images[0], pixels[20:36, 10:26].transpose(2, 0, 1))
    assert dropped(packed) == {"no annotation": 1}
    both = prepare(source, tmp_path / "all", PrepareOptions(crop="box", boxes="all", size=16))
    assert np.array_equal(both.images[1], pixels[34:50, 64:80].transpose(2, 0, 1))
    assert (both.path / "names.txt").read_text().split() == ["dog/1.png#0", "dog/1.png#1"]


def test_an_annotation_that_does_not_fit_is_a_bad_file(
    tmp_path: Path, picture: Picture, as_zip: Make
) -> None:
    source = as_zip(
        {
            "Images/dog/fits.png": picture(1, 40, 40),
            "Images/dog/other.png": picture(2, 40, 40),
            "Images/dog/outside.png": picture(3, 40, 40),
            "Images/dog/torn.png": picture(4, 40, 40),
            "Images/dog/bare.png": picture(5, 40, 40),
            "Annotation/dog/fits": annotation(40, 40, (0, 0, 30, 30)),
            "Annotation/dog/other": annotation(500, 375, (0, 0, 300, 300)),
            "Annotation/dog/outside": annotation(40, 40, (50, 50, 60, 60)),
            "Annotation/dog/torn": b"<annotation><size>",
            "Annotation/dog/bare": annotation(40, 40),
        }
    )
    packed = prepare(source, tmp_path / "set", PrepareOptions(crop="box", max_bad=0.5))
    assert dropped(packed) == {"no annotation": 1, "annotation does not fit": 1, "empty box": 1, "broken": 1}
    whole = prepare(source, tmp_path / "whole")
    assert len(whole) == 5
    assert "--crop box" in whole.about["report"]["notes"][0]


def test_annotations_alone_can_be_rehearsed_and_not_prepared(tmp_path: Path, as_tar: Make) -> None:
    source = as_tar(
        {
            "Annotation/dog/border": annotation(500, 500, (0, 0, 80, 100)),
            "Annotation/dog/beyond": annotation(500, 500, (0, 0, 79, 100)),
            "Annotation/dog/small": annotation(500, 500, (0, 0, 63, 64)),
        },
        "boxes.tar.gz",
    )
    options = PrepareOptions(crop="box", aspect=parse_aspect("0.8:1.25"), min_side=64)
    report = dry_run(source, options)
    assert (report["seen"], report["kept"]) == (3, 1)
    assert report["dropped"] == {"aspect": 1, "too small": 1}
    assert report["class_counts"] == {"dog": 1}
    with pytest.raises(DataError, match="--dry-run"):
        prepare(source, tmp_path / "set", options)


def test_a_rehearsal_keeps_what_the_run_keeps(tmp_path: Path, picture: Picture, as_folder: Make) -> None:
    folder = as_folder({f"{n % 2}/{n}.png": picture(n, 20 + n, 30) for n in range(20)})
    options = PrepareOptions(aspect=parse_aspect("0.8:1.25"), min_side=26)
    report = dry_run(folder, options)
    packed = prepare(folder, tmp_path / "set", options)
    assert report["dropped"] == dropped(packed)
    assert list(report["class_counts"].values()) == packed.about["class_counts"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "source"]


def test_the_known_count_of_stanford_dogs(shared_data: Path) -> None:
    source = shared_data / "stanford_dogs" / "annotations.tar.gz"
    options = PrepareOptions(crop="box", aspect=parse_aspect("0.8:1.25"), min_side=64)
    report = dry_run(source, options)
    assert (report["seen"], report["kept"]) == (20_580, 9_071)


def test_the_photograph_that_the_competition_lacks_is_one_of_the_kept(
    shared_data: Path, tmp_path: Path, as_tar: Make
) -> None:
    breed: dict[str, bytes] = {}
    with tarfile.open(shared_data / "stanford_dogs" / "annotations.tar.gz") as archive:
        for info in archive:
            if "n02105855" in info.name and info.isreg():
                stream = archive.extractfile(info)
                assert stream is not None
                breed[info.name] = stream.read()
    source = as_tar(breed)
    options = PrepareOptions(crop="box", aspect=parse_aspect("0.8:1.25"), min_side=64)
    kept = dry_run(source, options)["kept"]
    report = dry_run(source, replace(options, exclude=("n02105855_2933",)))
    assert (report["kept"], report["dropped"]["excluded"]) == (kept - 1, 1)


def test_real_photographs_are_cropped_to_their_boxes(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "stanford_dogs" / "frames_sample.tar"
    options = PrepareOptions(crop="box", aspect=parse_aspect("0.8:1.25"), limit=40, size=32)
    packed = prepare(source, tmp_path / "set", options)
    assert len(packed) == 40
    assert set(dropped(packed)) == {"aspect"}


def test_excluding_a_name_that_is_not_there_is_refused(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    folder = as_folder({"dog/a.png": picture(1), "cat/b.png": picture(2)})
    with pytest.raises(DataError, match=r"c\.png"):
        prepare(folder, tmp_path / "set", PrepareOptions(exclude=("c.png",)))
    for number, name in enumerate(("dog/a.png", "a.png", "a")):
        packed = prepare(folder, tmp_path / str(number), PrepareOptions(exclude=(name,)))
        assert dropped(packed) == {"excluded": 1}


def test_a_limit_draws_from_every_class_and_the_seed_decides(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    folder = as_folder({f"{n // 20}/{n}.png": picture(n) for n in range(80)})
    first, again, other = (
        prepare(folder, tmp_path / name, PrepareOptions(limit=24, seed=seed, size=8))
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert len(first) == 24
    assert len(first.classes) == 4
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_a_class_that_loses_all_its_images_is_no_class(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    folder = as_folder({"a/1.png": picture(1), "b/1.png": picture(2, 10, 90), "c/1.png": picture(3)})
    packed = prepare(folder, tmp_path / "set", PrepareOptions(aspect=parse_aspect("0.8:1.25")))
    assert packed.classes == ("a", "c")
    assert packed.labels is not None
    assert packed.labels.tolist() == [0, 1]


def test_images_beside_class_folders_take_the_classes_away_with_a_note(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    packed = prepare(as_folder({"a/1.png": picture(1), "2.png": picture(2)}), tmp_path / "set")
    assert packed.classes == ()
    assert "no classes" in packed.about["report"]["notes"][0]


def test_a_collection_is_grey_only_where_every_image_is(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    grey = {f"{n}.png": picture(n, 20, 20, "PNG", "L") for n in range(3)}
    grey["as rgb.png"] = picture(7, 20, 20, "PNG", "L")
    first = prepare(as_folder(grey, "grey"), tmp_path / "1", PrepareOptions(size=20))
    assert first.shape == (1, 20, 20)
    names = (first.path / "names.txt").read_text().splitlines()
    for index, name in enumerate(names):
        assert np.array_equal(first.images[index, 0], np.asarray(decode(grey[name])))
    folder = as_folder({**grey, "colour.png": picture(9)}, "mixed")
    assert prepare(folder, tmp_path / "2").shape == (3, 64, 64)
    assert prepare(folder, tmp_path / "3", PrepareOptions(color="grey")).shape == (1, 64, 64)
    assert prepare(as_folder(grey, "grey"), tmp_path / "4", PrepareOptions(color="rgb")).shape == (3, 64, 64)


def test_duplicates_are_dropped_and_can_be_kept(tmp_path: Path, picture: Picture, as_folder: Make) -> None:
    folder = as_folder({"a/1.png": picture(1), "b/2.png": picture(1), "b/3.png": picture(3)})
    packed = prepare(folder, tmp_path / "set")
    assert dropped(packed) == {"duplicate": 1}
    assert (packed.path / "names.txt").read_text().split() == ["a/1.png", "b/3.png"]
    assert len(prepare(folder, tmp_path / "all", PrepareOptions(keep_duplicates=True))) == 3


def test_twelve_bits_are_found_over_the_whole_set_and_said(tmp_path: Path, as_folder: Make) -> None:
    def deep(most: int) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(np.linspace(0, most, 256).reshape(16, 16).astype(np.uint16)).save(stream, "PNG")
        return stream.getvalue()

    folder = as_folder({f"{n}.png": deep(4095 if n == 7 else 100 + n) for n in range(20)})
    sets = [prepare(folder, tmp_path / str(n), PrepareOptions(size=16, workers=n)) for n in (1, 4)]
    assert sets[0].fingerprint == sets[1].fingerprint
    assert sets[0].images.max() == 255
    assert sets[0].images[0].max() == 100 >> 4
    said = "20 images have more than 8 bits: the whole set uses 12 bits: 0 became black and 4095 white"
    assert said in sets[0].about["report"]["notes"][0]
    given = prepare(folder, tmp_path / "given", PrepareOptions(size=16, levels=(0.0, 127.0)))
    assert given.images[0].max() == 200
    assert "as --range says" in given.about["report"]["notes"][0]


def test_transparent_pictures_are_counted_and_lie_on_the_background_that_is_asked_for(
    tmp_path: Path, as_folder: Make
) -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (16, 16), (9, 9, 9, 0)).save(stream, "PNG")
    folder = as_folder({"a.png": stream.getvalue()})
    packed = prepare(folder, tmp_path / "set", PrepareOptions(size=16, background=(255, 0, 0)))
    assert packed.images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert "1 images are transparent and were composited on #ff0000" in packed.about["report"]["notes"][0]


def test_what_nearly_all_decodes_of_is_kept_and_counted_and_half_a_picture_is_dropped(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    whole = [picture(n, 400, 400, "JPEG") for n in range(6)]
    files = {f"{n}.jpg": content[:-1] for n, content in enumerate(whole[:5])}
    folder = as_folder(files | {"half.jpg": whole[5][: len(whole[5]) // 2]})
    packed = prepare(folder, tmp_path / "set", ANY_BAD)
    assert (len(packed), dropped(packed)) == (5, {"broken": 1})
    assert "cut short: " in packed.about["report"]["examples"]["broken"][0]["detail"]
    assert "JPEGs are cut short and kept: at least 95%" in packed.about["report"]["notes"][0]


def test_every_file_that_is_not_read_is_named_with_its_reason_and_counted_by_kind(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    files = {"a.png": picture(1), "b.tga": picture(2, kind="TGA"), "c.ico": picture(3, kind="ICO")}
    files |= {
        "d.pcx": picture(4, kind="PCX"),
        "e.svg": b"<svg/>",
        "f.cr2": b"raw",
        "g.txt": b"",
        "h.txt": b"",
    }
    files |= {"i": b"", "no.html": b"<html>"}
    packed = prepare(as_folder(files), tmp_path / "set", ANY_BAD)
    assert len(packed) == 4
    lines = [json.loads(line) for line in (packed.path / "dropped.jsonl").read_text().splitlines()]
    assert sorted((line["name"], line["reason"]) for line in lines) == [
        ("e.svg", "format not read"),
        ("f.cr2", "format not read"),
        ("g.txt", "not an image"),
        ("h.txt", "not an image"),
        ("i", "not an image"),
        ("no.html", "not an image"),
    ]
    unread, ignored = packed.about["report"]["notes"]
    assert "2 files are of formats that are not read" in unread
    assert "1 SVG (" in unread
    assert "1 camera raw (" in unread
    assert ignored == (
        "4 files are ignored, since their names are not those of images: 2 .txt, 1 no suffix, 1 .html"
    )
    folder = as_folder({"a.svg": b"<svg/>"}, "drawings")
    with pytest.raises(DataError, match=r"no images of formats .* 'a\.svg', SVG: it has no pixels"):
        prepare(folder, tmp_path / "none")


def test_nothing_under_half_the_side_is_kept_by_default_unless_most_are_so_small(
    tmp_path: Path, picture: Picture, as_folder: Make
) -> None:
    files = {f"{n}.png": picture(n, 40, 60) for n in range(9)}
    folder = as_folder(files | {"tiny.png": picture(50, 1, 1), "low.png": picture(51, 90, 31)})
    packed = prepare(folder, tmp_path / "set")
    assert (len(packed), dropped(packed)) == (9, {"too small": 2})
    assert "2 images were dropped for a shorter side under 32" in packed.about["report"]["notes"][0]
    assert dry_run(folder)["dropped"] == {"too small": 2}
    assert len(prepare(folder, tmp_path / "all", PrepareOptions(min_side=0))) == 11
    small = as_folder({f"{n}.png": picture(n, 28, 28) for n in range(9)}, "small")
    enlarged = prepare(small, tmp_path / "small set")
    assert len(enlarged) == 9
    assert "most images have a shorter side under 32" in enlarged.about["report"]["notes"][0]
