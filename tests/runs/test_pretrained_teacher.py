"""Which extractor validates a run."""

import pytest

from kennel.config.recipe import override
from kennel.recipes import get_recipe
from kennel.runs import pretrained_teacher
from kennel.runs.pretrained_teacher import with_extractor
from kennel.runs.run_dir import RunDir


@pytest.mark.parametrize(
    ("channels", "size", "extractor", "metric"),
    [(1, 28, "pixels", "fid"), (1, 64, "mobilenet", "mifid"), (3, 32, "mobilenet", "mifid")],
)
def test_auto_is_pixels_for_small_gray_images_and_else_the_best_network(
    tmp_path, monkeypatch, channels, size, extractor, metric
):
    monkeypatch.setattr(pretrained_teacher, "choose_extractor", lambda *given, **rules: "mobilenet")
    recipe = override(get_recipe("gan"), [f"image.channels={channels}", f"image.size={size}"])
    assert recipe.validation.extractor == "auto"
    found = with_extractor(recipe, RunDir(tmp_path / "run"), None, None, lambda line: None).validation
    assert (found.extractor, found.metric) == (extractor, metric)
