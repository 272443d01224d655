"""The spectra on paper, and the alarms' marks on every panel."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from kennel.engine.singular_values import USED
from kennel.reporting import draw_curves
from kennel.reporting.panels import Mark, marks_of, panels_of
from kennel.reporting.spectra_plot import draw_spectra, panels_of_spectra


def lines(layers: int, ticks: int = 4) -> list[dict[str, Any]]:
    """Lines of `spectra.jsonl` with so many layers in each player; the last layer has one value, 0."""
    spectrum = {f"blocks.{n}.first": [3.0 + n, 2.0, 1.0] for n in range(layers)} | {"head": [0.0]}
    return [{"images": 100 * n, "generator": spectrum, "discriminator": spectrum} for n in range(ticks)]


@pytest.mark.parametrize("layers", [1, 3, 40])
def test_the_spectra_are_drawn_for_few_layers_and_for_many(layers, tmp_path):
    assert draw_spectra(lines(layers), tmp_path / "spectra.png", [Mark(200, "falling diversity")])
    with Image.open(tmp_path / "spectra.png") as picture:
        assert picture.width > picture.height > 500


def test_what_reparametrized_layers_use_has_a_panel_of_its_own(tmp_path):
    spectrum = {"a": [50.0, 2.0, 1.0], "b": [3.0, 2.0]}
    normalized = {**spectrum, "a" + USED: [1.0, 0.04, 0.02]}
    history = [{"images": n, "generator": spectrum, "discriminator": normalized} for n in (0, 100)]
    panels = list(panels_of_spectra(history).items())
    assert [title.partition(":")[0] for title, _ in panels] == ["Generator", "Discriminator", "Discriminator"]
    assert [list(shown[-1][1]) for _, shown in panels] == [["a", "b"], ["a", "b"], ["a"]]
    assert panels[1][1][-1] == (100, spectrum)
    assert panels[2][1][-1] == (100, {"a": [1.0, 0.04, 0.02]})
    assert draw_spectra(history, tmp_path / "three.png")
    assert draw_spectra(lines(2), tmp_path / "two.png")
    with Image.open(tmp_path / "three.png") as three, Image.open(tmp_path / "two.png") as two:
        assert three.height == pytest.approx(two.height * 1.5, rel=0.01)


def test_without_spectra_there_is_no_file(tmp_path):
    assert not draw_spectra([], tmp_path / "spectra.png")
    assert not (tmp_path / "spectra.png").exists()


def test_alarms_at_one_place_share_a_mark_and_rollbacks_have_none():
    alarms = [
        {"images": 300, "alarm": "falling_diversity", "rollbacks": 0},
        {"images": 200, "alarm": "exploding_spectrum", "rollbacks": 0},
        {"images": 300, "alarm": "discriminator_saturation", "rollbacks": 0},
        {"images": 300, "rollback": 1, "rollbacks": 0, "back_to": 100},
        {"images": 300, "alarm": "falling_diversity", "rollbacks": 1},
    ]
    assert marks_of(alarms) == (
        Mark(200, "exploding spectrum"),
        Mark(300, "falling diversity\ndiscriminator saturation"),
    )


def test_a_mark_is_drawn_on_the_curves_also_after_their_end(tmp_path):
    log = [{"images": n, "generator_loss": 1.0, "generator_gradient_norm": 2.0} for n in (100, 200)]
    draw_curves(log, tmp_path / "plain.png")
    draw_curves(log, tmp_path / "marked.png", None, [Mark(150, "one"), Mark(300, "two")])
    with Image.open(tmp_path / "plain.png") as plain, Image.open(tmp_path / "marked.png") as marked:
        assert plain.size == marked.size
        pixels = [np.asarray(one.convert("RGB")).astype(int) for one in (plain, marked)]
    reddish = [((one[..., 0] > 150) & (one[..., 1] < 80) & (one[..., 2] < 80)).sum() for one in pixels]
    assert reddish[0] == 0
    assert reddish[1] > 100


def test_both_gradients_share_a_panel_of_their_own():
    log = [{"images": 1, "generator_gradient_norm": 2.0, "discriminator_gradient_norm": 3.0}]
    (panel,) = panels_of(log)
    assert panel.kind == "gradient"
    assert {line.label for line in panel.lines} == {"generator", "discriminator"}
