"""The `classifier` extractor: a small network that `train_classifier` trains on a labeled packed set.

Inception was not trained on digits or clothes. A classifier of the set's own classes separates them, so its
features and logits (Inception Score, mode counts) mean more on such sets. Scores of different classifiers are
not comparable; the protocol identifies the classifier by the digest of its tensors.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from kennel.errors import WeightsError
from kennel.features.base import DTYPES, EXTRACTORS, ChunkedExtractor, Logits, Precision
from kennel.features.resize import half_pixel_bilinear
from kennel.features.weights import State, find_file, tensors_digest, weights_folder
from kennel.shapes import Features, Pixels
from kennel.storage.untrusted import UntrustedError, parse_json

DIMENSION = 128
SMALLEST, LARGEST = 8, 64  # Sides in pixels that the network supports
FIRST_WIDTH, WIDEST, LAST_SIDE = 16, 128, 8
METADATA_KEY = "kennel_classifier"
FORMAT = 1

Maps = Float[Tensor, "batch channels height width"]


@dataclass(frozen=True)
class ClassifierFacts:
    """The training record in a classifier's file. `classes`, their names by label; `channels` and `size` of
    the images; `accuracy` on the `held_out` images; `count` of all images of the set and its `fingerprint`;
    `epochs`, `seed` and kennel's `version`."""

    classes: tuple[str, ...]
    channels: int
    size: int
    accuracy: float
    held_out: int
    count: int
    fingerprint: str
    epochs: int
    seed: int
    version: str

    def metadata(self, state: State) -> dict[str, str]:
        """The metadata of the safetensors file of `state`."""
        text = json.dumps({"format": FORMAT, **asdict(self)})
        return {METADATA_KEY: text, "kennel_tensors_sha256": tensors_digest(state)}


class ClassifierNetwork(nn.Module):
    """3x3 convolutions with batch norm and ReLU, halved until the side is 8 or less, then two linear layers.
    Each halving doubles the channels, from 16 to at most 128. For 28x28 gray in 10 classes: 0.5 million
    parameters."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        """For (batch, `channels`, `size`, `size`) in [-1, 1]."""
        super().__init__()
        layers = _convolution(channels, FIRST_WIDTH, stride=1)
        width, side = FIRST_WIDTH, size
        while side == size or side > LAST_SIDE:
            wider = min(2 * width, WIDEST)
            layers += [*_convolution(width, width, stride=2), *_convolution(width, wider, stride=1)]
            width, side = wider, (side + 1) // 2
        self.maps = nn.Sequential(*layers)
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(width * side * side, DIMENSION, bias=False),
            nn.BatchNorm1d(DIMENSION),
            nn.ReLU(),
        )
        self.classify = nn.Linear(DIMENSION, classes)

    def forward(self, images: Maps) -> tuple[Float[Tensor, "batch 128"], Float[Tensor, "batch classes"]]:
        """The penultimate layer after its ReLU, and the logits."""
        features = self.hidden(self.maps(images))
        return features, self.classify(features)


def _convolution(channels: int, width: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]


def scaled(images: Maps) -> Maps:
    """The network's input: float32 0..255 to [-1, 1]."""
    return (images - 127.5) / 127.5


