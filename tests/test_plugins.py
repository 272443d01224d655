"""What others write is found: by entry points, by --import, and a broken plugin is one line of warning."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kennel.cli.imports import PREFIX, import_all
from kennel.errors import PluginError
from kennel.networks import DISCRIMINATORS, GENERATORS

EXAMPLE = Path(__file__).parent.parent / "examples" / "plugin"
FILE = EXAMPLE / "kennel_example_plugin.py"
Call = Callable[..., subprocess.CompletedProcess[str]]


def install(site: Path, name: str, module: str) -> None:
    """The metadata that an installation would write."""
    about = site / f"{name}-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text(f"[kennel.plugins]\n{name} = {module}\n")


@pytest.fixture
def site(tmp_path) -> Path:
    """An empty folder of packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture
def call(site, tmp_path) -> Call:
    """`kennel ARGUMENTS` in a process of its own, which finds the packages of `site`."""
    paths = [str(site), str(EXAMPLE), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "KENNEL_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kennel", *map(str, arguments)]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )

    return run


def test_an_installed_plugin_trains_samples_and_judges(call, site, packed_set, tmp_path):
    install(site, "example", "kennel_example_plugin")
    data, run = packed_set(count=40), tmp_path / "run"
    trained = call("train", "tiny", "--data", data, "--out", run, "--images", "64", "--device", "cpu")
    assert trained.returncode == 0, trained.stderr
    assert "logit_penalty" in (run / "log.jsonl").read_text()
    sampled = call("sample", run, "--count", "4", "--grid", tmp_path / "grid.png", "--device", "cpu")
    assert sampled.returncode == 0, sampled.stderr
    judged = call("judge", run, "--reference", data, "--metrics", "mean_shift", "--extractor", "pixels",
                  "--count", "20", "--device", "cpu")  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    assert "Mean shift" in judged.stdout


def test_without_its_plugin_a_run_says_what_is_missing_and_import_brings_it(call, packed_set, tmp_path):
    data, run = packed_set(count=40), tmp_path / "run"
    command = ("train", "tiny", "--data", data, "--out", run, "--images", "64", "--device", "cpu")
    trained = call("--import", FILE, *command)
    assert trained.returncode == 0, trained.stderr
    missing = call("sample", run, "--count", "4")
    assert missing.returncode == 2
    assert f"the run in {run} uses the generator 'tiny', which is not registered" in missing.stderr
    assert "Traceback" not in missing.stderr
    assert call("sample", run, "--count", "4", "--import", "kennel_example_plugin").returncode == 0


def test_a_plugin_that_fails_is_one_line_of_warning(call, site):
    (site / "broken_plugin.py").write_text("raise RuntimeError('no\\nluck')\n")
    install(site, "broken", "broken_plugin")
    listed = call("recipes")
    assert listed.returncode == 0
    assert "dcgan" in listed.stdout
    assert listed.stderr == "Warning: the plugin broken (broken_plugin) failed: RuntimeError: no luck\n"


def test_help_looks_for_no_plugin(call, site):
    (site / "broken_plugin.py").write_text("raise RuntimeError('no luck')\n")
    install(site, "broken", "broken_plugin")
    assert call("--help").stderr == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.py", None, "there is no such file"),
        ("absent_module", None, "there is no module of this name"),
        ("wrong.py", "1 / 0", r"failed \(ZeroDivisionError: division by zero\) at .*wrong.py:1"),
        (
            "twice.py",
            "import kennel\n@kennel.register_loss('bce')\nclass A(kennel.Loss): pass",
            "registered twice",
        ),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(name, content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    if content:
        Path(name).write_text(content)
    with pytest.raises(PluginError, match=message):
        import_all([name])
    assert PREFIX + Path(name).stem not in sys.modules


def test_a_file_is_imported_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / "counted.py"
    file.write_text(f"with open({str(tmp_path / 'count')!r}, 'a') as file:\n    file.write('x')\n")
    import_all([str(file), str(file)])
    assert (tmp_path / "count").read_text() == "x"
    del sys.modules[PREFIX + "counted"]


def test_the_tests_see_no_plugin():
    assert "tiny" not in GENERATORS
    assert "tiny" not in DISCRIMINATORS
