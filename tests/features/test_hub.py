import dataclasses
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from kennel.errors import WeightsError
from kennel.features import hub
from kennel.features.factory import open_extractor
from kennel.features.hub import Clip, Dinov2, Dinov2Base
from kennel.features.hub_cache import CONFIG, TENSORS, Repository, fetch_repository, find_repository_folder
from kennel.features.pillow_bicubic import pillow_bicubic
from kennel.features.weights import weights_folder
from kennel.storage.hashing import file_sha256

Folders = dict[str, Path]


def pictures(height: int, width: int, count: int = 2) -> torch.Tensor:
    """Smooth colour with sharp edges."""
    generator = np.random.default_rng(4)
    coarse = generator.integers(0, 256, (count, 3, 5, 5), dtype=np.uint8)
    return torch.from_numpy(coarse.repeat(height // 5 + 1, 2).repeat(width // 5 + 1, 3)[..., :height, :width])


def normalised(images: torch.Tensor, mean: list[float], deviation: list[float]) -> torch.Tensor:
    return (images / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]


def test_dinov2_gives_the_librarys_class_token_of_the_published_input(transformer_folders: Folders) -> None:
    transformers = pytest.importorskip("transformers")
    network = transformers.AutoModel.from_pretrained(transformer_folders["dinov2"], use_safetensors=True)
    pixels = pictures(48, 80)
    images = normalised(pillow_bicubic(pixels, 224, 224), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.inference_mode():
        expected = network.eval()(pixel_values=images).last_hidden_state[:, 0]
    extractor = open_extractor("dinov2", transformer_folders["dinov2"])
    torch.testing.assert_close(extractor.extract(pixels).features, expected, rtol=1e-5, atol=1e-5)
    assert extractor.dimension == 16
    assert extractor.extract(pixels).logits is None


def test_clip_gives_the_librarys_image_embedding_of_the_centre(transformer_folders: Folders) -> None:
    transformers = pytest.importorskip("transformers")
    network = transformers.CLIPModel.from_pretrained(transformer_folders["clip"], use_safetensors=True)
    pixels = pictures(48, 80)
    mean = [0.48145466, 0.4578275, 0.40821073]
    deviation = [0.26862954, 0.26130258, 0.27577711]
    centre = pillow_bicubic(pixels, 32, 53)[..., 10:42]  # the shorter side to 32, then (53 - 32) / 2 = 10.5
    with torch.inference_mode():
        projected = network.eval().get_image_features(pixel_values=normalised(centre, mean, deviation))
    expected = projected if isinstance(projected, torch.Tensor) else projected.pooler_output
    extractor = open_extractor("clip", transformer_folders["clip"])
    torch.testing.assert_close(extractor.extract(pixels).features, expected, rtol=1e-5, atol=1e-5)
    assert extractor.dimension == 12
    assert "shorter side to 32, centre 32x32" in extractor.resize


def test_both_names_of_dinov2_differ_in_what_they_fetch_only(transformer_folders: Folders) -> None:
    pixels = pictures(32, 32)
    large, base = (kind.open(transformer_folders["dinov2"]) for kind in (Dinov2, Dinov2Base))
    assert torch.equal(large.extract(pixels).features, base.extract(pixels).features)
    assert Dinov2.repository.name == "facebook/dinov2-large"
    assert Dinov2Base.repository.name == "facebook/dinov2-base"


def test_weights_that_nobody_vouches_for_say_so_and_published_ones_too(
    transformer_folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = transformer_folders["clip"]
    digest = Clip.open(folder).weights_digest
    assert digest is not None
    assert digest.startswith("tensors:")
    sha256 = file_sha256(folder / TENSORS)
    monkeypatch.setattr(Clip, "repository", dataclasses.replace(Clip.repository, sha256=sha256))
    assert Clip.open(folder / TENSORS).weights_digest == sha256


def test_bfloat16_stays_near_float32(transformer_folders: Folders) -> None:
    exact = Clip.open(transformer_folders["clip"]).extract(pictures(32, 32)).features
    fast = Clip.open(transformer_folders["clip"], precision="bfloat16").extract(pictures(32, 32)).features
    assert fast.dtype == torch.float32
    assert float((fast - exact).norm() / exact.norm()) < 0.1


def test_opening_says_nothing_and_leaves_the_librarys_words_as_they_were(
    transformer_folders: Folders, capfd: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    before = transformers.utils.logging.get_verbosity()
    Clip.open(transformer_folders["clip"])
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == before


@pytest.fixture
def copied(transformer_folders: Folders, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a folder, to be spoilt."""
    return lambda name: Path(shutil.copytree(transformer_folders[name], tmp_path / name))


def test_a_pickle_is_never_read(copied: Callable[[str], Path]) -> None:
    folder = copied("dinov2")
    torch.save(load_file(folder / TENSORS), folder / "pytorch_model.bin")
    (folder / TENSORS).unlink()
    with pytest.raises(WeightsError, match=r"has no model.safetensors.*never read"):
        Dinov2.open(folder)


def test_folders_of_other_networks_are_refused_in_one_sentence(
    copied: Callable[[str], Path], tmp_path: Path
) -> None:
    clip, dinov2 = copied("clip"), copied("dinov2")
    with pytest.raises(WeightsError, match=r"type clip, and the dinov2 extractor needs dinov2"):
        Dinov2.open(clip)
    with pytest.raises(WeightsError, match=r"has no config.json and no model.safetensors"):
        Dinov2.open(tmp_path / "absent")
    state = load_file(dinov2 / TENSORS)
    save_file({name: state[name] for name in state if "layernorm" not in name}, dinov2 / TENSORS)
    with pytest.raises(WeightsError, match="lacks 2 tensors of the dinov2 network, such as layernorm"):
        Dinov2.open(dinov2)
    save_file({**state, "layernorm.weight": torch.zeros(3)}, dinov2 / TENSORS)
    with pytest.raises(WeightsError, match="does not contain the network") as caught:
        Dinov2.open(dinov2)
    assert "\n" not in str(caught.value)
    (dinov2 / TENSORS).write_bytes(b"something else")
    with pytest.raises(WeightsError, match="does not contain the network"):
        Dinov2.open(dinov2)
    (dinov2 / CONFIG).write_text("no json")
    with pytest.raises(WeightsError, match="is not a network's configuration"):
        Dinov2.open(dinov2)


@pytest.mark.parametrize("kind", [Dinov2, Dinov2Base, Clip])
def test_a_missing_extra_is_one_sentence(
    kind: type[hub.HubExtractor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(WeightsError, match=r'needs the transformers library: pip install "kennel\[hub\]"'):
        kind.open()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"needs the huggingface_hub library"):
        fetch_repository(kind.repository, kind.name)


def test_without_leave_to_download_the_command_and_the_address_are_named() -> None:
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("needs the hub extra: transformers is absent")
    with pytest.raises(WeightsError, match=r"kennel extractor fetch clip.*huggingface.co/openai/clip"):
        Clip.open(download=False)


@pytest.fixture
def repository(transformer_folders: Folders, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository that serves the tiny DINOv2 instead of the network, at its pinned revision only."""
    library = pytest.importorskip("huggingface_hub")
    served = transformer_folders["dinov2"]
    sha256 = file_sha256(served / TENSORS)
    repository = dataclasses.replace(Dinov2.repository, sha256=sha256, revision="a" * 40)

    def download(name: str, file: str, *, revision: str, local_dir: Path) -> str:
        assert (name, revision) == (repository.name, "a" * 40)
        local_dir.mkdir(parents=True, exist_ok=True)
        return str(shutil.copy(served / file, local_dir / file))

    monkeypatch.setattr(library, "hf_hub_download", download)
    monkeypatch.setattr(Dinov2, "repository", repository)
    return repository


def test_a_download_is_checked_kept_and_used(repository: Repository) -> None:
    assert find_repository_folder(repository) is None
    extractor = open_extractor("dinov2")
    folder = weights_folder() / "facebook--dinov2-large"
    assert find_repository_folder(repository) == folder
    assert sorted(path.name for path in weights_folder().iterdir()) == [folder.name]
    assert extractor.weights_digest == repository.sha256
    assert open_extractor("dinov2", download=False).weights_digest == repository.sha256


def test_kennel_weights_comes_before_the_cache(
    repository: Repository, tmp_path: Path, transformer_folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_repository(repository, "dinov2")
    chosen = tmp_path / "weights"
    shutil.copytree(transformer_folders["dinov2"], chosen / repository.stored)
    monkeypatch.setenv("KENNEL_WEIGHTS", str(chosen))
    assert find_repository_folder(repository) == chosen / repository.stored


def test_a_download_of_something_else_is_refused_and_not_kept(repository: Repository) -> None:
    with pytest.raises(WeightsError, match="has sha256"):
        fetch_repository(dataclasses.replace(repository, sha256="0" * 64), "dinov2")
    assert list(weights_folder().iterdir()) == []


def test_a_download_that_fails_says_what_to_get_by_hand(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    library: Any = pytest.importorskip("huggingface_hub")

    def fail(*_: object, **__: object) -> str:
        raise library.errors.LocalEntryNotFoundError("no answer.\nmore words")

    monkeypatch.setattr(library, "hf_hub_download", fail)
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(no answer\): get config.json") as caught:
        fetch_repository(repository, "dinov2")
    assert repository.address in str(caught.value)
    assert str(weights_folder()) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_pinned_revisions_are_commits_and_their_checksums_whole() -> None:
    for kind in (Dinov2, Dinov2Base, Clip):
        repository = kind.repository
        assert len(repository.revision) == 40
        assert len(repository.sha256) == 64
        int(repository.revision, 16)
        int(repository.sha256, 16)


def test_the_librarys_own_preprocessing_is_stated_in_numbers_that_agree(
    transformer_folders: Folders,
) -> None:
    transformers = pytest.importorskip("transformers")
    constants = transformers.image_utils
    assert list(hub.IMAGENET[0]) == list(constants.IMAGENET_DEFAULT_MEAN)
    assert list(hub.IMAGENET[1]) == list(constants.IMAGENET_DEFAULT_STD)
    assert list(hub.OPENAI[0]) == list(constants.OPENAI_CLIP_MEAN)
    assert list(hub.OPENAI[1]) == list(constants.OPENAI_CLIP_STD)
    assert json.loads((transformer_folders["clip"] / CONFIG).read_text())["model_type"] == "clip"
