"""The image of a generator that is nearest to a given one."""

import numpy as np
import pytest
import torch
from PIL import Image

from kennel.errors import RunError
from kennel.images import to_uint8
from kennel.networks import StyleGenerator
from kennel.sampling import image_distance, likeness
from kennel.sampling.label_mixing import replaced_instances
from kennel.sampling.likeness import LikeOptions, like, target_pixels
from loaded import loaded

SHORT = LikeOptions(steps=12, seed=100)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(image_distance, "NETWORK", "untrained")
    monkeypatch.setattr(likeness, "CANDIDATES", 16)
    torch.manual_seed(0)


def target_of(given, seed: int = 7) -> np.ndarray:
    return given.samples_of((seed,)).pixels()[0]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"distribution": "uniform"},
        {"kind": "stylegan2"},
        {"classes": 3},
        {"instances": 5},
        {"channels": 3},
    ],
    ids=str,
)
def test_the_image_comes_nearer_and_can_be_drawn_again(given):
    given = loaded(**given)
    network = given.generator
    torch.manual_seed(0)
    found = like(given, target_of(given), options=SHORT)
    assert found.distance < 0.9 * found.start_distance
    assert found.distance == found.pixel_distance + found.feature_distance
    assert 100 <= found.seed < 116
    label = None if found.label is None else torch.tensor([found.label])
    assert (label is None) == (network.spec.num_classes == 0)
    with torch.no_grad():
        if isinstance(network, StyleGenerator):
            again = network.synthesize(found.latent.expand(1, network.styled, -1))
        elif found.instance is not None:
            with replaced_instances(network, found.instance[None]):
                again = network(found.latent[None], torch.tensor([0]))
            assert float(found.instance.norm()) == pytest.approx(2)
        else:
            again = network(found.latent[None], label)
    assert np.abs(to_uint8(again)[0].numpy().astype(int) - found.found).max() <= 1


def test_latents_stay_where_the_prior_has_its_mass():
    normal, uniform = (loaded(distribution=kind) for kind in ("normal", "uniform"))
    bright = np.full((1, 8, 8), 255, np.uint8)
    assert float(like(normal, bright, options=SHORT).latent.norm()) <= 4 + 1e-4
    assert float(like(uniform, bright, options=SHORT).latent.abs().max()) <= 1


def test_equal_arguments_give_an_equal_image_and_seeds_others():
    given = loaded()
    results = []
    for seed in (0, 0, 50):
        torch.manual_seed(0)
        results.append(like(given, target_of(given), options=LikeOptions(steps=3, seed=seed)))
    assert np.array_equal(results[0].pixels, results[1].pixels)
    assert torch.equal(results[0].latent, results[1].latent)
    assert not torch.equal(results[0].latent, results[2].latent)


def test_a_class_can_be_given():
    given = loaded(classes=3)
    assert like(given, target_of(given), 2, SHORT).label == 2
    with pytest.raises(RunError, match="class 3 is out of range"):
        like(given, target_of(given), 3, SHORT)


def test_the_picture_shows_both_and_says_so(tmp_path):
    given = loaded()
    told: list[tuple[int, int]] = []
    found = like(
        given, target_of(given), options=LikeOptions(steps=4), on_progress=lambda *at: told.append(at)
    )
    assert told[-1] == (4, 4)
    with Image.open(found.save(tmp_path / "a.png")) as image:
        assert "Left: a given image. Right: an image made by a generative" in image.text["Description"]
        assert image.size[0] >= 256


def test_files_are_cropped_and_gray_is_made_of_color(tmp_path):
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 10:30] = (30, 60, 90)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    color = target_pixels(tmp_path / "wide.png", 8, 3)
    assert color.shape == (3, 8, 8)
    assert [int(channel) for channel in color[:, 4, 4]] == [30, 60, 90]
    assert target_pixels(tmp_path / "wide.png", 8, 1).shape == (1, 8, 8)
    assert target_pixels(color, 16, 1).mean() == pytest.approx(60, abs=1)
    assert target_pixels(color[:1], 8, 3).shape == (3, 8, 8)


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    for given, message in (
        (tmp_path / "a.png", "a.png is not a usable image"),
        (tmp_path / "none.png", "none.png is not a usable image"),
        (np.zeros((8, 8), np.uint8), "the image is uint8 of shape"),
        (np.zeros((3, 8, 8), np.float32), "the image is float32"),
    ):
        with pytest.raises(RunError, match=message):
            like(loaded(), given, options=SHORT)
    with pytest.raises(RunError, match="0 steps are not possible"):
        like(loaded(), target_of(loaded()), options=LikeOptions(steps=0))
