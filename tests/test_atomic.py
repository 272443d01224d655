"""A name holds the old content or the new, never half."""

import pytest

from kennel.atomic import atomic_file, atomic_folder, write_text


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
