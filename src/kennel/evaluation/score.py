"""A judgement: a number that carries its protocol, as the judge gives it and files keep it."""

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

COPIED = 1e-9
"""A cosine distance below this is that of an image to itself, but for rounding."""
ENOUGH = 2048
"""Images below which a FID is warned about, as below one image more than the features have dimensions."""


class ScoreProtocol(BaseModel):
    """Everything a score depends on beside the pictures; scores of equal `comparable` stand in one column.

    Counts are images, `image_size` is (channels, height, width) of what was judged, digests are hexadecimal;
    `options` holds what single metrics add (epsilon, splits); `notes` are sentences about conversions;
    `device` ("cpu", "cuda") is the extractor's and `threads` those of its process, None in files of an older
    kennel: like `versions`, they change a score by rounding. `class_sampling` says how the classes of a
    conditional run's samples were drawn: "data" as often as its training set has each, "uniform" all alike;
    None for images that were not drawn so. `image_fit` and `reference_fit` say how pictures of other sizes
    were brought to these, None where they had them. `teacher` is the pretrained network that taught the
    generator of these images, by the name of its extractor, None where there was none or nothing says so;
    `unfair` says why the extractor is no fair judge of it, None where it is.
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

    @property
    def comparable(self) -> dict[str, Any]:
        """The part that must be equal for two scores to be compared."""
        apart = {"images", "available_count", "seed", "notes", "versions", "reference", "device", "threads"}
        content = self.model_dump(exclude=apart | {"teacher", "unfair"})
        if self.class_sampling != "uniform":
            # Samples by the set's frequencies are of the mixture that pictures and other runs are of, too.
            content["class_sampling"] = None
        return content

    def words(self) -> str:
        """The protocol in sentences."""
        weights = f" (weights sha256 {self.weights_sha256[:16]}…)" if self.weights_sha256 else " (no weights)"
        if self.weights_sha256 and self.weights_sha256.startswith("tensors:"):
            weights = f" (weights known by their digest only, {self.weights_sha256[:24]}…)"
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
            how = {"data": "as often as the training set has each", "uniform": "uniformly, all alike"}
            sentences.append(f"Classes drawn {how[self.class_sampling]}.")
        if self.logits and "splits" in self.options:
            sentences.append(f"Inception Score from {self.logits}, {self.options['splits']} splits.")
        if self.device and self.threads:
            threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
            sentences.append(f"Computed on {self.device}, {threads}.")
        return " ".join([*sentences, f"Seed {self.seed}."])

    def _fits(self) -> list[str]:
        """What was cropped or resized before the extractor's own resize, as sentences."""
        sides = {"images": self.image_fit, "reference": self.reference_fit}
        if self.image_fit == self.reference_fit:
            sides = {"images and the reference": self.image_fit}
        return [f"Brought to one size, the {side}: {fit}." for side, fit in sides.items() if fit]


class Score(BaseModel):
    """One metric's value with its parts and its protocol; `interval` only where one means something."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metric: str
    value: float
    interval: tuple[float, float] | None = None
    details: dict[str, Any]
    protocol: ScoreProtocol


def warnings_about(judgement: Score) -> list[str]:
    """What a reader should know before quoting the value, as sentences; empty where there is nothing."""
    try:
        return _warnings(judgement)
    except (LookupError, TypeError, ValueError):  # a file's details may be anything
        return [
            f"The details of {judgement.metric} are not those that kennel writes: do not quote its value."
        ]


def _warnings(judgement: Score) -> list[str]:
    protocol, details = judgement.protocol, judgement.details
    found = [] if protocol.unfair is None else [protocol.unfair]
    needed = max(ENOUGH, protocol.dimension + 1)
    fewest = min(protocol.sample_count, protocol.reference_count)
    if judgement.metric in ("fid", "mifid") and fewest < needed:
        found.append(
            f"{fewest:,} images are fewer than {needed:,}: FID is biased upwards, "
            "compare at equal counts only."
        )
    if judgement.metric == "mifid" and details.get("held_out_distance", 1) < details["epsilon"]:
        found.append(
            f"epsilon {details['epsilon']} was chosen for Inception features: by the {protocol.extractor} "
            "extractor held-out reals are nearer than that, so MiFID would punish real images here; "
            "read FID and distance."
        )
    punished = judgement.metric == "mifid" and details["penalty"] < 1
    if punished and "held_out_distance" not in details and protocol.extractor != "inception":
        found.append(
            f"epsilon {details['epsilon']} was chosen for Inception features; by the {protocol.extractor} "
            "extractor real images may be nearer than that: --held-out or --reference-split shows how near "
            "they are."
        )
    if judgement.metric == "memorisation" and details["threshold"] < COPIED:
        held_out = protocol.options["baseline"] == "held out"
        which = "held-out images lie in the reference" if held_out else "reference images occur twice"
        remedy = "give --held-out others" if held_out else "drop the copies, or give --held-out"
        found.append(f"1% or more of the {which}: only exact copies are suspected here; {remedy}.")
    return found


def versions() -> dict[str, str]:
    """The versions of what computes a score."""
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
    """A JSON list of objects with `metric`, `value`, `interval`, `details` and `protocol`, atomically."""
    content = [judgement.model_dump(mode="json") for judgement in judgements]
    write_text(destination, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_judgements(source: Path, *, named: bool = True) -> list[Score]:
    """What `write_judgements` wrote; raises `JudgementError` where the file holds something else.

    A link out of its folder is followed where the user has `named` the file.
    """
    try:
        content = read_json(source, named=named)
        return [Score.model_validate(entry) for entry in content]
    except (UntrustedError, ValueError, TypeError) as error:
        raise JudgementError(f"{source} is no file of judgements written by `kennel judge --json`") from error
