"""A module imports the layers below it only; and other rules that hold over all files."""

import ast
import importlib
from collections.abc import Sequence
from pathlib import Path

import pytest

import kennel

ROOT = Path(kennel.__file__).parent

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "shapes"),
    ("registry", "storage", "rng", "cancellation", "distributed"),
    ("images",),
    ("config",),
    ("data",),
    ("features",),
    ("networks", "losses", "recipes"),
    ("techniques", "evaluation"),
    ("engine",),
    ("runs",),
    ("reporting",),
    ("sampling",),
    ("training",),
    ("planning", "comparison", "expansion"),
    ("studies", "tuning"),
    ("api",),
    ("cli",),
)
"""Packages and root modules: each may import those of the rows above it, and never one of its own row."""

SUBLAYERS: tuple[tuple[str, str], ...] = (
    ("data.sources", "data.prepare"),
    *(
        ("networks.layers", f"networks.{name}")
        for name in ("mlp", "residual", "dcgan", "biggan", "projected")
    ),
    ("evaluation.metrics", "evaluation.judge"),
    ("training.alarms", "training"),
)
"""Pairs within a package: the first never imports the second."""


def layer_of(name: str, layers: Sequence[Sequence[str]] = LAYERS) -> int:
    return next(number for number, names in enumerate(layers) if name in names)


def imported_modules(file: Path) -> set[str]:
    """All that a file may import of kennel, at its top or inside a function, without "kennel."."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("kennel.") for name in modules if name.startswith("kennel.")}


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = [file for file in sorted(ROOT.rglob("*.py")) if module_of(file) not in ("__init__", "__main__")]


def test_every_package_and_root_module_has_a_layer():
    names = [name for row in LAYERS for name in row]
    assert len(names) == len(set(names))
    assert {module_of(file).partition(".")[0] for file in FILES} == set(names)


def test_about_ten_modules_are_at_the_root():
    assert len(list(ROOT.glob("*.py"))) <= 11


def test_no_import_goes_upward_or_sideways():
    wrong = []
    for file in FILES:
        own = module_of(file).partition(".")[0]
        packages = {name.partition(".")[0] for name in imported_modules(file)} - {own, "__version__"}
        wrong += [
            f"{module_of(file)} imports {other}" for other in packages if layer_of(other) >= layer_of(own)
        ]
    assert wrong == []


@pytest.mark.parametrize(("lower", "upper"), SUBLAYERS)
def test_within_a_package_too_the_lower_part_does_not_import_the_upper(lower, upper):
    def inside(name: str, package: str) -> bool:
        return name == package or name.startswith(f"{package}.")

    wrong = [
        f"{module_of(file)} imports {name}"
        for file in FILES
        if inside(module_of(file), lower)
        for name in imported_modules(file)
        if inside(name, upper) and not inside(name, lower) and not inside(lower, name)
    ]
    assert wrong == []


def test_only_the_step_goes_backward_and_the_training_of_the_judging_classifier():
    callers = {file.name for file in ROOT.rglob("*.py") if ".backward(" in file.read_text(encoding="utf-8")}
    assert callers == {"step.py", "train_classifier.py"}


def test_the_trainer_and_the_step_stay_readable():
    assert len((ROOT / "engine" / "trainer.py").read_text(encoding="utf-8").splitlines()) < 200
    assert len((ROOT / "engine" / "step.py").read_text(encoding="utf-8").splitlines()) < 160


def test_only_the_restricted_reader_can_read_a_pickle_and_it_lets_nothing_be_called():
    """A pickle is a program. CIFAR's archive is made of them: one file reads them as data, no other may."""
    able = {
        str(file.relative_to(ROOT))
        for file in ROOT.rglob("*.py")
        if "Unpickler(" in file.read_text(encoding="utf-8")
    }
    assert able == {"data/sources/restricted_pickle.py"}
    module = importlib.import_module("kennel.data.sources.restricted_pickle")
    assert set(module._NAMES) == {
        *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
        *(("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")),
    }
    assert {type(one).__module__ for one in module._NAMES.values()} == {module.__name__}  # not what they name


def test_no_code_can_load_a_pickle():
    wrong = []
    for file in ROOT.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        wrong += [
            f"{file.name}: {word}" for word in ("pickle.load", "allow_pickle=True", "joblib") if word in text
        ]
        wrong += [
            f"{file.name}: torch.load without weights_only"
            for line in text.splitlines()
            if "torch.load(" in line and "weights_only=True" not in line
        ]
    assert wrong == []


def test_no_file_has_more_than_400_lines():
    assert [module_of(file) for file in FILES if len(file.read_text("utf-8").splitlines()) > 400] == []


def test_no_function_has_a_body_of_more_than_60_lines():
    """The docstring does not count, nor do the parameters: those of a command are its options."""
    long = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if body and (body[-1].end_lineno or 0) - body[0].lineno >= 60:
                    long.add(f"{module_of(file)}.{node.name}")
    assert long == set()
