"""The cache is where the environment says, with the home folder written out."""

import pytest

from kennel.features.weights import weights_folder
from kennel.sampling.releases import place_of
from kennel.storage.cache import cache_folder


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"KENNEL_CACHE": "~/elsewhere"}, "elsewhere"),
        ({"XDG_CACHE_HOME": "~/shared"}, "shared/kennel"),
        ({}, ".cache/kennel"),
    ],
)
def test_a_tilde_is_the_home_folder_wherever_the_cache_is_used(variables, place, tmp_path, monkeypatch):
    for name in ("KENNEL_CACHE", "XDG_CACHE_HOME", "KENNEL_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / place
    assert weights_folder() == tmp_path / place / "weights"
    assert place_of("name").parent == tmp_path / place / "generators"
