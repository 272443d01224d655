"""Each image depends only on its seed."""

import numpy as np
import pytest
import torch
from scipy import stats

from kennel.config.recipe import LatentConfig, SamplingConfig
from kennel.engine.latents import draw_latents
from kennel.errors import NotFiniteError, RunError
from kennel.networks import GENERATORS, Generator, NetworkSpec
from kennel.sampling.sampler import (
    SampledSet,
    Samples,
    class_grid,
    images_of,
    latents_of,
    with_standing_statistics,
)

LATENT = LatentConfig(dim=16)


def generator(classes: int = 0) -> Generator:
    torch.manual_seed(0)
    network = GENERATORS["dcgan"](
        NetworkSpec(8, 1, 16, classes), GENERATORS["dcgan"].Options(base_channels=4)
    )
    with torch.no_grad():  # a fresh network draws nearly grey images: make them differ
        for parameter in network.parameters():
            parameter.mul_(4)
    return network


def test_a_latent_is_the_same_bit_for_bit_in_any_company():
    together = latents_of(range(10), LATENT)
    assert torch.equal(latents_of([7], LATENT)[0], together[7])
    assert torch.equal(latents_of([9, 3], LATENT), together[[9, 3]])


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_an_image_does_not_depend_on_the_batch_it_is_drawn_in(batch):
    network = generator()
    whole = Samples(network, LATENT, range(16), batch=16).pixels().astype(int)
    parts = Samples(network, LATENT, range(16), batch=batch).pixels().astype(int)
    assert np.abs(whole - parts).max() <= 1
    assert whole.std() > 10


