"""Judging: many metrics from one feature pass, and a score that carries its protocol.

judge = Judge(reference, open_extractor("mobilenet"))
for judgement in judge.judge(images, ("fid", "mifid")):
    print(judgement.metric, judgement.value, judgement.protocol.words())
"""

import json
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from kennel import __version__
from kennel.atomic import write_text
from kennel.data.image_set import ImageSet
from kennel.errors import JudgementError
from kennel.features.contract import Extractor
from kennel.features.passes import BATCH, Progress, choose_rows, extract_rows
from kennel.features.store import ReferenceFeatures, reference_features
from kennel.metrics.contract import METRICS, Evidence, Settings, metric_name
from kennel.metrics.inception_score import SPLITS
from kennel.metrics.memorisation import EPSILON

DEFAULT_COUNT = 10_000
"""Images that are judged where nothing else is said: Kaggle's number."""
ENOUGH = 2048
"""Below this a FID is warned about, as below one image more than the features have dimensions."""
DEFAULT_METRICS = ("fid", "mifid")


class JudgingProtocol(BaseModel):
    """Everything a score depends on beside the pictures; scores of equal `comparable` stand in one column.

    Counts are images, `image_size` is (channels, height, width) of what was judged, digests are hexadecimal;
    `options` holds what single metrics add (epsilon, splits); `notes` are sentences about conversions.
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

    @property
    def comparable(self) -> dict[str, Any]:
        """The part that must be equal for two scores to be compared."""
        apart = {"images", "available_count", "seed", "notes", "versions", "reference"}
        return self.model_dump(exclude=apart)

    def words(self) -> str:
        """The protocol in sentences."""
        weights = f" (weights sha256 {self.weights_sha256[:16]}…)" if self.weights_sha256 else " (no weights)"
        if self.weights_sha256 and self.weights_sha256.startswith("tensors:"):
            weights = f" (weights that nobody vouches for, {self.weights_sha256[:24]}…)"
        _, height, width = self.image_size
        sentences = [
            f"Extractor {self.extractor}{weights}, {self.dimension} features in {self.precision}.",
            f"Resize: {self.resize}.",
            f"{self.sample_count:,} images of {width}x{height} from {self.images} against "
            f"{self.reference_count:,} of {self.reference} (fingerprint {self.reference_fingerprint[:24]}).",
            *self.notes,
        ]
        if self.logits and "splits" in self.options:
            sentences.append(f"Inception Score from {self.logits}, {self.options['splits']} splits.")
        return " ".join([*sentences, f"Seed {self.seed}."])


class Judgement(BaseModel):
    """One metric's value with its parts and its protocol; `interval` only where one means something."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    metric: str
    value: float
    interval: tuple[float, float] | None = None
    details: dict[str, Any]
    protocol: JudgingProtocol