def as_channels(
    images: Float[Tensor, "batch given rows columns"], channels: int
) -> Float[Tensor, "batch wanted rows columns"]:
    """Float images with the given number of channels: gray repeated, color to luma (ITU-R BT.601). Written
    with differences, so that three equal channels give exactly that channel."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    red, green, blue = images.split(1, dim=1)  # type: ignore[no-untyped-call]
    luma: Tensor = red + 0.587 * (green - red) + 0.114 * (blue - red)
    return luma


@EXTRACTORS.register("classifier")
class Classifier(ChunkedExtractor):
    """The penultimate layer (128) and the logits of a classifier trained by kennel. Also has `facts`, the
    training record."""

    name = "classifier"
    dimension = DIMENSION
    cpu_chunk = 64
    resize = (
        "the size and channels of the classifier's own set: that size untouched, another one by bilinear "
        "(half-pixel centres, no antialias), (x - 127.5) / 127.5"
    )
    logits = "logits of the classes of the set that the classifier was trained on"

    def __init__(
        self,
        state: State,
        facts: ClassifierFacts,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        """Raises `WeightsError` if the tensors do not fit the network of `facts`."""
        network = ClassifierNetwork(facts.channels, facts.size, len(facts.classes))
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(
                "the tensors of the classifier do not fit the network that their file describes: train it "
                "again with `kennel extractor train`"
            ) from error
        self.facts = facts
        self.channels = facts.channels
        self.device, self.precision = torch.device(device), precision
        self.weights_digest = f"tensors:{tensors_digest(state)}"
        color = "colour" if facts.channels == 3 else "grey"
        other = "grey repeated" if facts.channels == 3 else "colour to BT.601 luma"
        self.resize = (
            f"{facts.size}x{facts.size} {color}: that size untouched, another one by bilinear (half-pixel "
            f"centres, no antialias), {other}, (x - 127.5) / 127.5"
        )
        self.logits = (
            f"{len(facts.classes)} logits of a classifier with {facts.accuracy:.2%} held-out accuracy"
        )
        network = network.eval().requires_grad_(False)
        self.network = network.to(self.device, DTYPES[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def open(cls, weights: Path | None = None, *, download: bool = True, **options: Any) -> "Classifier":
        """The classifier in the file `weights`, written by `kennel extractor train`."""
        if weights is None:
            raise WeightsError(
                "there is no classifier of this set: train one with `kennel extractor train DATA`, or give a "
                "file with --weights"
            )
        state, facts = read_classifier(weights)
        return cls(state, facts, **options)

    def _forward(self, pixels: Pixels) -> tuple[Features, Logits | None]:
        images = as_channels(half_pixel_bilinear(pixels, self.facts.size), self.facts.channels)
        images = scaled(images).to(DTYPES[self.precision], memory_format=torch.channels_last)
        features, logits = self.network(images)
        return features, logits


def classifier_path(fingerprint: str) -> Path:
    """The default path of the classifier for the packed set with this fingerprint; it may not exist."""
    return weights_folder() / f"classifier-{fingerprint}.safetensors"


def classifier_file_for(fingerprint: str) -> Path | None:
    """The classifier of the set with this fingerprint, from `$KENNEL_WEIGHTS` or the cache; None if not
    found."""
    return find_file(classifier_path(fingerprint).name)


def trained_classifiers() -> list[Path]:
    """The classifiers in the cache, by name."""
    return sorted(weights_folder().glob("classifier-*.safetensors"))


def read_facts(path: Path) -> ClassifierFacts:
    """The training record of a classifier's file; raises `WeightsError` for another file."""
    return _read(path, with_tensors=False)[1]


def read_classifier(path: Path) -> tuple[State, ClassifierFacts]:
    """Tensors and training record of a classifier's file; raises `WeightsError` for another or a damaged
    file."""
    return _read(path, with_tensors=True)


def _read(path: Path, with_tensors: bool) -> tuple[State, ClassifierFacts]:
    if not path.is_file():
        raise WeightsError(
            f"there is no classifier file {path}: train one with `kennel extractor train DATA --out {path}`"
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys()) if with_tensors else []
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a valid safetensors file ({error}): train it again") from error
    if METADATA_KEY not in metadata:
        raise WeightsError(
            f"{path} was not written by `kennel extractor train`: give another file, or name its extractor"
        )
    try:
        about = parse_json(metadata[METADATA_KEY])
        if about.pop("format") != FORMAT:
            raise WeightsError(f"{path} has the format of another version of kennel: train it again")
        facts = TypeAdapter(ClassifierFacts).validate_python(about)
    except (UntrustedError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise WeightsError(f"the metadata of {path} cannot be read: train it again") from error
    if with_tensors and metadata.get("kennel_tensors_sha256") != tensors_digest(state):
        raise WeightsError(f"{path} is damaged (its tensors changed since kennel wrote it): train it again")
    return state, facts
