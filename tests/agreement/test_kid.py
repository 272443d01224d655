"""KID beside torch-fidelity, torchmetrics and scikit-learn's kernel."""

import warnings

import numpy as np
import pytest
import torch

from kennel.evaluation.metrics.kid import kid, kid_of_all_pairs


def by_torch_fidelity(module, one: np.ndarray, other: np.ndarray, **settings) -> tuple[float, float]:
    found = module.kid_features_to_metric(
        torch.from_numpy(one), torch.from_numpy(other), verbose=False, **settings
    )
    return found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]


def by_torchmetrics(module, one: np.ndarray, other: np.ndarray) -> float:
    """One subset of all images, so that its own shuffle changes nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it says that it keeps the features
        metric = module.KernelInceptionDistance(feature=torch.nn.Identity(), subsets=1, subset_size=len(one))
    metric.update(torch.from_numpy(other).double(), real=True)
    metric.update(torch.from_numpy(one).double(), real=False)
    return float(metric.compute()[0])


def by_scikit_learn(one: np.ndarray, other: np.ndarray) -> float:
    """The unbiased estimate, term by term, with scikit-learn's kernel."""
    from sklearn.metrics.pairwise import polynomial_kernel

    one, other = one.astype(float), other.astype(float)
    of_one, of_other = polynomial_kernel(one, degree=3), polynomial_kernel(other, degree=3)
    within = of_one[~np.eye(len(one), dtype=bool)].mean() + of_other[~np.eye(len(other), dtype=bool)].mean()
    return float(within - 2 * polynomial_kernel(one, other, degree=3).mean())


def test_kid_of_subsets_is_torch_fidelity_s_draw_by_draw(features, digits, agree, reference_module):
    module = reference_module("torch_fidelity.metric_kid")
    for name, one, other in (
        ("64 random features", features(500, 64, 0), features(400, 64, 1)),
        ("pixels of digits", *digits),
    ):
        ours = kid(one, other, subsets=20, subset_size=100)
        expected = by_torch_fidelity(
            module, one.astype(float), other.astype(float), kid_subsets=20, kid_subset_size=100
        )
        agree(f"KID, {name}", ours.mean, expected[0], "torch-fidelity")
        agree(f"KID, {name}, deviation", ours.deviation, expected[1], "torch-fidelity")


@pytest.mark.parametrize(("degree", "gamma", "coefficient"), [(2, None, 1.0), (3, 0.05, 0.5)])
def test_other_kernels_of_kid_are_torch_fidelity_s(
    degree, gamma, coefficient, features, agree, reference_module
):
    one, other = features(200, 64, 2), features(250, 64, 3)
    ours = kid(one, other, 5, 50, degree=degree, gamma=gamma, coefficient=coefficient)
    expected, _ = by_torch_fidelity(
        reference_module("torch_fidelity.metric_kid"),
        one.astype(float),
        other.astype(float),
        kid_subsets=5,
        kid_subset_size=50,
        kid_kernel_poly_degree=degree,
        kid_kernel_poly_gamma=gamma,
        kid_kernel_poly_coef0=coefficient,
    )
    agree(f"KID, degree {degree}, gamma {gamma}", ours.mean, expected, "torch-fidelity")


def test_kid_of_float32_features_is_torch_fidelity_s_but_for_its_float32(features, agree, reference_module):
    one, other = features(500, 64, 0), features(400, 64, 1)
    expected, _ = by_torch_fidelity(
        reference_module("torch_fidelity.metric_kid"), one, other, kid_subsets=20, kid_subset_size=100
    )
    because = "torch-fidelity sums the kernel in float32, kennel in float64"
    ours = kid(one, other, subsets=20, subset_size=100).mean
    agree("KID, 64 random features in float32", ours, expected, "torch-fidelity", 1e-4, because)


def test_kid_of_all_pairs_is_that_of_torchmetrics_and_of_the_definition(features, agree, reference_module):
    one, other = features(300, 64, 4), features(300, 64, 5)
    ours = kid_of_all_pairs(one, other).value
    theirs = by_torchmetrics(reference_module("torchmetrics.image.kid"), one, other)
    agree("KID, all pairs", ours, theirs, "torchmetrics")
    agree("KID, one subset of all", kid(one, other, subsets=1, subset_size=300).mean, theirs, "torchmetrics")
    more = features(450, 64, 6)
    expected = by_scikit_learn(one, more)
    agree("KID, all pairs of 300 and 450", kid_of_all_pairs(one, more).value, expected, "scikit-learn")


def test_kid_of_one_distribution_is_near_0_and_agrees_there(features, agree, reference_module):
    rows = features(600, 64, 7)
    one, other = rows[:300], rows[300:]
    ours, theirs = (
        kid_of_all_pairs(one, other),
        by_torchmetrics(reference_module("torchmetrics.image.kid"), one, other),
    )
    assert abs(ours.value) < 4 * ours.standard_error
    agree("KID of two halves of one set", ours.value, theirs, "torchmetrics", 1e-6)
