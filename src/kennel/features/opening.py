"""An extractor by name, ready to use; the one place that knows all of them."""

from pathlib import Path
from typing import Any

import torch

from kennel.errors import WeightsError
from kennel.features import classifier, hub  # noqa: F401  (they register their extractors)
from kennel.features.classifier import Classifier, classifier_file_for
from kennel.features.contract import EXTRACTORS, Extractor, Precision
from kennel.features.efficientnet_lite import EfficientNetLite0, EfficientNetLite1
from kennel.features.inception import Inception
from kennel.features.mobilenet import MobileNet
from kennel.features.networked import NetworkExtractor
from kennel.features.pixel_cells import PixelCells
from kennel.features.weights import available

PREFERENCE: tuple[type[NetworkExtractor], ...] = (Inception, MobileNet, EfficientNetLite0, EfficientNetLite1)
"""What "auto" takes first: the one that published numbers use, then the fast one."""


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
) -> Extractor:
    """The extractor `name`, with its weights from `weights` or from where `load_weights` finds them.

    "auto" takes the best one whose weights are at hand, by the name of the file where one is given, and never
    downloads; with nothing at hand it is `pixels`. `protocol` names the resize rule, one of
    `kennel.features.resize.PROTOCOLS`, None for the extractor's own; `biased_logits` is for `inception`.
    `of_set` is the fingerprint of a set: `classifier` without weights is the one trained on it.
    Raises `UnknownNameError`, `WeightsError`, and `JudgementError` where the extractor has no such choice.
    """
    if name == "auto":
        name = choose(weights)
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


def choose(weights: Path | None = None) -> str:
    """The name that "auto" stands for here; `open_extractor` says by what rule."""
    if weights is not None:
        for kind in PREFERENCE:
            if weights.name in (kind.published.stored, *kind.published.names):
                return kind.name
        raise WeightsError(
            f"the name {weights.name} does not say whose weights it holds: name the extractor too "
            "(inception or mobilenet)"
        )
    for kind in PREFERENCE:
        if available(kind.published):
            return kind.name
    return PixelCells.name


def better_extractor_note() -> str:
    """How to get a better judge than `pixels`, in one sentence."""
    return (
        "No weights are at hand, so the pixels extractor judges: "
        "`--extractor mobilenet` or `--extractor inception` downloads real features "
        f"({MobileNet.published.names[0]}, 3.6 MB; {Inception.published.names[0]}, 96 MB), "
        "`--weights FILE` takes them from a file."
    )
