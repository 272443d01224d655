"""Statistics of the batch have the values that their papers write, at any size of the features."""

import math

import numpy as np
import pytest
import torch

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks
from kennel.techniques.minibatch import Closeness, MinibatchStddevLayer


def networks(size: int = 8) -> Networks:
    setting = NetworkSpec(size, 1, 4)
    return Networks(
        GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options(base_channels=2)),
        DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options(base_channels=2)),
    )


def closeness(features: int, kernels: int = 100, dimensions: int = 5, seed: int = 0) -> Closeness:
    return Closeness(features, kernels, dimensions, torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_closeness_is_the_sum_of_exp_minus_the_distance_to_the_others():
    statistic = closeness(2, kernels=1, dimensions=2).eval()
    with torch.no_grad():
        # Two directions of length 1 after weight normalisation; the second counts e^log(3) = 3 times.
        statistic.directions.copy_(torch.tensor([[[7.0, 0.0]], [[0.0, -0.1]]]))
        statistic.log_scale.copy_(torch.tensor([[0.0, math.log(3)]]))
        statistic.bias.fill_(0.25)
    found = statistic(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    near, far, farthest = (math.exp(-distance) for distance in (1, 3, 4))
    expected = [[near + far + 0.25], [near + farthest + 0.25], [far + farthest + 0.25]]
    assert torch.allclose(found, torch.tensor(expected), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_at_8192_features_of_any_size_it_is_neither_zero_nor_saturated(scale):
    statistic = closeness(8192)
    first, second = scale * normal(64, 8192), scale * normal(64, 8192, seed=2)
    assert statistic(first).mean(0).abs().max() < 1e-5
    nearest = statistic.distances(first).masked_fill(torch.eye(64).bool(), math.inf).amin(1)
    assert torch.allclose(nearest.mean(1), torch.tensor(2.0), atol=1e-3)
    others = statistic(second) - statistic.bias  # between 0 and 63
    assert 0.2 < others.mean() < 6
    assert (others > 0.01).float().mean() > 0.95
    assert others.std() > 0.05
    second = second.requires_grad_()
    (gradient,) = torch.autograd.grad(statistic(second).sum(), second)
    assert gradient.abs().max() * scale > 1e-3


def test_without_a_scale_the_closeness_of_wide_features_would_be_zero():
    projected = (normal(64, 8192) @ normal(8192, 500, seed=2)).view(64, 100, 5)
    distances = (projected[:, None] - projected[None]).abs().sum(3)
    assert torch.equal((-distances).exp().sum(1), torch.ones(64, 100))  # each image with itself


def test_a_batch_of_equal_images_is_betrayed():
    statistic = closeness(32)
    spread = statistic(normal(16, 32))
    collapsed = statistic(normal(1, 32, seed=2).repeat(16, 1))
    assert torch.allclose(collapsed, 15 + statistic.bias)
    assert collapsed.min() > spread.max()


def test_only_the_first_training_batch_sets_the_scale():
    statistic = closeness(32)
    untouched = statistic.log_scale.detach().clone()
    statistic.eval()(normal(8, 32))
    assert torch.equal(statistic.log_scale, untouched)
    statistic.train()(normal(8, 32))
    once = statistic.log_scale.detach().clone()
    assert not torch.equal(once, untouched)
    statistic(100 * normal(8, 32, seed=3))
    assert torch.equal(statistic.log_scale, once)
    other = closeness(32, seed=5)
    other.load_state_dict(statistic.state_dict())
    assert torch.equal(other(normal(8, 32, seed=4)), statistic(normal(8, 32, seed=4)))
    assert torch.equal(other.log_scale, once)


def test_equal_images_at_the_very_beginning_leave_the_scale_alone():
    statistic = closeness(32)
    assert torch.equal(statistic(torch.ones(4, 32)), torch.zeros(4, 100))
    assert torch.equal(statistic.log_scale, torch.zeros(100, 5))


@pytest.mark.parametrize(
    "make", [lambda: closeness(12, 3, 2), lambda: MinibatchStddevLayer(4)], ids=["closeness", "spread"]
)
def test_a_gradient_penalty_can_be_taken_through_it(make):
    statistic = make()
    features = normal(8, 12).requires_grad_()
    (gradient,) = torch.autograd.grad(statistic(features).square().sum(), features, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), features)
    assert torch.isfinite(second).all()
    assert second.abs().max() > 0


@pytest.mark.parametrize(
    "make", [lambda: closeness(12, 3, 2), lambda: MinibatchStddevLayer(4)], ids=["closeness", "spread"]
)
def test_it_is_float32_whatever_the_layers_are(make):
    with torch.autocast("cpu", torch.bfloat16):
        assert make()(normal(8, 12).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(("name", "width"), [("minibatch_discrimination", 100), ("minibatch_stddev", 1)])
def test_the_head_sees_it_beside_the_hidden_layer_which_stays_as_it_was(name, width, make_play):
    pair = networks()
    before, feature_width = pair.discriminator.head, pair.discriminator.feature_width
    technique = TECHNIQUES[name]()
    technique.modify_networks(pair, torch.Generator().manual_seed(0))
    assert pair.discriminator.feature_width == feature_width
    assert pair.discriminator.head.in_features == feature_width + width
    assert torch.equal(pair.discriminator.head.weight[:, :feature_width], before.weight)
    # Real and fake are compared within themselves: fakes have no say in what reals look like.
    real = normal(4, 1, 8, 8)
    plays = [
        make_play(pair, real=real, fake=fake, techniques=(technique,))
        for fake in (normal(4, 1, 8, 8, seed=2), torch.zeros(4, 1, 8, 8))
    ]
    assert torch.equal(plays[0].real_logits, plays[1].real_logits)
    assert not torch.equal(plays[0].fake_logits, plays[1].fake_logits)


def test_the_spread_is_the_mean_standard_deviation_of_every_group():
    features = normal(8, 5)
    found = MinibatchStddevLayer(4)(features)
    for group in (0, 1):  # every second image
        expected = np.std(features[group::2].numpy(), axis=0).mean()
        assert torch.allclose(found[group::2], torch.tensor(float(expected)), atol=1e-6)


def test_a_group_of_two_images_is_half_their_distance_apart():
    assert torch.allclose(
        MinibatchStddevLayer(2)(torch.tensor([[1.0, 5.0], [4.0, 5.0]])), torch.tensor(0.75), atol=1e-4
    )


@pytest.mark.parametrize(("count", "group", "groups"), [(5, 2, 2), (7, 4, 1), (3, 4, 1), (9, 4, 2)])
def test_a_batch_that_does_not_divide_has_larger_groups(count, group, groups):
    features = normal(count, 5)
    found = MinibatchStddevLayer(group)(features)
    for index in range(groups):
        expected = np.std(features[index::groups].numpy(), axis=0).mean()
        assert torch.allclose(found[index::groups], torch.tensor(float(expected)), atol=1e-6)


def test_equal_images_have_no_spread_and_a_finite_gradient():
    features = torch.ones(4, 3, requires_grad=True)
    spread = MinibatchStddevLayer(4)(features)
    assert torch.allclose(spread, torch.tensor(1e-4))
    (gradient,) = torch.autograd.grad(spread.sum(), features)
    assert torch.isfinite(gradient).all()


def test_a_group_of_one_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        TECHNIQUES["minibatch_stddev"](group=1)
