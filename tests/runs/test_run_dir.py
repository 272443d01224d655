"""A run's folder: its log survives a crash, and it never grows inside another folder."""

import pytest

from kennel.errors import RunError
from kennel.recipes import get_recipe
from kennel.runs.run_dir import RunDir

ABOUT = {"data": {"fingerprint": "abc", "path": "x", "classes": []}}


def begun(path) -> RunDir:
    folder = RunDir(path / "run")
    folder.begin(get_recipe("digits"), ABOUT)
    return folder


def test_what_is_begun_can_be_read_back(tmp_path):
    folder = begun(tmp_path)
    assert folder.exists()
    assert folder.recipe() == get_recipe("digits")
    assert folder.about() == ABOUT
    assert len(folder.fingerprint()) == 16


def test_a_line_that_a_crash_cut_off_is_left_out_and_rewinding_drops_what_comes_after(tmp_path):
    folder = begun(tmp_path)
    for images in (64, 128, 192):
        folder.append_log({"images": images, "loss": 0.5})
    with folder.log_file.open("a") as file:
        file.write('{"images": 256, "lo')
    assert [line["images"] for line in folder.log()] == [64, 128, 192]
    folder.rewind_log(128)
    assert [line["images"] for line in folder.log()] == [64, 128]
    assert folder.log_file.read_text().endswith("\n")


def test_a_nan_never_enters_the_log(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        begun(tmp_path).append_log({"images": 1, "loss": float("nan")})


def test_a_folder_with_other_files_and_a_file_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    with pytest.raises(RunError, match="has files but is not a run"):
        RunDir(tmp_path / "mine").begin(get_recipe("digits"), ABOUT)
    with pytest.raises(RunError, match="is a file"):
        RunDir(tmp_path / "mine" / "photo.jpg").begin(get_recipe("digits"), ABOUT)


def test_a_folder_that_is_no_run_is_refused_with_the_command(tmp_path):
    with pytest.raises(RunError, match="kennel train"):
        RunDir(tmp_path).recipe()
    with pytest.raises(RunError, match="kennel train"):
        RunDir(tmp_path).about()


def test_a_beginning_that_was_killed_can_be_begun_again(tmp_path):
    folder = begun(tmp_path)
    folder.about_file.unlink()
    folder.begin(get_recipe("digits"), ABOUT)
    assert folder.exists()
