"""Precision, recall, density and coverage beside torch-fidelity, the prdc package and scikit-learn."""

import numpy as np
import pytest
import torch

from kennel.evaluation.metrics._nearest import nearest
from kennel.evaluation.metrics.prdc import harmonic_mean, manifolds


@pytest.fixture(params=["random features", "pixels of digits"])
def sides(request, features, digits):
    """A name, fakes and reals: 400 random features of 64, or 300 pictures of digits a side."""
    if request.param == "random features":
        return request.param, features(300, 64, 0), features(400, 64, 1)
    even, odd = digits
    return request.param, even[:300], odd[:400]


def by_torch_fidelity(module, fakes: np.ndarray, reals: np.ndarray, neighbors: int) -> dict[str, float]:
    one, other = (torch.from_numpy(side.astype(np.float64)) for side in (fakes, reals))
    return module.prc_features_to_metric(one, other, prc_neighborhood=neighbors, verbose=False)


def by_prdc(module, fakes: np.ndarray, reals: np.ndarray, neighbors: int) -> dict[str, float]:
    return module.compute_prdc(reals.astype(np.float64), fakes.astype(np.float64), nearest_k=neighbors)


@pytest.mark.parametrize("neighbors", [3, 5])
def test_precision_recall_and_f1_are_torch_fidelity_s(sides, neighbors, agree, reference_module):
    name, fakes, reals = sides
    ours = manifolds(fakes, reals, neighbors, neighbors)
    theirs = by_torch_fidelity(reference_module("torch_fidelity.metric_prc"), fakes, reals, neighbors)
    for quantity, found, key in (
        ("precision", ours.precision, "precision"),
        ("recall", ours.recall, "recall"),
        ("F1", harmonic_mean(ours.precision, ours.recall), "f_score"),
    ):
        assert 0 < theirs[key] < 1, "a value of 0 or 1 would agree with much"
        agree(f"{quantity}, k = {neighbors}, {name}", found, theirs[key], "torch-fidelity")


@pytest.mark.parametrize("neighbors", [3, 5])
def test_density_and_coverage_are_those_of_prdc(sides, neighbors, agree, reference_module):
    name, fakes, reals = sides
    ours = manifolds(fakes, reals, neighbors, neighbors)
    theirs = by_prdc(reference_module("prdc"), fakes, reals, neighbors)
    agree(f"density, k = {neighbors}, {name}", ours.density, theirs["density"], "prdc")
    agree(f"coverage, k = {neighbors}, {name}", ours.coverage, theirs["coverage"], "prdc")


def test_precision_and_recall_of_prdc_are_the_same_where_no_distance_is_a_border(
    features, agree, reference_module
):
    fakes, reals = features(300, 64, 0), features(400, 64, 1)
    ours, theirs = manifolds(fakes, reals, 5, 5), by_prdc(reference_module("prdc"), fakes, reals, 5)
    agree("precision, k = 5, random features", ours.precision, theirs["precision"], "prdc")
    agree("recall, k = 5, random features", ours.recall, theirs["recall"], "prdc")


def test_prdc_leaves_the_border_out_of_precision_and_recall(agree, differ, reference_module):
    random = np.random.default_rng(3)
    fakes, reals = (random.integers(low, low + 9, (60, 2)).astype(np.float32) for low in (0, 4))
    ours = manifolds(fakes, reals, 3, 3)
    fidelity = by_torch_fidelity(reference_module("torch_fidelity.metric_prc"), fakes, reals, 3)
    prdc = by_prdc(reference_module("prdc"), fakes, reals, 3)
    because = "on the border of a ball: inside (<=) by Kynkäänniemi et al. and here, outside (<) in prdc"
    for quantity in ("precision", "recall"):
        found = getattr(ours, quantity)
        agree(f"{quantity} of whole numbers, with ties", found, fidelity[quantity], "torch-fidelity")
        differ(f"{quantity} of whole numbers, with ties", found, prdc[quantity], "prdc", because)
        assert prdc[quantity] < found
    agree("density of whole numbers, with ties", ours.density, prdc["density"], "prdc")
    agree("coverage of whole numbers, with ties", ours.coverage, prdc["coverage"], "prdc")


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_nearest_neighbours_are_scikit_learn_s(metric, features, agree):
    from sklearn.neighbors import NearestNeighbors

    left, right = np.abs(features(150, 96, 4)), np.abs(features(350, 96, 5))
    search = NearestNeighbors(n_neighbors=4, metric=metric, algorithm="brute").fit(right.astype(np.float64))
    distances, indices = search.kneighbors(left.astype(np.float64))
    ours = nearest(left, right, 4, cosine=metric == "cosine")
    agree(f"distances to the 4 nearest, {metric}", ours.distances, distances, "scikit-learn")
    assert np.array_equal(ours.indices, indices)
