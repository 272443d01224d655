"""MiFID beside torchmetrics, which measures the distance from the real images to the fakes."""

import numpy as np
import pytest
import torch

from kennel.evaluation.metrics.fid import frechet_distance
from kennel.evaluation.metrics.mifid import mifid, nearest_distances
from kennel.features.moments import moments


def by_torchmetrics(module, real: np.ndarray, fake: np.ndarray, epsilon: float = 0.1) -> float:
    metric = module.MemorizationInformedFrechetInceptionDistance(
        feature=torch.nn.Identity(), cosine_distance_eps=epsilon
    )
    metric.update(torch.from_numpy(real).double(), real=True)
    metric.update(torch.from_numpy(fake).double(), real=False)
    return float(metric.compute())


def kennel_mifid(fakes: np.ndarray, training: np.ndarray, epsilon: float = 0.1):
    fid = frechet_distance(moments(fakes), moments(training))
    return mifid(fid, float(nearest_distances(fakes, training).mean()), epsilon)


@pytest.fixture
def module(reference_module):
    return reference_module("torchmetrics.image.mifid")


def test_the_distance_is_scikit_learn_s(features, digits, agree):
    from sklearn.metrics.pairwise import cosine_similarity

    for quantity, fakes, training in (
        ("distance to the nearest, 64 random features", features(300, 64, 0), features(400, 64, 1)),
        ("distance to the nearest, pixels of digits", *digits),
    ):
        theirs = (1 - np.abs(cosine_similarity(fakes.astype(float), training.astype(float)))).min(1)
        agree(quantity, nearest_distances(fakes, training), theirs, "scikit-learn")


def test_torchmetrics_called_the_other_way_round_gives_kennel_s_mifid(features, agree, module):
    fakes, training = features(300, 32, 2), features(200, 32, 3)
    ours = kennel_mifid(fakes, training, epsilon=0.5)
    assert ours.penalty < 0.5, "the penalty is at work"
    swapped = by_torchmetrics(module, real=fakes, fake=training, epsilon=0.5)
    agree("MiFID, torchmetrics with real and fake swapped", ours.value, swapped, "torchmetrics")


def test_torchmetrics_as_it_is_meant_measures_from_the_real_images(features, agree, differ, module):
    fakes, training = features(300, 32, 2), features(200, 32, 3)
    ours, theirs = kennel_mifid(fakes, training, 0.5), by_torchmetrics(module, training, fakes, 0.5)
    because = "from each image to the training set here and in Kaggle's scorer, the converse in torchmetrics"
    differ("MiFID, penalised", ours.value, theirs, "torchmetrics", because)
    turned = mifid(ours.fid, float(nearest_distances(training, fakes).mean()), 0.5)
    agree("MiFID with kennel's distance turned round", turned.value, theirs, "torchmetrics")


def test_copies_of_20_training_images_escape_torchmetrics_and_not_kennel(differ, module):
    training = np.random.default_rng(4).normal(size=(500, 32)).astype(np.float32)
    copies = training[np.random.default_rng(5).integers(0, 20, 300)]
    ours, theirs = kennel_mifid(copies, training), by_torchmetrics(module, training, copies)
    differ(
        "MiFID, copies of 20 training images",
        ours.value,
        theirs,
        "torchmetrics",
        "copies are at distance 0 from the training set, though most of it is far from them",
    )
    assert ours.value > 1e12
    assert theirs == pytest.approx(ours.fid, rel=1e-6), "its penalty is none"


def test_a_few_copies_among_new_images_are_punished_by_torchmetrics_alone(differ, module):
    random = np.random.default_rng(6)
    training = random.normal(size=(100, 32)).astype(np.float32)
    fakes = np.concatenate([training, random.normal(size=(400, 32)).astype(np.float32)])
    ours, theirs = kennel_mifid(fakes, training), by_torchmetrics(module, training, fakes)
    differ(
        "MiFID, 100 copies among 400 new images",
        ours.value,
        theirs,
        "torchmetrics",
        "each training image is met, though most images are new",
    )
    assert ours.penalty == 1
    assert theirs > 1e3 * ours.value
