"""Pictures as they lie become a packed set in the cache, once."""

import shutil

import numpy as np
import pytest
from PIL import Image

from kennel.data.prepare.cached import Look, is_plain, look, prepared
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources.options import PrepareOptions


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))


def pictures(folder, sizes, first=0):
    """A folder of random colour PNGs of these (width, height)."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(sizes, first):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def test_the_side_is_the_one_that_nine_of_ten_pictures_have(tmp_path):
    folder = pictures(tmp_path / "photos", [(80, 70)] * 18 + [(10, 300)] + [(90, 72)])
    assert look(folder) == Look(20, 70)


def test_files_that_cannot_be_read_do_not_count_for_the_side(tmp_path):
    folder = pictures(tmp_path / "photos", [(80, 70)] * 3)
    (folder / "a.png").write_bytes(b"no picture")
    assert look(folder) == Look(4, 70)


def test_pictures_are_prepared_once_as_the_command_would(tmp_path):
    folder = pictures(tmp_path / "photos", [(40, 36)] * 5)
    packed, is_new = prepared(folder, 32)
    assert is_new
    assert packed.path.is_relative_to(tmp_path / "cache" / "prepared")
    by_command = prepare(folder, tmp_path / "by-command", PrepareOptions(size=32))
    assert packed.fingerprint == by_command.fingerprint
    again, is_new = prepared(folder, 32)
    assert (again.path, is_new) == (packed.path, False)
    other, is_new = prepared(folder, 64)
    assert is_new
    assert other.shape == (3, 64, 64)


def test_a_set_is_found_by_content_wherever_the_pictures_lie(tmp_path):
    folder = pictures(tmp_path / "photos", [(40, 36)] * 5)
    packed, _ = prepared(folder, 32)
    moved = shutil.copytree(folder, tmp_path / "moved")
    again, is_new = prepared(moved, 32)
    assert (again.path, is_new) == (packed.path, False)


def test_pictures_that_were_added_renamed_or_changed_make_another_set(tmp_path):
    folder = pictures(tmp_path / "photos", [(40, 36)] * 5)
    places = {prepared(folder, 32)[0].path}
    pictures(folder, [(40, 36)], first=5)
    places.add(prepared(folder, 32)[0].path)
    (folder / "000.png").rename(folder / "zzz.png")
    places.add(prepared(folder, 32)[0].path)
    pictures(folder, [(41, 36)], first=5)
    places.add(prepared(folder, 32)[0].path)
    assert len(places) == 4


def test_a_damaged_set_in_the_cache_is_made_again(tmp_path):
    folder = pictures(tmp_path / "photos", [(40, 36)] * 5)
    packed, _ = prepared(folder, 32)
    (packed.path / "images.npy").write_bytes(b"")
    again, is_new = prepared(folder, 32)
    assert is_new
    assert again.fingerprint == packed.fingerprint


def test_what_is_plain_and_what_is_not(tmp_path, packed_set):
    folder = pictures(tmp_path / "photos", [(8, 8)])
    assert is_plain(folder)
    assert is_plain(folder / "000.png")  # what it is, `prepare` says
    assert not is_plain(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert not is_plain(tmp_path / "empty")
    packed = packed_set()
    assert not is_plain(packed)
    (packed / "dataset.json").unlink()
    assert not is_plain(packed)  # a damaged set is told of as before
    run = pictures(tmp_path / "run", [(8, 8)])
    (run / "run.json").write_text("{}")
    assert not is_plain(run)
