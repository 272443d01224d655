"""Triples of classes, by a classifier of gray images on each channel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources.options import PrepareOptions
from kennel.errors import WeightsError
from kennel.evaluation.metrics.mode_coverage import modes_of_classes
from kennel.features.classifier import Classifier
from kennel.features.factory import open_extractor
from kennel.features.stacked_classifier import StackedClassifier
from kennel.features.train_classifier import train_classifier


@pytest.fixture(scope="module")
def gray_set(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    """Three classes of 20 gray images: dark, middle and bright."""
    folder = tmp_path_factory.mktemp("gray")
    random = np.random.default_rng(0)
    for label, level in enumerate((30, 128, 220)):
        (folder / "images" / str(label)).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(level + random.normal(0, 10, (8, 8)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "images" / str(label) / f"{number}.png")
    prepare(folder / "images", folder / "set", PrepareOptions(size=8))
    return ImageDataset(folder / "set")


@pytest.fixture(scope="module")
def weights(gray_set: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_classifier(gray_set, tmp_path_factory.mktemp("weights") / "gray.safetensors", epochs=20).path


def test_each_triple_is_named_by_the_classes_of_its_channels(gray_set: ImageDataset, weights: Path) -> None:
    assert gray_set.labels is not None
    random = np.random.default_rng(1)
    rows = random.integers(0, len(gray_set.images), (40, 3))
    stacked = torch.from_numpy(np.stack([np.array(gray_set.images)[row, 0] for row in rows]))
    logits = open_extractor("stacked_classifier", weights).extract(stacked).logits
    assert logits is not None
    expected = np.asarray(gray_set.labels)[rows] @ np.array([9, 3, 1])
    np.testing.assert_array_equal(logits.argmax(1).numpy(), expected)
    assert modes_of_classes(logits.argmax(1).numpy(), 27).covered == len(set(expected.tolist()))


def test_logits_are_the_log_probabilities_of_all_triples(gray_set: ImageDataset, weights: Path) -> None:
    pixels = torch.from_numpy(np.array(gray_set.images)[:6]).view(2, 3, 8, 8)
    stacked = open_extractor("stacked_classifier", weights).extract(pixels)
    single = open_extractor("classifier", weights).extract(pixels.view(6, 1, 8, 8))
    assert stacked.logits is not None
    assert single.logits is not None
    torch.testing.assert_close(stacked.logits.exp().sum(1), torch.ones(2))
    channels = single.logits.log_softmax(1).view(2, 3, 3)
    torch.testing.assert_close(stacked.logits[1, 9 * 2 + 3 * 0 + 1], channels[1, [0, 1, 2], [2, 0, 1]].sum())
    torch.testing.assert_close(stacked.features, single.features.view(2, 3 * Classifier.dimension))


def test_a_classifier_of_color_images_is_refused(gray_set: ImageDataset, tmp_path: Path) -> None:
    prepare(gray_set.path.parent / "images", tmp_path / "set", PrepareOptions(size=8, color="rgb"))
    color = train_classifier(ImageDataset(tmp_path / "set"), tmp_path / "color.safetensors", epochs=1).path
    with pytest.raises(WeightsError, match="needs one of gray images"):
        StackedClassifier.open(color)


def test_without_weights_it_says_how_to_train_them() -> None:
    with pytest.raises(WeightsError, match="kennel extractor train DATA"):
        open_extractor("stacked_classifier")
