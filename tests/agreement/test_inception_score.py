"""The Inception Score beside torch-fidelity and torchmetrics."""

import warnings

import numpy as np
import pytest
import torch

from kennel.evaluation.metrics.inception_score import inception_score


def logits(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (count, 100)).astype(np.float32)


def by_torchmetrics(module, rows: np.ndarray, splits: int) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that it keeps the features
        metric = module.InceptionScore(feature=torch.nn.Identity(), splits=splits)
    metric.update(torch.from_numpy(rows).double())
    torch.manual_seed(0)
    mean, deviation = metric.compute()
    return float(mean), float(deviation)


def torchmetrics_order(count: int) -> np.ndarray:
    torch.manual_seed(0)
    return torch.randperm(count).numpy()


@pytest.mark.parametrize(("count", "splits"), [(500, 10), (503, 10), (57, 4), (100, 1)])
def test_inception_score_is_that_of_torch_fidelity_by_default(count, splits, agree, reference_module):
    module = reference_module("torch_fidelity.metric_isc")
    rows = logits(count)
    ours, theirs = (
        inception_score(rows, splits),
        module.isc_features_to_metric(torch.from_numpy(rows), splits),
    )
    quantity = f"Inception Score, {count} images, {splits} split{'s'[: splits > 1]}"
    agree(quantity, ours.mean, theirs["inception_score_mean"], "torch-fidelity")
    if splits > 1:
        agree(f"{quantity}, deviation", ours.deviation, theirs["inception_score_std"], "torch-fidelity")


def test_inception_score_without_shuffling_is_torch_fidelity_s(agree, reference_module):
    module = reference_module("torch_fidelity.metric_isc")
    rows = np.sort(logits(300), axis=0)
    ours = inception_score(rows, 5, shuffle_seed=None).mean
    theirs = module.isc_features_to_metric(torch.from_numpy(rows), 5, shuffle=False)["inception_score_mean"]
    agree("Inception Score, images in their order", ours, theirs, "torch-fidelity")
    assert abs(inception_score(rows, 5).mean - ours) > 1e-2, "the order matters here"


def test_inception_score_of_torchmetrics_has_the_deviation_of_a_sample(agree, differ, reference_module):
    module = reference_module("torchmetrics.image.inception")
    rows = logits(500)
    mean, deviation = by_torchmetrics(module, rows, 10)
    ours = inception_score(rows[torchmetrics_order(500)], 10, shuffle_seed=None)
    agree("Inception Score, torchmetrics' shuffle", ours.mean, mean, "torchmetrics")
    differ(
        "Inception Score, deviation of 10 splits",
        ours.deviation,
        deviation,
        "torchmetrics",
        "divided by 10 splits here and in torch-fidelity, by 9 in torchmetrics",
    )
    assert ours.deviation == pytest.approx(deviation * 0.9**0.5, rel=1e-9)


def test_inception_score_of_torchmetrics_has_a_short_last_split(differ, reference_module):
    module = reference_module("torchmetrics.image.inception")
    rows = logits(503)
    shuffled = rows[torchmetrics_order(503)]
    mean, _ = by_torchmetrics(module, rows, 10)
    differ(
        "Inception Score, 503 images, 10 splits",
        inception_score(shuffled, 10, shuffle_seed=None).mean,
        mean,
        "torchmetrics",
        "splits of 50 or 51 here and in torch-fidelity; 9 of 51 and one of 44 in torchmetrics",
    )
    parts = [
        inception_score(shuffled[start : start + 51], 1, shuffle_seed=None).mean
        for start in range(0, 503, 51)
    ]
    assert len(parts) == 10
    assert mean == pytest.approx(np.mean(parts), rel=1e-9)
