"""A module imports lower floors only; the arrows of design never run upward."""

import ast
import importlib
from pathlib import Path

import kennel

ROOT = Path(kennel.__file__).parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "shapes", "schedules", "randomness", "watch", "wanted"),
    ("registry", "atomic", "cache", "pixels", "distributed", "untrusted"),
    ("options", "pictures", "lock", "downloads"),
    ("sealed", "releases"),
    ("pace", "policy", "speed"),
    ("recipe",),
    ("latents",),
    ("recipes", "exported"),
    ("data",),
    ("features",),
    ("networks",),
    ("losses", "optimisers", "passes"),
    ("techniques",),
    ("monitor",),
    ("showing",),
    ("step",),
    ("checkpoint", "run_folder", "trainer"),
    ("sampler",),
    ("metrics",),
    ("judgement",),
    ("judgeable",),
    ("judge",),
    ("report",),
    ("wiring",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imported_rooms(file: Path) -> set[str]:
    """The rooms of kennel that a file imports, at its top or inside a function."""
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == "kennel" and len(parts) > 1 and parts[1] in FLOOR:
                rooms.add(parts[1])
    return rooms


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_room_has_a_floor():
    rooms = {room_of(file) for file in ROOT.rglob("*.py")} - {"__init__", "__main__"}
    assert rooms == set(FLOOR)


def test_no_import_runs_upward_or_sideways():
    wrong = []
    for file in ROOT.rglob("*.py"):
        room = room_of(file)
        if room in FLOOR:
            wrong += [
                f"{file.relative_to(ROOT)} imports {other}"
                for other in imported_rooms(file)
                if other != room and FLOOR[other] >= FLOOR[room]
            ]
    assert wrong == []


def test_only_the_step_goes_backward_and_the_training_of_the_judging_classifier():
    callers = {file.name for file in ROOT.rglob("*.py") if ".backward(" in file.read_text(encoding="utf-8")}
    assert callers == {"step.py", "classifier_training.py"}


def test_the_trainer_and_the_step_stay_readable():
    assert len((ROOT / "trainer.py").read_text(encoding="utf-8").splitlines()) < 200
    assert len((ROOT / "step.py").read_text(encoding="utf-8").splitlines()) < 160


def test_only_the_restricted_reader_can_read_a_pickle_and_it_lets_nothing_be_called():
    """A pickle is a program. CIFAR's archive is made of them: one file reads them as data, no other may."""
    able = {
        str(file.relative_to(ROOT))
        for file in ROOT.rglob("*.py")
        if "Unpickler(" in file.read_text(encoding="utf-8")
    }
    assert able == {"data/restricted_pickle.py"}
    module = importlib.import_module("kennel.data.restricted_pickle")
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
