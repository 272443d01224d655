"""The page holds all that it shows, says what it is, and believes nothing that a name says."""

import base64
import io
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.config.recipe import ImageConfig
from kennel.errors import RunError
from kennel.evaluation.score import Score, write_judgements
from kennel.images import save_png, tile
from kennel.recipes import get_recipe
from kennel.reporting import write_report
from kennel.reporting.html import progress_grids
from kennel.reporting.pictures import reduced
from kennel.runs.run_dir import RunDir

LogLine = Callable[..., dict[str, float | None]]
Judging = Callable[..., Score]


class Page(HTMLParser):
    """What a browser would find in the page: its elements, what they load, and its text."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.source = file.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        loading = ("src", "href", "srcset", "data", "action", "poster")
        found = [value or "" for name, value in attrs if name in loading]
        if tag == "a":  # a browser follows it on a click alone
            self.links += found
        else:
            self.loads += found

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def pictures(self) -> list[bytes]:
        prefix = "data:image/png;base64,"
        return [base64.b64decode(one.removeprefix(prefix), validate=True) for one in self.loads]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, make_trained: Callable[[Path], RunDir]) -> RunDir:
    """A trained run with its report: written once, for the tests that only read it."""
    folder = make_trained(tmp_path_factory.mktemp("written") / "run")
    assert write_report(folder) == folder.report
    return folder


def test_the_page_holds_each_grid_once_byte_for_byte(written: RunDir):
    page = Page(written.report)
    assert page.pictures() == [file.read_bytes() for file in progress_grids(written)]


def test_the_curves_are_drawings_in_the_page_with_the_schemes_colors_and_hover_values(written: RunDir):
    page = Page(written.report)
    assert page.elements.count("svg") >= 4
    assert "<title>31.2 at 16,000 images</title>" in page.source
    assert "var(--series-1, #0072B2)" in page.source
    assert "prefers-color-scheme: dark" in page.source


def test_links_are_relative_and_lead_to_every_file_of_the_run(written: RunDir):
    links = Page(written.report).links
    assert all(link.startswith("./") for link in links)
    assert all((written.path / link).is_file() for link in links)
    files = {path for path in written.path.rglob("*") if path.is_file() and path != written.report}
    assert {(written.path / link).resolve() for link in links} == {path.resolve() for path in files}


def test_the_newest_grid_is_chosen_and_every_snapshot_has_a_button(written: RunDir):
    source = Page(written.report).source
    assert source.count('type="radio"') == len(progress_grids(written)) == 4
    assert source.count(" checked>") == 1
    assert 'id="at-4" autocomplete="off" aria-label="24,000 images" title="24,000 images" checked' in source


def test_the_page_loads_nothing_and_runs_nothing(written: RunDir):
    page = Page(written.report)
    assert all(one.startswith("data:image/png;base64,") for one in page.loads)
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(page.elements)
    assert "url(" not in page.source
    assert "@import" not in page.source
    assert "default-src 'none'" in page.source


def test_the_page_says_that_a_gan_made_its_pictures(written: RunDir):
    text = Page(written.report).text
    assert "generative adversarial network (GAN)" in text
    assert "None of them is a photograph" in text


def test_the_page_tells_recipe_paper_data_and_commands(written: RunDir):
    text = Page(written.report).text
    recipe = written.recipe()
    for part in (recipe.name, recipe.paper, "1,797", "8 × 8, gray", "b1291caeee242b27", "torch 2.13.0"):
        assert part in text
    assert " ".join(recipe.to_yaml().split()) in text
    for command in ("kennel train", "kennel sample", "kennel judge", "--data /sets/digits"):
        assert command in text
    assert "At 24,000 images, 10% of a budget of 240,000 images" in text
    assert "Best: 31.2 at 16,000 images. Newest: 44.0." in text


def test_the_first_lines_are_the_score_and_the_next_command(
    trained: RunDir, judgement: Judging, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(trained.path.parent)
    text = Page(write_report(trained)).text
    assert "FID 21.5 · floor not measured 2,048 images, pixels features, at 24,000 images." in text
    assert (
        f"Next, in {trained.path.parent} kennel train run/recipe.yaml --data /sets/digits --out run" in text
    )
    details = {"real_v_real": 10.0, "real_v_real_count": 898}
    score = judgement("fid", 25.0).model_copy(update={"details": details, "interval": (24.0, 26.0)})
    write_judgements(trained.judgements / "two.json", [score])
    text = Page(write_report(trained)).text
    assert "FID 25 (24 to 26) · floor 10.0" in text
    assert "2.5 times the floor, which is the score of real images against real ones (898 a side" in text
    shutil.rmtree(trained.judgements)
    text = Page(write_report(trained)).text
    assert "FID 31.2 · floor not measured best validation, at 16,000 images" in text
    trained.append_log({"images": 400_000, "seconds": 9.0})
    assert "Next, in" in (text := Page(write_report(trained)).text)
    assert text.partition("Next, in")[2].split()[1:4] == ["kennel", "judge", "run"]


def test_alarms_are_numbered_where_they_rose(trained: RunDir):
    alarm = {"alarm": "falling_diversity", "saw": "x", "why": "y", "try": "z", "rollbacks": 0}
    for images in (8000, 16000):
        trained.append_alarm({"images": images, **alarm})
    page = Page(write_report(trained))
    assert "▲1 falling diversity at 8,000 images" in page.text
    assert page.source.count(">▲2</text>") >= 4
    assert "<title>Alarm at 16,000 images: falling diversity</title>" in page.source


def test_the_rows_of_a_conditional_run_have_the_numbers_and_names_of_its_classes(tmp_path: Path, run: RunDir):
    folder, about = RunDir(tmp_path / "classes"), run.about()
    classes = ["n02085620-Chihuahua", "n02085782-Japanese_spaniel", "cat"]
    data = {**about["data"], "classes": classes}
    folder.begin(get_recipe("cgan").model_copy(update={"num_classes": 3}), {**about, "data": data})
    save_png(folder.samples / "000000000100.png", tile(np.zeros((24, 1, 8, 8), np.uint8), 8))
    page = Page(write_report(folder))
    assert "0 Chihuahua 1 Japanese spaniel 2 cat" in page.text
    assert "3 classes, numbered as by kennel data show" in page.text


def test_layers_have_names(tmp_path: Path, run: RunDir):
    folder = RunDir(tmp_path / "named")
    shape = {"image": ImageConfig(size=8, channels=1), "num_classes": 0}
    folder.begin(get_recipe("digits").model_copy(update=shape), run.about())
    folder.append_spectra({"images": 0, "generator": {"stem": [2.0, 1.0]}, "discriminator": {"x.2": [1.0]}})
    text = Page(write_report(folder)).text
    assert "1 stem, linear 64→" in text
    assert "1 x" in text


def test_a_page_with_many_heavy_grids_stays_below_5_megabytes(run: RunDir):
    noise = np.random.default_rng(0).integers(0, 256, (700, 700, 3)).astype(np.uint8)
    for images in range(12):
        save_png(run.samples / f"{images:012d}.png", noise, {"Description": "made by a GAN"})
    page = write_report(run)
    assert 1_000_000 < page.stat().st_size < 5_000_000
    assert "data:image/jpeg" in page.read_text()


def test_a_hostile_name_is_text(tmp_path: Path, trained: RunDir):
    attack = '"><script>alert(1)</script><img src=http://example.org/x>'
    folder = RunDir(tmp_path / "hostile")
    folder.begin(get_recipe("digits").model_copy(update={"paper": attack, "name": attack}), trained.about())
    page = Page(write_report(folder))
    assert "script" not in page.elements
    assert page.loads == []
    assert all(link.startswith(("./", "../")) for link in page.links)
    assert attack in page.text
    assert "<b>two</b>" in page.text
    assert "b" not in page.elements


def test_a_run_that_has_just_begun_has_a_page(run: RunDir):
    page = Page(write_report(run))
    assert page.loads == []
    assert "nothing is logged yet" in page.text
    assert "Not judged yet" in page.text
    assert not run.curves.exists()


def test_one_line_without_validation_is_enough(run: RunDir, log_line: LogLine):
    run.append_log(log_line(400_000))
    page = Page(write_report(run))
    assert page.pictures() == []
    assert page.elements.count("svg") > 2
    assert "Finished: 400,000 images" in page.text
    assert "Validation" not in page.text


def test_judgements_of_one_protocol_share_a_table_that_tells_it(written: RunDir):
    page = Page(written.report)
    assert page.elements.count("table") == 1
    assert "Extractor pixels (weights sha256 abababab" in page.text
    assert "epsilon 0.1" in page.text
    assert "Do not compare" not in page.text


def test_two_protocols_never_share_a_table(trained: RunDir, judgement: Judging):
    write_judgements(trained.judgements / "two.json", [judgement("fid", 40.0, "mobilenet")])
    write_judgements(trained.judgements / "three.json", [judgement("fid", 50.0, sample_count=1000)])
    page = Page(write_report(trained))
    assert page.elements.count("table") == 3
    assert "Do not compare a number with one in another table" in page.text


def test_a_file_that_holds_no_judgement_is_named(trained: RunDir):
    (trained.judgements / "broken.json").write_text("{", encoding="utf-8")
    page = Page(write_report(trained))
    assert "judgements/broken.json is left out" in page.text
    assert page.elements.count("table") == 1


def test_grids_that_someone_sampled_are_no_progress(trained: RunDir):
    (trained.samples / "000000024000.png").rename(trained.samples / "seeds0-63.png")
    assert [file.stem for file in progress_grids(trained)] == ["000000000000", "000000008000", "000000016000"]


def test_many_grids_are_thinned_evenly_and_keep_both_ends(trained: RunDir):
    source = (trained.samples / "000000000000.png").read_bytes()
    for file in progress_grids(trained):
        file.unlink()
    for tick in range(21):
        (trained.samples / f"{tick * 1_000_000:012d}.png").write_bytes(source)
    trained.log_file.unlink()
    text = Page(write_report(trained)).text
    shown = [
        int(one.replace(",", "")) for one in re.findall(r"([\d,]+) images(?:: untrained)? , full size", text)
    ]
    assert shown == list(range(0, 20_000_001, 2_000_000))


def test_a_heavy_picture_is_scaled_down_and_still_says_what_it_is(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3)).astype(np.uint8)
    save_png(tmp_path / "heavy.png", noise, {"Description": "made by a GAN"})
    heavy = (tmp_path / "heavy.png").read_bytes()
    for limit in (90_000, 10_000):
        light = reduced(heavy, limit)
        assert len(light) <= limit < len(heavy)
        with Image.open(io.BytesIO(light)) as picture:
            picture.load()
            assert picture.format == "JPEG"
            assert picture.width / picture.height == pytest.approx(2 / 3, abs=0.02)
            assert b"made by a GAN" in picture.info["comment"]
    assert reduced(heavy) is heavy
    save_png(tmp_path / "gray.png", noise[:, :, 0], {"Description": "made by a GAN"})
    with Image.open(io.BytesIO(reduced((tmp_path / "gray.png").read_bytes(), 20_000))) as picture:
        picture.load()
        assert picture.info["Description"] == "made by a GAN"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="is not a run"):
        write_report(RunDir(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_page_shows_the_pictures_beside_its_judgements(trained: RunDir):
    pictures = {}
    for name in ("memorisation", "distances"):
        file = trained.judgements / f"one-{name}.png"
        save_png(file, np.full((4, 4), len(name), np.uint8))
        pictures[name] = file.read_bytes()
    write_report(trained)
    page = Page(trained.report)
    assert set(pictures.values()) <= set(page.pictures())
    assert "each next to its nearest training images, which are real" in page.text
    assert "judgements/one-memorisation.png" in page.text


def test_a_link_in_a_runs_folders_is_not_followed_into_the_page(tmp_path: Path, trained: RunDir) -> None:
    (tmp_path / "private").write_bytes(b"private words")
    png = io.BytesIO()
    Image.new("RGB", (3, 3), "#123456").save(png, "PNG")
    (tmp_path / "private.png").write_bytes(png.getvalue())
    for name, target in (("000000000001", "private"), ("000000000002", "private.png")):
        (trained.samples / f"{name}.png").symlink_to(tmp_path / target)
    (trained.samples / "000000000003.png").write_bytes(b"private words")
    (picture,) = [*trained.judgements.glob("*-distances.png")][:1] or [trained.judgements / "x-distances.png"]
    picture.unlink(missing_ok=True)
    picture.symlink_to(tmp_path / "private.png")
    page = write_report(trained).read_text(encoding="utf-8")
    for content in (b"private words", png.getvalue()):
        assert base64.b64encode(content).decode() not in page


def test_a_line_of_any_kind_costs_itself_and_not_the_page(trained: RunDir) -> None:
    for file in (trained.log_file, trained.alarms_file, trained.spectra_file):
        with file.open("a", encoding="utf-8") as lines:
            lines.write('{"images": 7, "alarm": "x"}\n{"images": ' + "9" * 4000 + "}\n")
            lines.write(
                '{"images": 9, "seconds": "long", "generator": 5}\n{"images": 9, "$\\\\frac{": 1.5}\n'
            )
            lines.write("[" * 100_000 + "\n")
    (trained.judgements / "deep.json").write_text("[" * 100_000)
    page = Page(write_report(trained))
    assert "deep.json" in page.text
