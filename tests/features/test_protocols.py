from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kennel.data.images import ImageSource
from kennel.errors import JudgementError, UnknownNameError
from kennel.features.base import EXTRACTORS
from kennel.features.cache import feature_key
from kennel.features.factory import open_extractor
from kennel.features.inception import Inception
from kennel.features.mobilenet import MobileNet
from kennel.features.mobilenet_network import MobileNetGraph
from kennel.features.resize import PROTOCOLS
from kennel.features.weights import LoadedWeights

TF1_WORDS = "TensorFlow 1 bilinear to 299x299 (no half-pixel centres, no antialias), (x - 128) / 128"
HALF_PIXEL_WORDS = "bilinear to 224x224 (half-pixel centres, no antialias), (x - 128) / 128"


@pytest.fixture(scope="module")
def inceptions(random_inception_state: dict[str, torch.Tensor]) -> dict[str, Inception]:
    """The same random network under every protocol."""
    loaded = LoadedWeights(random_inception_state, "tensors:random")
    return {name: Inception(loaded, protocol=name) for name in PROTOCOLS}


def test_the_words_of_the_default_rules_are_those_of_earlier_scores_and_caches() -> None:
    assert (Inception.protocol, Inception.resize) == ("tf1", TF1_WORDS)
    assert (MobileNet.protocol, MobileNet.resize) == ("pytorch", HALF_PIXEL_WORDS)
    assert Inception.logits == "1008 logits, last bias left out"
    assert EXTRACTORS["pixels"].resize == "area mean over 16x16 cells, scaled to [-1, 1]"


def test_each_protocol_says_its_rule_and_its_scale(inceptions: dict[str, Inception]) -> None:
    words = {name: extractor.resize for name, extractor in inceptions.items()}
    assert words == {
        "tf1": TF1_WORDS,
        "clean": "Pillow bicubic in floats to 299x299 (antialias, in 0..255, unrounded), (x - 128) / 128",
        "pytorch": "bilinear to 299x299 (half-pixel centres, no antialias), (x - 127.5) / 127.5",
    }
    assert {extractor.protocol for extractor in inceptions.values()} == set(PROTOCOLS)


def test_each_protocol_gives_the_network_its_own_picture(inceptions: dict[str, Inception]) -> None:
    pixels = torch.randint(0, 256, (2, 3, 40, 56), dtype=torch.uint8)
    scaled = {name: extractor.scaled(pixels) for name, extractor in inceptions.items()}
    for name, picture in scaled.items():
        resized = PROTOCOLS[name].resize(pixels, 299)
        middle = 127.5 if name == "pytorch" else 128
        torch.testing.assert_close(picture, (resized - middle) / middle, rtol=0, atol=1e-6)
    assert not torch.allclose(scaled["tf1"], scaled["clean"], atol=0.1)
    assert not torch.allclose(scaled["tf1"], scaled["pytorch"], atol=0.1)


def test_the_pytorch_protocol_scales_black_and_white_to_minus_1_and_1(
    inceptions: dict[str, Inception],
) -> None:
    for value, expected in ((0, -1.0), (255, 1.0)):
        picture = inceptions["pytorch"].scaled(torch.full((1, 3, 8, 8), value, dtype=torch.uint8))
        torch.testing.assert_close(picture, torch.full_like(picture, expected), rtol=1e-6, atol=0)


def test_the_cache_keeps_the_protocols_apart(inceptions: dict[str, Inception]) -> None:
    class OnePicture(ImageSource):
        name, fingerprint, shape = "one", "print", (3, 8, 8)

        def __len__(self) -> int:
            return 1

        def batches(self, size: int):
            yield from ()

    images = OnePicture()
    keys = {feature_key(images, extractor) for extractor in inceptions.values()}
    assert len(keys) == len(PROTOCOLS)


def test_biased_logits_are_the_unbiased_ones_and_the_bias(
    random_inception_state: dict[str, torch.Tensor], inceptions: dict[str, Inception]
) -> None:
    biased = Inception(LoadedWeights(random_inception_state, "tensors:random"), biased_logits=True)
    assert (inceptions["tf1"].logits, biased.logits) == (
        "1008 logits, last bias left out",
        "1008 logits, last bias added",
    )
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    plain, added = inceptions["tf1"].extract(pixels), biased.extract(pixels)
    assert torch.equal(plain.features, added.features)
    assert plain.logits is not None
    assert added.logits is not None
    torch.testing.assert_close(added.logits, plain.logits + random_inception_state["fc.bias"])


def test_mobilenet_takes_other_protocols_too() -> None:
    torch.manual_seed(0)
    loaded = LoadedWeights(MobileNetGraph().state_dict(), "tensors:random")
    clean = MobileNet(loaded, protocol="clean")
    assert (
        clean.resize
        == "Pillow bicubic in floats to 224x224 (antialias, in 0..255, unrounded), (x - 128) / 128"
    )
    assert clean.scaled(torch.zeros(1, 3, 30, 20, dtype=torch.uint8)).shape == (1, 3, 224, 224)


def test_a_misspelt_protocol_is_helped_before_any_weights_are_looked_for() -> None:
    for extractor in ("inception", "mobilenet", "pixels"):
        with pytest.raises(UnknownNameError, match="no resize protocol 'claen': did you mean 'clean'"):
            open_extractor(extractor, protocol="claen", download=False)


def test_open_extractor_hands_the_choices_on(
    random_inception_state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    weights = tmp_path / "random.safetensors"
    save_file(random_inception_state, weights)
    chosen = open_extractor("inception", weights, protocol="clean", biased_logits=True)
    assert (chosen.protocol, chosen.logits) == ("clean", "1008 logits, last bias added")
    assert chosen.resize.startswith("Pillow bicubic")
    plain = open_extractor("inception", weights, protocol="tf1")
    assert (plain.resize, plain.logits) == (TF1_WORDS, Inception.logits)


def test_extractors_without_the_choice_refuse_it_in_a_sentence() -> None:
    with pytest.raises(JudgementError, match=r"pixels extractor has one resize rule \(area mean"):
        open_extractor("pixels", protocol="clean")
    assert open_extractor("pixels", protocol="own").resize == EXTRACTORS["pixels"].resize
    for extractor in ("pixels", "mobilenet"):
        with pytest.raises(JudgementError, match="extractor has no choice of logits"):
            open_extractor(extractor, biased_logits=True, download=False)
