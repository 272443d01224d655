"""The distance of images from a target."""

import pytest
import torch

from kennel.sampling import image_distance
from kennel.sampling.image_distance import ImageDistance


@pytest.fixture(autouse=True)
def _small_network(monkeypatch):
    monkeypatch.setattr(image_distance, "NETWORK", "untrained")
    torch.manual_seed(0)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 64), (3, 100)])
def test_an_image_has_no_distance_from_itself_and_more_with_more_noise(channels, size):
    target = torch.rand(1, channels, size, size) * 2 - 1
    noise = torch.randn(1, channels, size, size)
    found = ImageDistance(target)(torch.cat([target, target + 0.1 * noise, target + noise]))
    torch.testing.assert_close(found.total[0], torch.tensor(0.0), atol=1e-6, rtol=0)
    for part in found:
        assert bool((part.diff() > 0).all())
    torch.testing.assert_close(found.pixels[2], noise.square().mean())
    assert float(found.features.max()) <= 4
    assert torch.equal(found.total, found.pixels + found.features)


def test_gradients_reach_the_images_and_each_its_own():
    target = torch.rand(1, 3, 64, 64)
    images = torch.rand(2, 3, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(ImageDistance(target)(images).total[0], images)
    assert bool((gradient[0] != 0).any())
    assert not bool(gradient[1].any())
