"""What there is to judge with: each extractor's weights, where they come from, and how to get them here."""

from dataclasses import dataclass
from pathlib import Path

from kennel.errors import WeightsError
from kennel.features import factory  # noqa: F401  (it registers every extractor)
from kennel.features.base import EXTRACTORS
from kennel.features.classifier import Classifier, trained_classifiers
from kennel.features.efficientnet_lite import EfficientNetLite0, EfficientNetLite1
from kennel.features.hub import HubExtractor
from kennel.features.hub_cache import TENSORS, fetch_repository, hub_folder_at_hand, keep_folder
from kennel.features.inception import Inception
from kennel.features.mobilenet import MobileNet
from kennel.features.network_extractor import NetworkExtractor
from kennel.features.weights import at_hand, keep, load_weights, weights_folder
from kennel.storage.hashing import file_sha256

DOWNLOADS = {
    Inception.name: 95_628_359,
    MobileNet.name: 3_610_798,
    EfficientNetLite0.name: 18_826_032,
    EfficientNetLite1.name: 21_946_926,
}
"""Bytes of the published files."""
LICENCES = dict.fromkeys(DOWNLOADS, "Apache-2.0")


@dataclass(frozen=True)
class Entry:
    """An extractor as a list shows it.

    `dimension` of its features; `logits` in words or None; `needs_weights`; `places`, where weights are at
    hand; `size` of the published weights in bytes, their `address` (or the package that carries them) and
    `licence`, None where there are none.
    """

    name: str
    dimension: int
    logits: str | None
    needs_weights: bool
    places: tuple[Path, ...]
    size: int | None = None
    address: str | None = None
    licence: str | None = None


@dataclass(frozen=True)
class Fetched:
    """Weights in their place: the `path`, the `sha256` of the safetensors file there, `already` there before.

    `published_sha256` is the digest that a protocol names, of the file as it was published.
    """

    path: Path
    sha256: str
    published_sha256: str
    already: bool


def catalogue() -> list[Entry]:
    """Every registered extractor, by name; nothing is opened or downloaded."""
    return [_entry(name) for name in EXTRACTORS]


def _entry(name: str) -> Entry:
    kind = EXTRACTORS[name]
    if issubclass(kind, NetworkExtractor):
        place = at_hand(kind.published)
        source = DOWNLOADS[name], kind.published.source, LICENCES[name]
    elif issubclass(kind, HubExtractor):
        repository = kind.repository
        place = hub_folder_at_hand(repository)
        source = repository.size, repository.address, repository.licence
    else:
        places = tuple(trained_classifiers()) if issubclass(kind, Classifier) else ()
        return Entry(name, kind.dimension, kind.logits, issubclass(kind, Classifier), places)
    return Entry(name, kind.dimension, kind.logits, True, (place,) if place else (), *source)


def fetch(name: str, given: Path | None = None) -> Fetched:
    """Brings the published weights of the extractor `name` into the cache, and checks that they are those.

    They come from `given` (the published file, its conversion, or a folder of a model repository), else from
    what is at hand, else from the official address. Raises `UnknownNameError`, and `WeightsError` where the
    extractor has no published weights or these are other ones.
    """
    kind = EXTRACTORS[name]
    if issubclass(kind, NetworkExtractor):
        return _fetch_published(kind, given)
    if issubclass(kind, HubExtractor):
        return _fetch_repository(kind, given)
    if issubclass(kind, Classifier):
        raise WeightsError(
            "the classifier extractor has no published weights: train one with `kennel extractor train DATA`"
        )
    raise WeightsError(
        f"the {name} extractor has no weights: there is nothing to fetch, it is ready as it is"
    )


def _fetch_published(kind: type[NetworkExtractor], given: Path | None) -> Fetched:
    published = kind.published
    before = at_hand(published)
    loaded = load_weights(published, given)
    if not loaded.verified:
        raise WeightsError(
            f"{given or before} holds other tensors than the published {published.what} weights: get "
            f"{published.names[0]} from {published.source}, or judge with this file by --weights"
        )
    path = weights_folder() / published.stored
    if given is None and before is not None and before.suffix == ".safetensors":
        path = before  # in $KENNEL_WEIGHTS, perhaps
    elif not path.is_file():
        original = given if given is not None else before
        keep(published, loaded.state, original or path.with_name(published.names[0]))
    return Fetched(path, file_sha256(path), loaded.digest, given is None and before is not None)


def _fetch_repository(kind: type[HubExtractor], given: Path | None) -> Fetched:
    repository = kind.repository
    folder = hub_folder_at_hand(repository)
    already = folder is not None and given is None
    if given is not None:
        folder = keep_folder(repository, kind.name, given)
    elif folder is None:
        folder = fetch_repository(repository, kind.name)
    sha256 = file_sha256(folder / TENSORS)
    if sha256 != repository.sha256:
        raise WeightsError(
            f"{folder / TENSORS} is not that of {repository.name} (sha256 {sha256[:16]}…): delete the folder "
            f"and run `kennel extractor fetch {kind.name}` again"
        )
    return Fetched(folder / TENSORS, sha256, repository.sha256, already)
