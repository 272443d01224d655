"""Scores: a metric's value with its protocol, and their JSON files."""

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from kennel import __version__
from kennel.errors import JudgementError
from kennel.storage.atomic_io import write_text
from kennel.storage.untrusted import UntrustedError, read_json

COPY_DISTANCE = 1e-9  # A cosine distance below this is that of an image to itself, up to rounding
RECOMMENDED_COUNT = 2048
"""A FID of fewer images gets a warning, as does one of no more images than feature dimensions."""


class ScoreProtocol(BaseModel):
    """Everything that a score depends on, apart from the images. Scores with equal `comparable` can be
    compared.

    Counts are in images; `image_size` is (channels, height, width); digests are hexadecimal. `options` holds
    what single metrics add (epsilon, splits). `notes` are sentences about conversions. `device` ("cpu",
    "cuda") and `threads` of the extractor are None in files of older versions; like `versions`, they change a
    score by rounding only. `class_sampling`: how classes were drawn for a conditional run, "data" by their
    frequency in the training set, "uniform" with equal frequency, None for other images. `image_fit` and
    `reference_fit`: how images of other sizes were resized, None if they were not. `teacher`: the extractor
    name of the pretrained network that the generator was trained with, None if there was none or it is
    unknown. `unfair`: why scores of this extractor are biased by that, None if they are not.
    `generated_reference`: how many of the reference images are marked as generated, 0 in older files.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    extractor: str
    weights_sha256: str | None
    dimension: int
    resize: str
    logits: str | None
    precision: str
    images: str
    sample_count: int
    available_count: int
    image_size: tuple[int, int, int]
    reference: str
    reference_count: int
    reference_fingerprint: str
    reference_size: tuple[int, int, int]
    seed: int
    options: dict[str, Any]
    notes: tuple[str, ...]
    versions: dict[str, str]
    device: str | None = None
    threads: int | None = None
    class_sampling: Literal["data", "uniform"] | None = None
    image_fit: str | None = None
    reference_fit: str | None = None
    teacher: str | None = None
    unfair: str | None = None
    generated_reference: int = 0

    @property
    def comparable(self) -> dict[str, Any]:
        """The part that must be equal for two scores to be comparable."""
        apart = {"images", "available_count", "seed", "notes", "versions", "reference", "device", "threads"}
        content = self.model_dump(exclude=apart | {"teacher", "unfair", "generated_reference"})
        if self.class_sampling != "uniform":
            # Samples with the set's class frequencies are comparable with sets of images.
            content["class_sampling"] = None
        return content

    def words(self) -> str:
        """The protocol in sentences."""
        weights = f" (weights sha256 {self.weights_sha256[:16]}…)" if self.weights_sha256 else " (no weights)"
        if self.weights_sha256 and self.weights_sha256.startswith("tensors:"):
            weights = f" (weights with the digest {self.weights_sha256[:24]}…)"
        _, height, width = self.image_size
        sentences = [
            f"Extractor {self.extractor}{weights}, {self.dimension} features in {self.precision}.",
            f"Resize: {self.resize}.",
            f"{self.sample_count:,} images of {width}x{height} from {self.images} against "
            f"{self.reference_count:,} of {self.reference} (fingerprint {self.reference_fingerprint[:24]}).",
            *self._fits(),
            *self.notes,
        ]
        if self.class_sampling is not None:
            how = {"data": "by their frequency in the training set", "uniform": "uniformly"}
            sentences.append(f"Classes drawn {how[self.class_sampling]}.")
        if self.logits and "splits" in self.options:
            sentences.append(f"Inception Score from {self.logits}, {self.options['splits']} splits.")
        if self.device and self.threads:
            threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
            sentences.append(f"Computed on {self.device}, {threads}.")
        return " ".join([*sentences, f"Seed {self.seed}."])

    def _fits(self) -> list[str]:
        """Sentences about crops and resizes before the extractor's own resize."""
        sides = {"images": self.image_fit, "reference": self.reference_fit}
        if self.image_fit == self.reference_fit:
            sides = {"images and the reference": self.image_fit}
        return [f"Resize of the {side}: {fit}." for side, fit in sides.items() if fit]


class Score(BaseModel):
    """One metric's value with its details and its protocol; `interval` is a 95% interval or None."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metric: str
    value: float
    interval: tuple[float, float] | None = None
    details: dict[str, Any]
    protocol: ScoreProtocol


def warnings_about(judgement: Score) -> list[str]:
    """Sentences to read before the value is quoted; may be empty."""
    try:
        return _warnings(judgement)
    except (LookupError, TypeError, ValueError):  # the details come from a file
        return [f"The details of {judgement.metric} are not in kennel's format: do not quote its value."]


def _warnings(judgement: Score) -> list[str]:
    protocol, details = judgement.protocol, judgement.details
    found = [] if protocol.unfair is None else [protocol.unfair]
    if protocol.generated_reference:
        found.append(
            f"{protocol.generated_reference:,} of the {protocol.reference_count:,} reference images were "
            "drawn by a generator, so these numbers do not say how near the images are to real ones: give a "
            "--reference of real images only."
        )
    needed = max(RECOMMENDED_COUNT, protocol.dimension + 1)
    fewest = min(protocol.sample_count, protocol.reference_count)
    if judgement.metric in ("fid", "mifid") and fewest < needed:
        found.append(
            f"{fewest:,} images are fewer than {needed:,}: FID is biased upwards, compare it at equal counts "
            "only."
        )
    if judgement.metric == "mifid" and details.get("held_out_distance", 1) < details["epsilon"]:
        found.append(
            f"epsilon {details['epsilon']} was chosen for Inception features. With the {protocol.extractor} "
            "extractor held-out real images are nearer than that, so MiFID would penalize real images: use "
            "FID and distance."
        )
    penalized = judgement.metric == "mifid" and details["penalty"] < 1
    if penalized and "held_out_distance" not in details and protocol.extractor != "inception":
        found.append(
            f"epsilon {details['epsilon']} was chosen for Inception features. With the {protocol.extractor} "
            "extractor real images may be nearer than that: measure it with --held-out or --reference-split."
        )
    if judgement.metric == "memorisation" and details["threshold"] < COPY_DISTANCE:
        held_out = protocol.options["baseline"] == "held out"
        which = "held-out images are in the reference" if held_out else "reference images occur twice"
        remedy = "give other images to --held-out" if held_out else "drop the copies, or give --held-out"
        found.append(f"1% or more of the {which}, so only exact copies are suspected: {remedy}.")
    return found


def versions() -> dict[str, str]:
    return {
        "kennel": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": version("pillow"),
        "scipy": version("scipy"),
        "scikit-learn": version("scikit-learn"),
        "python": platform.python_version(),
    }


def write_judgements(destination: Path, judgements: Sequence[Score]) -> None:
    """Writes a JSON list of `metric`, `value`, `interval`, `details` and `protocol` objects, atomically."""
    content = [judgement.model_dump(mode="json") for judgement in judgements]
    write_text(destination, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_judgements(source: Path, *, named: bool = True) -> list[Score]:
    """Reads what `write_judgements` wrote; raises `JudgementError` for another file. Links that lead out of
    the file's folder are followed only if the user `named` the file."""
    try:
        content = read_json(source, named=named)
        return [Score.model_validate(entry) for entry in content]
    except (UntrustedError, ValueError, TypeError) as error:
        raise JudgementError(f"{source} is not a file written by `kennel judge --json`") from error
