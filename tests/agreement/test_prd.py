"""PRD beside a plain transcription of its definition (Sajjadi et al. 2018, arXiv 1806.00035)."""

import math

import numpy as np
import pytest

from kennel.evaluation.metrics.prd import prd, prd_of_histograms


def curve_by_definition(reference: np.ndarray, fakes: np.ndarray, angles: int = 1001):
    """Theorem 1's curve: for each slope the two sums over the clusters, one number at a time."""
    precision, recall = [], []
    for step in range(angles):
        slope = math.tan(1e-10 + (math.pi / 2 - 2e-10) * step / (angles - 1))
        precision.append(sum(min(slope * p, q) for p, q in zip(reference, fakes, strict=True)))
        recall.append(sum(min(p, q / slope) for p, q in zip(reference, fakes, strict=True)))
    return np.array(precision), np.array(recall)


def greatest_f(precision: np.ndarray, recall: np.ndarray, beta: float) -> float:
    return max(
        (1 + beta**2) * p * r / (beta**2 * p + r) for p, r in zip(precision, recall, strict=True) if p + r > 0
    )


def test_the_curve_of_two_histograms_is_that_of_the_definition(agree):
    random = np.random.default_rng(0)
    reference, fakes = random.dirichlet(np.ones(20)), random.dirichlet(np.full(20, 0.3))
    ours = prd_of_histograms(reference, fakes)
    precision, recall = curve_by_definition(reference, fakes)
    agree("PRD curve, precision, by the definition", ours.precision, precision, "numpy")
    agree("PRD curve, recall, by the definition", ours.recall, recall, "numpy")
    for beta, name in ((8, "F_8"), (1 / 8, "F_1/8"), (1, "F_1")):
        agree(
            f"PRD, {name} of the curve, by the definition",
            ours.max_f_score(beta),
            greatest_f(precision, recall, beta),
            "numpy",
        )


def test_prd_of_features_is_that_of_the_published_protocol(features, digits, agree):
    """Ten clusterings of the union by MiniBatchKMeans, each with its own seed; their curves averaged."""
    from sklearn.cluster import MiniBatchKMeans

    even, odd = (side[:800] for side in digits)
    for name, fakes, reference in (
        ("pixels of digits", even, odd),
        ("random features", features(400, 32, 0), features(400, 32, 1)),
    ):
        ours = prd(fakes, reference, runs=3, seed=5)
        random = np.random.default_rng(5)
        curves = []
        for _ in range(3):
            kmeans = MiniBatchKMeans(20, n_init=10, random_state=int(random.integers(2**31)))
            places = kmeans.fit(np.concatenate([reference, fakes])).labels_
            histograms = [
                [float((side == cluster).mean()) for cluster in range(20)]
                for side in (places[: len(reference)], places[len(reference) :])
            ]
            curves.append(curve_by_definition(*histograms))
        precision, recall = np.mean(curves, axis=0)
        for found, beta, figure in ((ours.f8, 8, "F_8"), (ours.f1_8, 1 / 8, "F_1/8"), (ours.f1, 1, "F_1")):
            agree(f"PRD, {figure}, {name}", found, greatest_f(precision, recall, beta), "scikit-learn")


def test_prd_hardly_depends_on_the_clustering(digits):
    even, odd = (side[:800] for side in digits)
    one, other = prd(even, odd, runs=5, seed=1), prd(even, odd, runs=5, seed=2)
    assert one.f8 != other.f8
    assert one.f8 == pytest.approx(other.f8, abs=4 * max(one.f8_deviation, other.f8_deviation))
