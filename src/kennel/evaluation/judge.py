"""Evaluation: many metrics from one feature pass. Each score carries its protocol.

evaluator = Evaluator(reference, open_extractor("mobilenet"))
for score in evaluator.judge(images, ("fid", "recall")):
    print(score.metric, score.value, score.interval, score.protocol.words())
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

import kennel.evaluation.metrics.builtin  # noqa: F401 (registers the metrics)
from kennel.cancellation import raise_if_cancelled
from kennel.data.images import ImageSource
from kennel.distributed import world_size
from kennel.errors import JudgementError
from kennel.evaluation.checks import (
    check_count,
    check_sizes,
    class_mismatch,
    class_names,
    classes_of,
    conversion_notes,
    fit_of,
    generated_count,
    has_pyramid,
    labels_of,
    teacher_of,
)
from kennel.evaluation.metrics.base import METRICS, in_order, metric_names
from kennel.evaluation.metrics.context import FeatureSide, MetricContext, MetricSettings
from kennel.evaluation.score import Score, ScoreProtocol, versions
from kennel.features.base import Extractor
from kennel.features.cache import ReferenceFeatures, contribute_reference, reference_features
from kennel.features.extract import BATCH, Progress, choose_rows, contribute, extract_rows
from kennel.features.related_extractors import unfair

DEFAULT_COUNT = 10_000  # The default maximum number of images: Kaggle's number


class Evaluator:
    """A reference set and an extractor. The features of the reference are kept between calls. Attributes:
    `reference`, `extractor`, `held_out`; `notes`, sentences about the cache and skipped metrics; `context`,
    the data behind the last scores (None before the first call), for plots."""

    def __init__(
        self,
        reference: ImageSource,
        extractor: Extractor,
        *,
        held_out: ImageSource | None = None,
        cached: bool = True,
        batch: int = BATCH,
        shared: bool = False,
    ) -> None:
        """Computes nothing yet. `cached` stores the features of the reference under `cache_folder()`.

        `held_out` are real images outside the reference: the baseline of nearest distances. `shared`: the
        ranks of `kennel.distributed` share the passes; rank 0 calls `judge`, the others `assist`.
        """
        self.reference, self.extractor, self.held_out = reference, extractor, held_out
        self.cached, self.batch, self.shared = cached, batch, shared and world_size() > 1
        self.notes: list[str] = []
        self.context: MetricContext | None = None
        self._prepared: ReferenceFeatures | None = None
        self._held_out: ReferenceFeatures | None = None
        self._has_assisted = False

    def prepare(self, on_progress: Progress | None = None) -> ReferenceFeatures:
        """The features and moments of the reference. The first call loads or computes them, and those of the
        held-out images."""
        if self._prepared is None:
            check_count(len(self.reference), f"the reference {self.reference.name}")
            self._prepared = self._features(self.reference, on_progress)
        if self.held_out is not None and self._held_out is None:
            check_sizes(self.held_out, self.reference)
            self._held_out = self._features(self.held_out, on_progress)
        return self._prepared

    def _features(self, images: ImageSource, on_progress: Progress | None) -> ReferenceFeatures:
        return reference_features(
            images,
            self.extractor,
            cached=self.cached,
            batch=self.batch,
            shared=self.shared,
            on_progress=on_progress,
            on_note=self.notes.append,
        )

    def assist(
        self, images: ImageSource, count: int | None = None, settings: MetricSettings | None = None
    ) -> None:
        """Does the share of this rank (not 0) for one `judge` on rank 0 with the same images, count and seed.

        The first call includes the share of `prepare`.
        """
        for real in (self.reference, self.held_out):
            if real is not None and not self._has_assisted:
                contribute_reference(real, self.extractor, batch=self.batch)
        self._has_assisted = True
        rows = choose_rows(len(images), _count(images, count), (settings or MetricSettings()).seed)
        contribute(images, self.extractor, rows, batch=self.batch)

    def available_metrics(
        self, images: ImageSource, count: int | None = None, settings: MetricSettings | None = None
    ) -> list[str]:
        """The metrics that the extractor, the sets and `count` images allow, in the order of tables."""
        settings, count = settings or MetricSettings(), _count(images, count)
        return in_order(
            name
            for name in METRICS
            if not self.too_few(name, count, settings) and not self.unmet_need(name, images)[0]
        )

    def default_metrics(
        self, images: ImageSource, count: int | None = None, settings: MetricSettings | None = None
    ) -> list[str]:
        """The available metrics that are measured by default.

        MiFID is not among them for an extractor with a caution: its threshold means nothing for features that
        were not learned.
        """
        allowed = (True,) if self.extractor.caution else (True, "learned")
        names = self.available_metrics(images, count, settings)
        return [name for name in names if METRICS[name].default in allowed]

    def check(
        self,
        images: ImageSource,
        metrics: Iterable[str],
        count: int | None = None,
        settings: MetricSettings | None = None,
    ) -> None:
        """Raises the errors of `judge` about sizes, counts and metrics, without a feature pass."""
        check_sizes(images, self.reference)
        count = _count(images, count)
        if count > len(images):
            raise JudgementError(
                f"{images.name} has {len(images):,} images, and --count is {count:,}: lower --count"
            )
        check_count(count, images.name)
        check_count(len(self.reference), f"the reference {self.reference.name}")
        settings = settings or MetricSettings()
        for name in metrics:
            if name == "all":
                continue
            problem, remedy = self.unmet_need(name, images)
            if problem:
                raise JudgementError(f"{problem}: {remedy}")
            if few := self.too_few(name, count, settings):
                raise JudgementError(
                    f"{few}: give more{self._option_to_lower(name, settings)}, or leave it out of --metrics"
                )

    def _option_to_lower(self, name: str, settings: MetricSettings) -> str:
        """A clause with the option that reduces the minimum number of images; empty if there is none."""
        min_images, dimension = METRICS[name].min_images, self.extractor.dimension
        lowest = {
            "--splits": replace(settings, splits=1),
            "--neighbors": replace(settings, neighbors=1),
            "--density-neighbors": replace(settings, density_neighbors=1),
        }
        for option, lower in lowest.items():
            if min_images(dimension, lower) < min_images(dimension, settings):
                return f", lower {option}"
        return ""

    def too_few(self, name: str, count: int, settings: MetricSettings) -> str:
        """Why `count` images or the reference are too few for a metric; empty if they are enough."""
        needed = METRICS[name].min_images(self.extractor.dimension, settings)
        sides = [(f"{count:,} images", count)]
        if name != "inception_score":  # the only metric without a reference
            sides.append((f"{len(self.reference):,} images of {self.reference.name}", len(self.reference)))
        given, fewest = min(sides, key=lambda side: side[1])
        if fewest >= needed:
            return ""
        return f"{METRICS[name].label} needs at least {needed:,} images on a side, and there are {given}"

    def unmet_need(self, name: str, images: ImageSource) -> tuple[str, str]:
        """Why a metric cannot be measured, and what to do about it; two empty strings if it can."""
        label, needs = METRICS[name].label, METRICS[name].needs
        if "logits" in needs and self.extractor.logits is None:
            return (
                f"the {self.extractor.name} extractor has no logits, which {label} needs",
                "use --extractor inception, mobilenet, efficientnet_lite0 or classifier, or leave it out of "
                "--metrics",
            )
        if "labels" in needs:
            unlabeled = [side.name for side in (images, self.reference) if labels_of(side, None) is None]
            if unlabeled:
                return (
                    f"{unlabeled[0]} has no labels, which {label} needs",
                    "give a labeled packed set, a folder with a subfolder for each class, or a run of a "
                    "conditional recipe",
                )
            if mismatch := class_mismatch(images, self.reference):
                return mismatch, "give both sets the same classes, or leave it out of --metrics"
        if "pyramid" in needs and images.shape[0] != self.reference.shape[0]:
            return (
                f"one of {images.name} and {self.reference.name} is gray and the other color, and {label} "
                "compares their pixels",
                "give both in color or both in gray, or leave it out of --metrics",
            )
        if "pyramid" in needs and not has_pyramid(images):
            _, height, width = images.shape
            return (
                f"{images.name} has images of {width}x{height}, and {label} needs squares of 16, 32, 64, ... "
                "pixels",
                "prepare the images at such a size, or leave it out of --metrics",
            )
        return "", ""

    def judge(
        self,
        images: ImageSource,
        metrics: Iterable[str] | None = None,
        *,
        count: int | None = None,
        settings: MetricSettings | None = None,
        on_progress: Progress | None = None,
        on_reference_progress: Progress | None = None,
    ) -> list[Score]:
        """Scores `images` by each of `metrics` (None: the default ones), in that order.

        `count` images are used (default: all, at most 10,000), a random subset by `settings.seed` if there
        are more. "all" skips metrics that these features do not allow and adds a note to `notes`. Raises
        `JudgementError` for too few images, sizes that differ from the reference, metrics that the extractor
        or the sets do not allow, and values that are not finite; `UnknownNameError` for an unknown metric.
        """
        settings, count = settings or MetricSettings(), _count(images, count)
        requested = None if metrics is None else metric_names(metrics)
        self.check(images, (), count)
        names = self._names(requested, images, count, settings)
        self.check(images, names, count, settings)
        prepared = self.prepare(on_reference_progress)
        rows = choose_rows(len(images), count, settings.seed)
        extracted = extract_rows(
            images, self.extractor, rows, batch=self.batch, shared=self.shared, on_progress=on_progress
        )
        self.context = MetricContext(
            FeatureSide(
                extracted.features,
                extracted.logits,
                None if extracted.logits is None else extracted.logits.argmax(1),
                labels_of(images, rows),
                classes_of(images),
                images,
                rows,
            ),
            FeatureSide(
                prepared.features,
                None,
                prepared.predictions,
                labels_of(self.reference, None),
                class_names(self.reference),
                self.reference,
            ),
            prepared.moments,
            self.extractor.name,
            settings,
            None if self._held_out is None else FeatureSide(self._held_out.features, source=self.held_out),
        )
        scores = []
        for name in names:
            raise_if_cancelled()
            try:
                scores.append(self._score(name, self.context, images, count))
            except JudgementError as error:
                if requested is None or name in requested or names == [name]:
                    raise
                note = f"{METRICS[name].label} is left out: {error}."
                if note not in self.notes:
                    self.notes.append(note)
        return scores

    def _names(
        self, requested: list[str] | None, images: ImageSource, count: int, settings: MetricSettings
    ) -> list[str]:
        if requested is None:
            return self.default_metrics(images, count, settings)
        names: list[str] = []
        for name in requested:
            names += self.available_metrics(images, count, settings) if name == "all" else [name]
        if not names:
            raise JudgementError(f"no metric is given: name one of {', '.join(METRICS)}")
        return list(dict.fromkeys(names))

    def _score(self, name: str, context: MetricContext, images: ImageSource, count: int) -> Score:
        result = METRICS[name].compute(context)
        if not np.isfinite(result.value):
            raise JudgementError(f"{name} of {images.name} is not finite: the features are degenerate")
        protocol = ScoreProtocol(
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
            image_fit=fit_of(images),
            reference=self.reference.name,
            reference_count=len(self.reference),
            reference_fingerprint=self.reference.fingerprint,
            reference_size=self.reference.shape,
            reference_fit=fit_of(self.reference),
            seed=context.settings.seed,
            options=result.protocol,
            notes=tuple(conversion_notes(images, self.reference, self.extractor.channels)),
            versions=versions(),
            device=self.extractor.device.type,
            threads=torch.get_num_threads(),
            class_sampling=getattr(images, "class_sampling", None),
            teacher=teacher_of(images),
            unfair=unfair(self.extractor.name, teacher_of(images)),
            generated_reference=generated_count(self.reference),
        )
        interval = result.interval
        if interval is not None and not np.isfinite(interval).all():
            interval = None  # features of 1e30 have a finite value, but no finite interval
        return Score(
            metric=name, value=result.value, interval=interval, details=result.details, protocol=protocol
        )


def _count(images: ImageSource, count: int | None) -> int:
    return min(len(images), DEFAULT_COUNT) if count is None else count
