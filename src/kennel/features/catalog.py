"""The extractors, where their weights come from, and how to fetch them."""

from dataclasses import dataclass
from pathlib import Path

from kennel.errors import WeightsError
from kennel.features import factory  # noqa: F401  (registers the extractors)
from kennel.features.base import EXTRACTORS
from kennel.features.classifier import Classifier, read_facts, trained_classifiers
from kennel.features.efficientnet_lite import EfficientNetLite0, EfficientNetLite1
from kennel.features.hub import HubExtractor
from kennel.features.hub_cache import TENSORS, fetch_repository, find_repository_folder, store_folder
from kennel.features.inception import Inception
from kennel.features.mobilenet import MobileNet
from kennel.features.network_extractor import NetworkExtractor
from kennel.features.stacked_classifier import StackedClassifier
from kennel.features.weights import find_weights, load_weights, store_weights, weights_folder
from kennel.storage.hashing import file_sha256

# Bytes of the published files.
DOWNLOADS = {
    Inception.name: 95_628_359,
    MobileNet.name: 3_610_798,
    EfficientNetLite0.name: 18_826_032,
    EfficientNetLite1.name: 21_946_926,
}
LICENSES = dict.fromkeys(DOWNLOADS, "Apache-2.0")


@dataclass(frozen=True)
class ExtractorInfo:
    """An extractor in a list. `paths` are the weights that were found; `size` in bytes, `address` (or
    package) and `license` are those of the published weights, None without any."""

    name: str
    dimension: int
    logits: str | None
    needs_weights: bool
    paths: tuple[Path, ...]
    size: int | None = None
    address: str | None = None
    license: str | None = None


@dataclass(frozen=True)
class Fetched:
    """Weights in the cache: the `path`, the `sha256` of the safetensors file, whether it was `already` there.
    `published_sha256` is the digest in protocols, of the file as published."""

    path: Path
    sha256: str
    published_sha256: str
    already: bool


def extractor_list() -> list[ExtractorInfo]:
    """Every registered extractor, by name; opens and downloads nothing."""
    return [_info(name) for name in EXTRACTORS]


def _info(name: str) -> ExtractorInfo:
    kind = EXTRACTORS[name]
    if issubclass(kind, NetworkExtractor):
        place = find_weights(kind.published)
        source = DOWNLOADS[name], kind.published.source, LICENSES[name]
    elif issubclass(kind, HubExtractor):
        repository = kind.repository
        place = find_repository_folder(repository)
        source = repository.size, repository.address, repository.license
    else:
        trained = issubclass(kind, Classifier | StackedClassifier)
        paths = tuple(trained_classifiers()) if trained else ()
        if issubclass(kind, StackedClassifier):
            paths = tuple(path for path in paths if read_facts(path).channels == 1)
        return ExtractorInfo(name, kind.dimension, kind.logits, trained, paths)
    return ExtractorInfo(name, kind.dimension, kind.logits, True, (place,) if place else (), *source)


def fetch(name: str, given: Path | None = None) -> Fetched:
    """Brings the published weights of the extractor `name` into the cache and verifies them.

    They come from `given` (the published file, its conversion, or a folder of a model repository), else from
    weights found here, else from the official address. Raises `UnknownNameError`, and `WeightsError` if the
    extractor has no published weights or these are different ones.
    """
    kind = EXTRACTORS[name]
    if issubclass(kind, NetworkExtractor):
        return _fetch_published(kind, given)
    if issubclass(kind, HubExtractor):
        return _fetch_repository(kind, given)
    if issubclass(kind, Classifier | StackedClassifier):
        raise WeightsError(
            f"the {name} extractor has no published weights: train one with `kennel extractor train DATA`"
        )
    raise WeightsError(f"the {name} extractor has no weights: it needs no fetch")


def _fetch_published(kind: type[NetworkExtractor], given: Path | None) -> Fetched:
    published = kind.published
    before = find_weights(published)
    loaded = load_weights(published, given)
    if not loaded.verified:
        raise WeightsError(
            f"the tensors in {given or before} are not the published {published.what} weights: get "
            f"{published.names[0]} from {published.source}, or use this file with --weights"
        )
    path = weights_folder() / published.stored
    if given is None and before is not None and before.suffix == ".safetensors":
        path = before  # may be in $KENNEL_WEIGHTS
    elif not path.is_file():
        store_weights(published, loaded.state, given or before or path.with_name(published.names[0]))
    return Fetched(path, file_sha256(path), loaded.digest, given is None and before is not None)


def _fetch_repository(kind: type[HubExtractor], given: Path | None) -> Fetched:
    repository = kind.repository
    folder = find_repository_folder(repository)
    already = folder is not None and given is None
    if given is not None:
        folder = store_folder(repository, kind.name, given)
    elif folder is None:
        folder = fetch_repository(repository, kind.name)
    sha256 = file_sha256(folder / TENSORS)
    if sha256 != repository.sha256:
        raise WeightsError(
            f"{folder / TENSORS} is not the file of {repository.name} (sha256 {sha256[:16]}…): delete the "
            f"folder and run `kennel extractor fetch {kind.name}` again"
        )
    return Fetched(folder / TENSORS, sha256, repository.sha256, already)