class Judge:
    """A reference set and an extractor; the reference's features stay in memory (or mapped) between calls.

    Attributes: `reference`, `extractor`, `notes`, sentences about the cache that a caller may show.
    """

    def __init__(
        self,
        reference: ImageSet,
        extractor: Extractor,
        *,
        cached: bool = True,
        batch: int = BATCH,
    ) -> None:
        """Nothing is computed yet. `cached` keeps the reference's features under `cache_folder()`."""
        self.reference, self.extractor = reference, extractor
        self.cached, self.batch = cached, batch
        self.notes: list[str] = []
        self._prepared: ReferenceFeatures | None = None

    def prepare(self, on_progress: Progress | None = None) -> ReferenceFeatures:
        """The reference's features and moments, at the first call from the cache or a pass."""
        if self._prepared is None:
            check_count(len(self.reference), f"the reference {self.reference.name}")
            self._prepared = reference_features(
                self.reference,
                self.extractor,
                cached=self.cached,
                batch=self.batch,
                on_progress=on_progress,
                on_note=self.notes.append,
            )
        return self._prepared

    def judge(
        self,
        images: ImageSet,
        metrics: Iterable[str] = DEFAULT_METRICS,
        *,
        count: int | None = None,
        seed: int = 0,
        splits: int = SPLITS,
        epsilon: float = EPSILON,
        floor: bool = False,
        on_progress: Progress | None = None,
        on_reference_progress: Progress | None = None,
    ) -> list[Judgement]:
        """A judgement of `images` by each of `metrics`, in that order.

        `count` images are judged (default: all, at most 10,000), a random subset by `seed` where there are
        more. `floor` adds the real-v-real values. Raises `JudgementError` for too few images, sizes that
        differ from the reference's, and values that are not finite; `UnknownNameError` for a metric.
        """
        names = list(dict.fromkeys(metric_name(name) for name in metrics))
        if not names:
            raise JudgementError(f"there is nothing to judge by: name one of {', '.join(METRICS)}")
        check_sizes(images, self.reference)
        count = min(len(images), DEFAULT_COUNT) if count is None else count
        if count > len(images):
            raise JudgementError(
                f"{images.name} holds {len(images):,} images, {count:,} were asked for: lower --count"
            )
        check_count(count, images.name)
        if "inception_score" in names and self.extractor.logits is None:
            raise JudgementError(
                f"the {self.extractor.name} extractor has no logits, which the Inception Score needs: "
                "use --extractor inception or mobilenet, or leave it out of --metrics"
            )
        prepared = self.prepare(on_reference_progress)
        rows = choose_rows(len(images), count, seed)
        passed = extract_rows(images, self.extractor, rows, batch=self.batch, on_progress=on_progress)
        evidence = Evidence(
            passed.features,
            passed.logits,
            prepared.features,
            prepared.moments,
            self.extractor.name,
            Settings(splits=splits, epsilon=epsilon, floor=floor, seed=seed),
        )
        return [self._judgement(name, evidence, images, count, seed) for name in names]

    def _judgement(self, name: str, evidence: Evidence, images: ImageSet, count: int, seed: int) -> Judgement:
        finding = METRICS[name](evidence)
        if not np.isfinite(finding.value):
            raise JudgementError(f"{name} of {images.name} is not finite: the features are degenerate")
        protocol = JudgingProtocol(
            extractor=self.extractor.name,
            weights_sha256=self.extractor.weights_digest,
            dimension=self.extractor.dimension,
            resize=self.extractor.resize,
            logits=self.extractor.logits,
            precision=self.extractor.precision,
            images=images.name,
            sample_count=count,
            available_count=len(images),
            image_size=images.shape,
            reference=self.reference.name,
            reference_count=len(self.reference),
            reference_fingerprint=self.reference.fingerprint,
            reference_size=self.reference.shape,
            seed=seed,
            options=finding.protocol,
            notes=tuple(conversions(images, self.reference)),
            versions=versions(),
        )
        return Judgement(
            metric=name,
            value=finding.value,
            interval=finding.interval,
            details=finding.details,
            protocol=protocol,
        )


def judge(
    images: ImageSet,
    reference: ImageSet,
    extractor: Extractor,
    metrics: Iterable[str] = DEFAULT_METRICS,
    *,
    count: int | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> list[Judgement]:
    """`Judge(reference, extractor).judge(images, ...)` for a single use."""
    return Judge(reference, extractor).judge(images, metrics, count=count, seed=seed, on_progress=on_progress)


def check_sizes(images: ImageSet, reference: ImageSet) -> None:
    """Refuses images of another height and width than the reference's."""
    if images.shape[1:] != reference.shape[1:]:
        given = f"{images.shape[2]}x{images.shape[1]}"
        wanted = f"{reference.shape[2]}x{reference.shape[1]}"
        raise JudgementError(
            f"{images.name} has images of {given}, the reference {reference.name} of {wanted}: bring one "
            "to the other's size, for example with `kennel data prepare SOURCE DEST --size N`"
        )


def check_count(count: int, what: str) -> None:
    """Refuses fewer than 2 images, of which no covariance can be taken."""
    if count < 2:
        raise JudgementError(
            f"{what} gives {count} image{'' if count == 1 else 's'} to judge: at least 2 are needed, and "
            f"{ENOUGH:,} for a FID that means something"
        )


def warnings_about(judgement: Judgement) -> list[str]:
    """What a reader should know before quoting the value, as sentences; empty where there is nothing."""
    protocol, details = judgement.protocol, judgement.details
    found = []
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
    return found


def conversions(images: ImageSet, reference: ImageSet) -> list[str]:
    """Sentences about grey pictures that were judged as colour."""
    sides = (("images", images.shape[0]), ("reference", reference.shape[0]))
    grey = [side for side, channels in sides if channels == 1]
    return [f"Grey repeated to RGB on the side of the {' and the '.join(grey)}."] if grey else []


def versions() -> dict[str, str]:
    """The versions of what computes a score."""
    return {
        "kennel": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": version("pillow"),
        "python": platform.python_version(),
    }


def write_judgements(destination: Path, judgements: Sequence[Judgement]) -> None:
    """A JSON list of objects with `metric`, `value`, `interval`, `details` and `protocol`, atomically."""
    content = [judgement.model_dump(mode="json") for judgement in judgements]
    write_text(destination, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_judgements(source: Path) -> list[Judgement]:
    """What `write_judgements` wrote; raises `JudgementError` where the file holds something else."""
    try:
        return [Judgement.model_validate(entry) for entry in json.loads(source.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise JudgementError(f"{source} is no file of judgements written by `kennel judge --json`") from error
