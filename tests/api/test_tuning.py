"""`kennel.tune`: the result as an object, its space as a dictionary, and what is refused."""

import numpy as np
import pytest

import kennel
from kennel.api.tuning import _words
from kennel.errors import TuningError

SETTINGS = {
    "image.size": 8,
    "generator.base_channels": 4,
    "discriminator.base_channels": 4,
    "batch_size": 8,
    "num_ticks": 2,
    "validation.extractor": "pixels",
    "validation.num_samples": 16,
    "compute.precision": "float32",
}
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
RATE = "generator_optimizer.learning_rate"


def search(tmp_path, **more) -> kennel.Tuning:
    options = {"trials": 2, "images": 32, "settings": SETTINGS, "device": "cpu"} | more
    return kennel.tune("digits", PIXELS, tmp_path / "out", **options)


def test_the_result_has_the_best_recipe_its_score_and_all_trials(tmp_path, capsys):
    found = search(tmp_path, space={RATE: (1e-4, 1e-2, "log")}, only=[RATE])
    assert found.finished
    assert found.metric == "fid"
    assert [row.state for row in found.trials] == ["finished", "finished"]
    assert found.best_score == min(row.score for row in found.trials)
    assert found.best_recipe.generator_optimizer.learning_rate == found.best.values[RATE]
    assert found.best_recipe.budget.images == 240_000
    assert found.best_run.log[-1]["images"] == 32
    assert found.own.values == {RATE: 5e-4}
    assert f"{RATE}  0.0005" in repr(found)
    page = found._repr_html_()
    assert page.count("<table>") == 2
    assert "<td>trial-001</td>" in page
    assert "trial-001: finished, score " in capsys.readouterr().out
    again = search(tmp_path, space={RATE: (1e-4, 1e-2, "log")}, only=RATE, quiet=True)
    assert again.trials == found.trials
    assert capsys.readouterr().out == ""


def test_a_search_without_a_finished_trial_says_why(tmp_path):
    broken = SETTINGS | {"discriminator_optimizer.learning_rate": 1e30}
    found = search(tmp_path, trials=1, settings=broken, quiet=True)
    assert found.best is None
    with pytest.raises(TuningError, match=r"no trial of the search in .* is finished; .*not finite"):
        found.best_recipe  # noqa: B018


def test_a_space_is_a_dictionary_of_tuples_and_lists_or_the_words_of_the_command():
    given = {"a": (1, 8), "b": (1e-5, 1e-3, "log"), "c": [16, 32], "d": [True, False], "e": [[8, 8], [9, 9]]}
    assert _words(given) == ["a=1:8", "b=1e-05:0.001:log", "c=16,32", "d=on,off", "e=[8, 8],[9, 9]"]
    assert _words(["a=1:8"]) == ["a=1:8"]
    with pytest.raises(TuningError, match="space is the string 'a=1:8': give a list"):
        _words("a=1:8")
    with pytest.raises(TuningError, match=r"space\['a'\] is 'x'"):
        _words({"a": "x"})


def test_no_trials_are_refused(tmp_path):
    with pytest.raises(TuningError, match="trials is 0"):
        search(tmp_path, trials=0)
