"""The newest run of a folder of runs."""

import os

import pytest

from kennel.errors import RunError
from kennel.recipes import get_recipe
from kennel.runs.newest import newest_run
from kennel.runs.run_dir import RunDir


def test_the_run_whose_log_was_written_last_is_the_newest(tmp_path):
    for number, name in enumerate(("b", "a", "c")):
        run = RunDir(tmp_path / name)
        run.path.mkdir()
        run.begin(get_recipe("digits"), {"data": {"path": "set", "fingerprint": "f"}})
        os.utime(run.about_file, (number, number))
    (tmp_path / "no-run").mkdir()
    (tmp_path / "a-file").write_text("")
    assert newest_run(tmp_path) == tmp_path / "c"
    log = RunDir(tmp_path / "a").log_file
    log.write_text("")
    os.utime(log, (10, 10))
    assert newest_run(tmp_path) == tmp_path / "a"


def test_a_folder_without_runs_is_answered_with_the_way_to_make_one(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunError, match=r"there is no run in .* with `kennel train photos/`"):
            newest_run(folder)
