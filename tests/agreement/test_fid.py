"""FID beside torch-fidelity, torchmetrics and SciPy."""

import numpy as np
import pytest
import scipy.linalg
import torch

from kennel.evaluation.metrics.fid import frechet_distance
from kennel.features.moments import moments


def kennel_fid(one: np.ndarray, other: np.ndarray) -> float:
    return frechet_distance(moments(one), moments(other))


def by_torch_fidelity(module, one: np.ndarray, other: np.ndarray) -> float:
    statistics = [module.fid_features_to_statistics(torch.from_numpy(rows)) for rows in (one, other)]
    return module.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


def by_torchmetrics(module, one: np.ndarray, other: np.ndarray) -> float:
    network = torch.nn.Identity()
    network.num_features = one.shape[1]
    metric = module.FrechetInceptionDistance(feature=network).set_dtype(torch.float64)
    metric.update(torch.from_numpy(other).double(), real=True)
    metric.update(torch.from_numpy(one).double(), real=False)
    return float(metric.compute())


def by_scipy(one: np.ndarray, other: np.ndarray) -> float:
    """The definition with SciPy's square root of a matrix."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    offset = one.mean(0) - other.mean(0)
    root = scipy.linalg.sqrtm(first @ second)
    return float(offset @ offset + np.trace(first) + np.trace(second) - 2 * np.trace(root).real)


def by_singular_values(one: np.ndarray, other: np.ndarray) -> float:
    """Exact at any rank: the trace of the root is the sum of the singular values of the rows' product."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    rows, other_rows = ((side - side.mean(0)) / np.sqrt(len(side) - 1) for side in (one, other))
    offset = one.mean(0) - other.mean(0)
    trace = np.linalg.svd(rows @ other_rows.T, compute_uv=False).sum()
    return float(offset @ offset + (rows**2).sum() + (other_rows**2).sum() - 2 * trace)


@pytest.mark.parametrize("dimension", [64, 256])
def test_fid_of_full_rank_is_that_of_torch_fidelity_torchmetrics_and_scipy(
    dimension, features, agree, reference_module
):
    one, other = features(4 * dimension, dimension, 0), features(3 * dimension, dimension, 1)
    ours, quantity = kennel_fid(one, other), f"FID, {dimension} features"
    module = reference_module("torch_fidelity.metric_fid")
    agree(quantity, ours, by_torch_fidelity(module, one, other), "torch-fidelity")
    exact = by_torch_fidelity(module, one.astype(np.float64), other.astype(np.float64))
    agree(f"{quantity} in float64", ours, exact, "torch-fidelity", 1e-9)
    agree(
        quantity,
        ours,
        by_torchmetrics(reference_module("torchmetrics.image.fid"), one, other),
        "torchmetrics",
    )
    agree(quantity, ours, by_scipy(one, other), "scipy")


def test_fid_of_fewer_images_than_features(features, agree, reference_module):
    one, other = features(100, 256, 2), features(90, 256, 3)
    ours, quantity = kennel_fid(one, other), "FID, 100 and 90 images of 256 features"
    agree(f"{quantity}, by singular values", ours, by_singular_values(one, other), "numpy", 1e-9)
    fidelity = by_torch_fidelity(reference_module("torch_fidelity.metric_fid"), one, other)
    agree(quantity, ours, fidelity, "torch-fidelity")
    torchmetrics = by_torchmetrics(reference_module("torchmetrics.image.fid"), one, other)
    agree(quantity, ours, torchmetrics, "torchmetrics")


def test_fid_of_real_pixels_some_of_which_never_change(digits, agree, reference_module):
    even, odd = digits
    ours, quantity = kennel_fid(even, odd), "FID, pixels of even and odd digits"
    agree(f"{quantity}, by singular values", ours, by_singular_values(even, odd), "numpy", 1e-9)
    fidelity = by_torch_fidelity(reference_module("torch_fidelity.metric_fid"), even, odd)
    agree(quantity, ours, fidelity, "torch-fidelity")
    torchmetrics = by_torchmetrics(reference_module("torchmetrics.image.fid"), even, odd)
    agree(quantity, ours, torchmetrics, "torchmetrics")


@pytest.mark.slow
def test_fid_of_2048_features_is_that_of_torch_fidelity_and_torchmetrics(features, agree, reference_module):
    one, other = features(3000, 2048, 4), features(2500, 2048, 5)
    ours = kennel_fid(one, other)
    fidelity = by_torch_fidelity(reference_module("torch_fidelity.metric_fid"), one, other)
    agree("FID, 2048 features", ours, fidelity, "torch-fidelity")
    torchmetrics = by_torchmetrics(reference_module("torchmetrics.image.fid"), one, other)
    agree("FID, 2048 features", ours, torchmetrics, "torchmetrics")