def test_latents_follow_their_prior():
    normal = latents_of(range(2000), LATENT).flatten().double().numpy()
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    uniform = latents_of(range(2000), LatentConfig(dim=16, distribution="uniform")).flatten().double().numpy()
    assert stats.kstest(uniform, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    drawn = draw_latents(LATENT, 2000, torch.Generator().manual_seed(0)).flatten().double().numpy()
    assert stats.kstest(drawn, "norm").pvalue > 1e-3


@pytest.mark.parametrize("threshold", [0.1, 1.0, 2.0])
def test_truncation_draws_the_truncated_normal_and_keeps_what_is_inside(threshold):
    free = latents_of(range(1000), LATENT)
    truncated = latents_of(range(1000), LATENT, threshold)
    assert truncated.abs().max() <= threshold
    inside = free.abs() <= threshold
    assert torch.equal(truncated[inside], free[inside])
    expected = stats.truncnorm(-threshold, threshold)
    assert stats.kstest(truncated.flatten().double().numpy(), expected.cdf).pvalue > 1e-3


def styled() -> Generator:
    torch.manual_seed(0)
    kind = GENERATORS["stylegan2"]
    network = kind(
        NetworkSpec(8, 1, 16), kind.Options(channel_base=64, channel_max=8, style=8, mapping_layers=1)
    )
    for _ in range(20):
        network(torch.randn(64, 16))  # the mean style is not 0
    return network.eval()


def test_truncation_moves_the_styles_of_a_mapping_network_towards_their_mean():
    network = styled()
    free = images_of(network, LATENT, range(8), None)
    assert torch.equal(images_of(network, LATENT, range(8), None, 1.0), free)
    mean = network.synthesize(network.mean_style.expand(8, network.styled, -1))
    assert torch.allclose(images_of(network, LATENT, range(8), None, 0.0), mean)
    styles = network.map_latents(latents_of(range(8), LATENT))
    halfway = network.synthesize(network.mean_style + 0.3 * (styles - network.mean_style))
    assert torch.allclose(images_of(network, LATENT, range(8), None, 0.3), halfway, atol=1e-5)


def test_samples_of_a_mapping_network_vary_less_the_more_they_are_truncated():
    network = styled()
    spreads = [
        Samples(network, LATENT, range(32), truncation=truncation).pixels().std(0).mean()
        for truncation in (None, 0.7, 0.3, 0.0)
    ]
    assert spreads[0] > spreads[1] > spreads[2] > spreads[3] == 0


def test_a_mapping_network_is_truncated_whatever_the_prior():
    uniform = LatentConfig(dim=16, distribution="uniform")
    assert len(Samples(styled(), uniform, range(4), truncation=0.005).pixels()) == 4
    with pytest.raises(RunError, match="truncation nan is not finite"):
        Samples(styled(), LATENT, range(4), truncation=float("nan")).pixels()


def test_what_truncation_cannot_do_is_refused():
    with pytest.raises(RunError, match=r"at least 0\.01"):
        latents_of([0], LATENT, 0.0)
    with pytest.raises(RunError, match="uniform"):
        latents_of([0], LatentConfig(distribution="uniform"), 1.0)


def test_sampling_leaves_the_generator_in_its_mode_and_its_statistics_alone():
    network = generator().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Samples(network, LATENT, range(4)).pixels()
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_classes_are_asked_for_only_where_there_are_some():
    with pytest.raises(RunError, match="is unconditional"):
        Samples(generator(), LATENT, range(4), labels=[1] * 4)
    with pytest.raises(RunError, match="out of range: the generator has classes 0 to 2"):
        Samples(generator(classes=3), LATENT, range(4), labels=[0, 1, 2, 3])
    batch = next(iter(Samples(generator(classes=3), LATENT, range(8), labels=[2] * 8)))
    assert batch.labels == (2,) * 8


def test_without_a_class_each_seed_has_its_own():
    labels = next(iter(Samples(generator(classes=3), LATENT, range(60), batch=60))).labels
    assert set(labels) == {0, 1, 2}
    assert next(iter(Samples(generator(classes=3), LATENT, [7]))).labels == (labels[7],)


def test_a_sampled_set_is_sized_repeatable_and_knows_its_seeds():
    network = generator()
    sampled = SampledSet(Samples(network, LATENT, range(10)), "run", "fingerprint")
    other = SampledSet(Samples(network, LATENT, range(1, 11)), "run", "fingerprint")
    assert len(sampled) == 10
    assert sampled.shape == (1, 8, 8)
    assert [len(batch) for batch in sampled.batches(4)] == [4, 4, 2]
    assert np.array_equal(np.concatenate(list(sampled.batches(10))), next(iter(sampled.batches(10))))
    assert sampled.fingerprint != other.fingerprint


@pytest.mark.parametrize("sampling", [SamplingConfig(), SamplingConfig(standing_stats_batches=2)])
def test_a_part_of_the_batches_is_that_of_the_whole_bit_for_bit(sampling):
    sampled = SampledSet(Samples(generator(3), LATENT, range(10), sampling=sampling), "run", "fingerprint")
    whole = list(sampled.batches(4))
    for first, step in ((0, 2), (1, 2), (2, 3), (3, 4)):
        part = list(sampled.batches(4, first, step))
        assert [batch.tobytes() for batch in part] == [batch.tobytes() for batch in whole[first::step]]
    assert sum(len(batch.seeds) for batch in sampled._samples.in_batches(4, 1, 2)) == 4


def test_single_samples_of_a_set_are_drawn_again_with_their_classes():
    network = generator(classes=3)
    for labels in (None, (2, 0, 1, 2, 0, 1, 0, 0, 2, 1)):
        sampled = SampledSet(Samples(network, LATENT, range(10), labels=labels), "run", "fingerprint")
        whole = np.concatenate(list(sampled.batches(10))).astype(int)
        some = sampled.at(np.array([7, 2, 7]))
        assert np.abs(some.astype(int) - whole[[7, 2, 7]]).max() <= 1


def test_a_grid_has_a_row_for_each_class_of_the_same_latents():
    seeds, labels = class_grid(range(5, 9), 3)
    assert seeds == (5, 6, 7, 8) * 3
    assert labels == (0,) * 4 + (1,) * 4 + (2,) * 4
    network = generator(classes=3)
    with torch.no_grad():
        network.label.weight.mul_(20)
    rows = Samples(network, LATENT, seeds, labels=labels).pixels().reshape(3, 4, 8, 8)
    assert not np.array_equal(rows[0], rows[1])
    alone = Samples(network, LATENT, [7], labels=[2]).pixels()
    assert np.abs(alone[0, 0].astype(int) - rows[2, 2]).max() <= 1


def test_standing_statistics_are_the_means_over_samples_at_the_truncation():
    network = generator()
    layer = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    standing = with_standing_statistics(network, LATENT, passes=3, truncation=0.5)
    found = standing.get_submodule("layers.0")
    seeds = range(2_000_000, 2_000_000 + 3 * 64)
    flat = network.stem(latents_of(seeds, LATENT, 0.5))  # what the first batch norm is given
    expected = flat.detach().unflatten(1, (4, 4, -1)).mean((0, 1, 2))
    assert torch.allclose(found.running_mean, expected, atol=1e-5)
    assert layer.running_mean.abs().max() == 0  # those of the player are left alone
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    plain = Samples(network, LATENT, range(8)).pixels()
    assert not np.array_equal(
        plain, Samples(network, LATENT, range(8), sampling=SamplingConfig(standing_stats_batches=1)).pixels()
    )


def test_an_image_of_standing_statistics_is_a_function_of_its_seed():
    sampling = SamplingConfig(standing_stats_batches=2)
    together = Samples(generator(), LATENT, range(6), sampling=sampling).pixels().astype(int)
    alone = Samples(generator(), LATENT, [4], sampling=sampling).pixels().astype(int)
    assert np.abs(alone[0] - together[4]).max() <= 1


@pytest.mark.parametrize("spoilt", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_and_not_drawn_black(spoilt):
    class Spoilt(Generator):
        """Draws well, but for the latent of seed 5."""

        def __init__(self):
            super().__init__(NetworkSpec(8, 1, 16), GENERATORS["dcgan"].Options(base_channels=4))
            self.anywhere = torch.nn.Parameter(torch.zeros(()))
            self.other = latents_of([5], LATENT)[0, 0]

        def forward(self, latents, labels=None):
            images = torch.zeros(len(latents), 1, 8, 8)
            images[latents[:, 0] == self.other, 0, 3, 3] = spoilt
            return images

    assert len(Samples(Spoilt(), LATENT, range(5)).pixels()) == 5
    with pytest.raises(NotFiniteError, match=r"not finite \(NaN or infinite\), the first one at seed 5:"):
        Samples(Spoilt(), LATENT, range(8)).pixels()
