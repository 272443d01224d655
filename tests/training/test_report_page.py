"""The page is there after the first validation, and a page that fails does not end the run."""

from pathlib import Path

from kennel.engine.observer import TrainObserver
from kennel.runs.run_dir import RunDir
from kennel.training import report_page
from kennel.training.run import train


class Hearing(TrainObserver):
    """Remembers what is logged, and at which ticks the page was there."""

    def __init__(self, folder: RunDir) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.pages: list[bool] = []

    def log(self, message: str) -> None:
        self.said.append(message)

    def on_tick(self, entry) -> None:
        self.pages.append(self.folder.report.is_file())


def test_the_page_is_written_after_each_validation_without_the_figures(
    small_recipe, packed_set, tmp_path: Path
):
    folder = RunDir(tmp_path / "run")
    hearing = Hearing(folder)
    recipe = small_recipe("validation.every_ticks=2")
    assert train(recipe, packed_set(), folder.path, observer=hearing)
    assert hearing.pages == [False, False, True, True]  # a tick's page follows its message
    page = folder.report.read_text()
    assert "128 images shown of a budget of 128 images" in page
    assert "stem, linear" in page
    assert not folder.curves.exists()


def test_a_page_that_cannot_be_written_is_logged_and_the_run_ends_well(
    small_recipe, packed_set, tmp_path: Path, monkeypatch
):
    def fail(*given: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(report_page, "write_page", fail)
    hearing = Hearing(RunDir(tmp_path / "run"))
    assert train(small_recipe("validation.every_ticks=2"), packed_set(), tmp_path / "run", observer=hearing)
    assert sum("report.html was not written (the disk is full)" in line for line in hearing.said) == 2
    assert not (tmp_path / "run" / "report.html").exists()


def test_runs_with_heavy_grids_and_without_validation_have_no_page_before_the_end(
    small_recipe, packed_set, tmp_path: Path, monkeypatch
):
    data = packed_set()
    assert train(small_recipe(), data, tmp_path / "none")
    assert not (tmp_path / "none" / "report.html").exists()
    monkeypatch.setattr("kennel.reporting.html.CHEAP_BYTES", 100)
    assert train(small_recipe("validation.every_ticks=2"), data, tmp_path / "heavy")
    assert not (tmp_path / "heavy" / "report.html").exists()
