"""What every registered extractor keeps: the contract, over the whole registry."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kennel.data.dataset import ImageDataset
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources.options import PrepareOptions
from kennel.features.base import EXTRACTORS, Extractor
from kennel.features.factory import open_extractor
from kennel.features.inception import Inception
from kennel.features.train_classifier import train_classifier
from kennel.features.weights import LoadedWeights

Request = pytest.FixtureRequest


def _mobilenet(request: Request) -> Extractor:
    folder = request.getfixturevalue("shared_weights")
    return open_extractor("mobilenet", folder / "mobilenet_v2_imagenet.safetensors")


def _inception(request: Request) -> Extractor:
    return Inception(LoadedWeights(dict(request.getfixturevalue("random_inception_state")), "tensors:random"))


def _classifier(request: Request) -> Extractor:
    place = request.getfixturevalue("tmp_path_factory").mktemp("classifier") / "tiny.safetensors"
    packed = ImageDataset(request.getfixturevalue("labelled_set"))
    return open_extractor("classifier", train_classifier(packed, place, epochs=2).path)


def _stacked_classifier(request: Request) -> Extractor:
    place = request.getfixturevalue("tmp_path_factory").mktemp("stacked") / "digits.safetensors"
    folder = place.with_name("digits")
    prepare("digits", folder, PrepareOptions(limit=200))
    return open_extractor("stacked_classifier", train_classifier(ImageDataset(folder), place, epochs=2).path)


def _transformer(name: str, model_type: str) -> Callable[[Request], Extractor]:
    return lambda request: open_extractor(name, request.getfixturevalue("transformer_folders")[model_type])


MAKERS: dict[str, Callable[[Request], Extractor]] = {
    "classifier": _classifier,
    "clip": _transformer("clip", "clip"),
    "dinov2": _transformer("dinov2", "dinov2"),
    "dinov2_base": _transformer("dinov2_base", "dinov2"),
    "efficientnet_lite0": lambda _: open_extractor("efficientnet_lite0"),
    "efficientnet_lite1": lambda _: open_extractor("efficientnet_lite1"),
    "inception": _inception,
    "mobilenet": _mobilenet,
    "pixels": lambda _: open_extractor("pixels"),
    "stacked_classifier": _stacked_classifier,
}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def extractor(request: Request) -> Extractor:
    return MAKERS[request.param](request)


def pictures(count: int = 5, channels: int = 3, height: int = 20, width: int = 20) -> torch.Tensor:
    pixels = np.random.default_rng(7).integers(0, 256, (count, channels, height, width), dtype=np.uint8)
    return torch.from_numpy(pixels)


def near(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal up to the order in which float32 sums are taken.

    One rounding is 6e-8 of a term; some thousand terms a sum in some fifty layers leave about 1e-5 of the
    features' spread, and ten times that is allowed.
    """
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def test_every_registered_extractor_is_tried_here() -> None:
    assert set(MAKERS) == set(EXTRACTORS)


def test_features_are_finite_float32_of_the_stated_dimension_and_differ_between_pictures(
    extractor: Extractor,
) -> None:
    extracted = extractor.extract(pictures())
    assert extracted.features.shape == (5, extractor.dimension)
    assert extracted.features.dtype == torch.float32
    assert extracted.features.device.type == "cpu"
    assert bool(torch.isfinite(extracted.features).all())
    assert float(torch.pdist(extracted.features).min()) > 0
    assert (extracted.logits is None) == (extractor.logits is None)
    if extracted.logits is not None:
        assert extracted.logits.shape[0] == 5
        assert extracted.logits.dtype == torch.float32
        assert bool(torch.isfinite(extracted.logits).all())


def test_the_batch_size_changes_no_feature_and_no_logit(extractor: Extractor) -> None:
    pixels = pictures(count=9)  # more than a piece of 8
    together = extractor.extract(pixels)
    for sizes in ((1, 8), (3, 6)):
        apart = [extractor.extract(part) for part in pixels.split(sizes)]  # type: ignore[no-untyped-call]
        near(torch.cat([one.features for one in apart]), together.features)
        if together.logits is not None:
            near(torch.cat([one.logits for one in apart]), together.logits)


def test_the_same_pictures_twice_give_the_same_features_and_stay_as_they_are(extractor: Extractor) -> None:
    pixels = pictures()
    before = pixels.clone()
    first, second = extractor.extract(pixels), extractor.extract(pixels)
    assert torch.equal(first.features, second.features)
    assert torch.equal(pixels, before)
    assert not first.features.requires_grad


def test_grey_pictures_are_judged_as_their_channel_repeated(extractor: Extractor) -> None:
    grey = pictures(channels=1)
    near(extractor.extract(grey).features, extractor.extract(grey.expand(-1, 3, -1, -1)).features)


def test_pictures_of_any_shape_are_taken(extractor: Extractor) -> None:
    assert extractor.extract(pictures(2, height=8, width=8)).features.shape == (2, extractor.dimension)
    assert extractor.extract(pictures(2, height=40, width=24)).features.shape == (2, extractor.dimension)


def test_the_protocol_says_what_was_done(extractor: Extractor) -> None:
    assert extractor.name in EXTRACTORS
    assert isinstance(extractor, EXTRACTORS[extractor.name])
    assert len(extractor.resize) > 20
    assert extractor.precision == "float32"
    if extractor.name == "pixels":
        assert extractor.weights_digest is None
    else:
        assert extractor.weights_digest is not None
        assert len(extractor.weights_digest.removeprefix("tensors:")) in (6, 64)  # "random", or a sha256


def test_the_classes_speak_as_their_objects_do() -> None:
    for name in EXTRACTORS:
        kind = EXTRACTORS[name]
        assert kind.name == name
        assert kind.dimension > 0
        assert kind.resize


def test_the_folder_is_not_written_to(transformer_folders: dict[str, Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in transformer_folders["dinov2"].iterdir()}
    open_extractor("dinov2", transformer_folders["dinov2"])
    assert before == {path: path.stat().st_mtime_ns for path in transformer_folders["dinov2"].iterdir()}
