"""Samples draw their classes as often as the training set has them, and on request uniformly."""

import numpy as np
import pytest
import torch
from scipy import stats

from kennel.config.base import Config
from kennel.config.recipe import LatentConfig, SamplingConfig
from kennel.data.images import ArrayImages
from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.context import MetricSettings
from kennel.features.factory import open_extractor
from kennel.images import to_float
from kennel.networks import Generator, NetworkSpec
from kennel.sampling.sampler import SampledSet, Samples, class_weights, labels_of, with_standing_statistics

LATENT = LatentConfig(dim=1, distribution="uniform")
COUNTS = (130, 870)
LEVELS = (100, 125)


class Perfect(Generator):
    """Draws real pictures: of the class that it is asked for, the one that the latent points at."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        counts = tuple(np.bincount(labels).tolist())
        super().__init__(NetworkSpec(images.shape[-1], images.shape[1], 1, 2, "uniform", counts), Config())
        self.images = to_float(torch.from_numpy(images))
        self.rows = [torch.from_numpy(np.flatnonzero(labels == label)) for label in (0, 1)]
        self.anywhere = torch.nn.Parameter(torch.zeros(()))

    def forward(self, latents: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        assert labels is not None
        share = ((latents[:, 0] + 1) / 2).clamp(max=1 - 1e-6)
        chosen = [
            self.rows[label][int(where * len(self.rows[label]))]
            for label, where in zip(labels.tolist(), share.tolist(), strict=True)
        ]
        return self.images[torch.stack(chosen)]


def two_classes() -> tuple[np.ndarray, np.ndarray]:
    """1,000 pictures of 16x16: 13% of them darker than the rest, all with noise of their own."""
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat([0, 1], COUNTS))
    base = np.array(LEVELS)[labels]
    images = base[:, None, None, None] + random.normal(0, 4, (1000, 1, 16, 16))
    return images.round().clip(0, 255).astype(np.uint8), labels


def fid(how: str) -> tuple[float, object]:
    pictures, labels = two_classes()
    pair = ArrayImages(pictures, "pair", labels, ("dark", "light"))
    samples = Samples(Perfect(pictures, labels), LATENT, range(2000), sampling=SamplingConfig(classes=how))
    images = SampledSet(samples, "perfect", how, pair.classes)
    evaluator = Evaluator(pair, open_extractor("pixels", None))
    (found,) = evaluator.judge(images, ("fid",), settings=MetricSettings(intervals=False))
    return found.value, found.protocol


def test_a_perfect_generator_of_an_unbalanced_pair_has_no_fid_by_the_sets_frequencies():
    value, protocol = fid("data")
    alike, other = fid("uniform")
    assert value < 0.05
    assert 3.7 < alike < 7.5
    # Two mixtures of the same two clusters at distance d: means and spreads along d differ, nothing else.
    squared = 768 * ((LEVELS[1] - LEVELS[0]) / 127.5) ** 2
    shares = np.array([0.87, 0.5])
    means, spreads = shares, np.sqrt(shares * (1 - shares))
    assert alike == pytest.approx(squared * (np.diff(means) ** 2 + np.diff(spreads) ** 2).item(), rel=0.02)
    assert (protocol.class_sampling, other.class_sampling) == ("data", "uniform")
    assert protocol.comparable != other.comparable
    assert "Classes drawn by their frequency in the training set." in protocol.words()
    assert "Classes drawn uniformly." in other.words()
    # Pictures that lie in a folder are of the set's mixture too, and may stand beside these samples.
    lying = protocol.model_copy(update={"class_sampling": None})
    assert lying.comparable == protocol.comparable != other.comparable


@pytest.mark.parametrize("counts", [(13, 87), (1, 0, 3), (5,), (2, 3, 1)])
def test_labels_are_drawn_by_the_counts_each_from_its_seed_alone(counts):
    weights = class_weights(NetworkSpec(8, 1, 4, len(counts), "normal", counts))
    labels = labels_of(range(4000), weights)
    found = np.bincount(labels, minlength=len(counts))
    expected = 4000 * np.array(counts) / sum(counts)
    present = expected > 0
    assert (found[~present] == 0).all()
    if present.sum() > 1:
        assert stats.chisquare(found[present], expected[present]).pvalue > 1e-3
    assert labels_of([3999, 7], weights) == (labels[3999], labels[7])


def test_a_balanced_set_draws_what_uniform_draws():
    balanced, unknown = (NetworkSpec(8, 1, 4, 3, "normal", counts) for counts in ((500,) * 3, ()))
    assert (
        class_weights(balanced) == class_weights(balanced, "uniform") == class_weights(unknown) == (1, 1, 1)
    )
    assert class_weights(NetworkSpec(8, 1, 4)) == ()


def test_standing_statistics_are_of_the_sets_mixture():
    class Told(Generator):
        def __init__(self) -> None:
            super().__init__(NetworkSpec(1, 1, 1, 2, "normal", COUNTS), Config())
            self.norm = torch.nn.BatchNorm2d(1)

        def forward(self, latents, labels=None):
            return self.norm(labels[:, None, None, None].float())

    for how, share in (("data", 0.87), ("uniform", 0.5)):
        standing = with_standing_statistics(Told(), LatentConfig(dim=1), 40, classes=how)
        assert float(standing.norm.running_mean) == pytest.approx(share, abs=0.03)
