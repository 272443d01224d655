"""A name holds the old content or the new, never half."""

import os
from pathlib import Path

import pytest

from kennel.storage.atomic_io import atomic_file, atomic_folder, remove_partial_files, taken, write_text


def test_an_error_leaves_the_old_file_and_no_temporary_one(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def write_half() -> None:
        with atomic_file(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_appears_whole_and_makes_its_folder(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "déjà")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "déjà"


def test_an_interrupt_leaves_no_folder_behind(tmp_path):
    def write_half() -> None:
        with atomic_folder(tmp_path / "set") as folder:
            (folder / "images.npy").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_replaces_the_old_one_only_when_whole(tmp_path):
    target = tmp_path / "set"
    target.mkdir()
    (target / "old").touch()
    with atomic_folder(target) as folder:
        (folder / "new").touch()
        assert (target / "old").exists()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_sweep_takes_only_the_names_of_half_written_files(tmp_path):
    for name in (
        ".a.txt.12.part",
        ".b.safetensors.4711.part",
        ".a.part",
        "a.12.part",
        ".a.txt.x.part",
        "a.txt",
    ):
        (tmp_path / name).touch()
    (tmp_path / ".folder.12.part").mkdir()
    assert sorted(path.name for path in remove_partial_files(tmp_path)) == [
        ".a.txt.12.part",
        ".b.safetensors.4711.part",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.part",
        ".a.txt.x.part",
        ".folder.12.part",
        "a.12.part",
        "a.txt",
    ]
    assert remove_partial_files(tmp_path / "nowhere") == []


def test_a_link_where_the_temporary_file_goes_is_not_written_through(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / f".a.txt.{os.getpid()}.part").symlink_to("mine")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "mine").read_text() == "precious"
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system has no /proc")
def test_what_is_renamed_is_on_the_disk_before_and_its_folders_after(tmp_path, monkeypatch):
    happened = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor):
        happened.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    def renamed(self, target):
        happened.append("renamed")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_text(tmp_path / "new" / "folder" / "a.txt", "content")
    temporary = tmp_path / "new" / "folder" / f".a.txt.{os.getpid()}.part"
    assert happened[:2] == [tmp_path / "new", tmp_path]  # the folders that were made
    assert happened[2:] == [temporary, "renamed", tmp_path / "new" / "folder"]


def test_a_name_is_taken_once(tmp_path):
    assert taken(tmp_path / "new" / "one.json")
    assert not taken(tmp_path / "new" / "one.json")
