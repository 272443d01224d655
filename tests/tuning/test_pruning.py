"""The median pruner on a search whose scores are known."""

import torch

from kennel.config.steps import StepsConfig
from kennel.engine.observer import Entry
from kennel.engine.state import TrainPlan, TrainState
from kennel.tuning import search as search_module
from kennel.tuning.search import Search


def _state() -> TrainState:
    """What `ReportScores` reads and writes of a run of 64 images."""
    state = TrainState.__new__(TrainState)
    state.plan = TrainPlan(8, StepsConfig(), 64, 16, 0, torch.device("cpu"))
    state.images_seen, state.stop_requested = 0, False
    return state


def test_a_trial_worse_than_the_median_stops_from_the_second_validation_on(make, monkeypatch):
    """Four good trials, then one that begins well and is bad from its second validation on."""
    curves = {number: [50.0, 40.0, 30.0, 20.0] for number in range(5)} | {5: [45.0, 90.0, 80.0, 10.0]}
    curves |= {6: [90.0, 35.0, 30.0, 20.0]}
    seen: dict[int, int] = {}

    def scored(recipe, data, path, *, callbacks, **others) -> bool:
        number, state, (report,) = int(path.name[-3:]), _state(), callbacks
        for place, score in enumerate(curves[number], 1):
            entry: Entry = {"fid": score}
            state.images_seen = 16 * place
            report.on_tick(state, entry)
            seen[number] = place
            if state.stop_requested:
                return False
        return True

    monkeypatch.setattr(search_module, "train", scored)
    plan = make()
    found = Search(plan, 7)
    found.open()

    def log(folder) -> list[dict]:
        return [
            {"images": 16 * place, "fid": score} for place, score in enumerate(curves[_number(folder)], 1)
        ]

    monkeypatch.setattr("kennel.runs.run_dir.RunDir.log", log)
    assert found.run()
    assert seen == {0: 4, 1: 4, 2: 4, 3: 4, 4: 4, 5: 2, 6: 4}
    assert [row.state for row in found.rows()] == [*["finished"] * 5, "pruned", "finished"]
    assert found.rows()[5].score == 45.0


def _number(folder) -> int:
    return int(folder.path.name[-3:])
