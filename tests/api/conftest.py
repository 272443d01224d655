"""An empty folder to work in, a cache of its own, and registries that forget what a test registers."""

import sys

import pytest
from PIL import Image

from kennel.evaluation.metrics.base import METRICS
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS
from kennel.recipes import RECIPES
from kennel.techniques import TECHNIQUES


@pytest.fixture(autouse=True)
def _own_world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KENNEL_WEIGHTS", raising=False)
    for registry in (METRICS, LOSSES, GENERATORS, DISCRIMINATORS, RECIPES, TECHNIQUES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setitem(sys.modules, "IPython", None)  # no notebook
    monkeypatch.setattr(Image.Image, "show", lambda image: None)
