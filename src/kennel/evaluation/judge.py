"""Judging: many metrics from one feature pass, and a score that carries its protocol.

judge = Judge(reference, open_extractor("mobilenet"))
for judgement in judge.judge(images, ("fid", "recall")):
    print(judgement.metric, judgement.value, judgement.interval, judgement.protocol.words())
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

import kennel.evaluation.metrics.registered  # noqa: F401 (registers the metrics)
from kennel.cancellation import raise_if_cancelled
from kennel.data.images import ImageSource
from kennel.distributed import world_size
from kennel.errors import JudgementError
from kennel.evaluation.checks import (
    check_count,
    check_sizes,
    classes_of,
    conversions,
    fit_of,
    has_pyramid,
    labels_of,
    numbered,
    teacher_of,
    unshared_classes,
)
from kennel.evaluation.metrics.base import METRICS, in_order, metric_names
from kennel.evaluation.metrics.context import FeatureSide, MetricContext, MetricSettings
from kennel.evaluation.score import Score, ScoreProtocol, versions
from kennel.features.base import Extractor
from kennel.features.cache import ReferenceFeatures, contribute_reference, reference_features
from kennel.features.extract import BATCH, Progress, choose_rows, contribute, extract_rows
from kennel.features.related_extractors import unfair

DEFAULT_COUNT = 10_000
"""Images that are judged where nothing else is said: Kaggle's number."""


class Evaluator:
    """A reference set and an extractor; the reference's features stay in memory (or mapped) between calls.

    Attributes: `reference`, `extractor`, `held_out`; `notes`, sentences about the cache that a caller may
    show; `evidence`, what the last judgement rested on (None before it), for pictures.
    """

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
        """Nothing is computed yet. `cached` keeps the reference's features under `cache_folder()`.

        `held_out` are real images that are not in the reference: the baseline of the nearest distances.
        `shared`: the ranks of `kennel.distributed` share the passes; rank 0 judges, the others `assist`.
        """
        self.reference, self.extractor, self.held_out = reference, extractor, held_out
        self.cached, self.batch, self.shared = cached, batch, shared and world_size() > 1
        self.notes: list[str] = []
        self.context: MetricContext | None = None
        self._prepared: ReferenceFeatures | None = None
        self._held_out: ReferenceFeatures | None = None
        self._has_assisted = False

    def prepare(self, on_progress: Progress | None = None) -> ReferenceFeatures:
        """The reference's features and moments, at the first call from the cache or a pass.

        Held-out images are gone through likewise.
        """
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
        """What every rank but 0 does for one `judge` there of the same images, count and seed, and at the
        first for the `prepare` before it: its share of the passes."""
        for real in (self.reference, self.held_out):
            if real is not None and not self._has_assisted:
                contribute_reference(real, self.extractor, batch=self.batch)
        self._has_assisted = True
        rows = choose_rows(len(images), count or _default_count(images), (settings or MetricSettings()).seed)
        contribute(images, self.extractor, rows, batch=self.batch)

    def possible(
        self, images: ImageSource, count: int | None = None, settings: MetricSettings | None = None
    ) -> list[str]:
        """The metrics that this extractor, these sets and `count` images allow, in the order of tables."""
        settings = settings or MetricSettings()
        count = _default_count(images) if count is None else count
        found = []
        for name in METRICS:
            if not self.too_few(name, count, settings) and not self.missing(name, images):
                found.append(name)
        return in_order(found)

    def usual(
        self, images: ImageSource, count: int | None = None, settings: MetricSettings | None = None
    ) -> list[str]:
        """What is judged where nothing else is said: of the usual metrics those that are possible.

        An extractor that gives a caution has learned nothing: MiFID's threshold says nothing by it.
        """
        usual = (True,) if self.extractor.caution else (True, "learned")
        return [name for name in self.possible(images, count, settings) if METRICS[name].default in usual]

    def check(
        self,
        images: ImageSource,
        metrics: Iterable[str],
        count: int | None = None,
        settings: MetricSettings | None = None,
    ) -> None:
        """Refuses before any pass what `judge` would refuse: sizes, counts and metrics that do not fit."""
        check_sizes(images, self.reference)
        count = _default_count(images) if count is None else count
        if count > len(images):
            raise JudgementError(
                f"{images.name} holds {len(images):,} images, {count:,} were asked for: lower --count"
            )
        check_count(count, images.name)
        check_count(len(self.reference), f"the reference {self.reference.name}")
        settings = settings or MetricSettings()
        for name in metrics:
            if name == "all":
                continue
            if missing := self.missing(name, images):
                raise JudgementError(missing)
            if few := self.too_few(name, count, settings):
                raise JudgementError(
                    f"{few}: give more{self._fewer(name, settings)}, or leave it out of --metrics"
                )

    def _fewer(self, name: str, settings: MetricSettings) -> str:
        """The option that would let fewer images do; empty where there is none."""
        least = METRICS[name].min_images
        asked = least(self.extractor.dimension, settings)
        lowest = {
            "--splits": replace(settings, splits=1),
            "--neighbors": replace(settings, neighbours=1),
            "--density-neighbors": replace(settings, density_neighbours=1),
        }
        for option, lower in lowest.items():
            if least(self.extractor.dimension, lower) < asked:
                return f", lower {option}"
        return ""

    def too_few(self, name: str, count: int, settings: MetricSettings) -> str:
        """Why `count` images against this reference are too few for a metric; empty where they are enough."""
        least = METRICS[name].min_images(self.extractor.dimension, settings)
        # The Inception Score alone does not look at the reference.
        sides = [(f"{count:,} images", count)]
        if name != "inception_score":
            sides.append((f"{len(self.reference):,} images of {self.reference.name}", len(self.reference)))
        given, fewest = min(sides, key=lambda side: side[1])
        if fewest >= least:
            return ""
        return f"{METRICS[name].label} needs at least {least:,} images on a side, and there are {given}"

    def missing(self, name: str, images: ImageSource) -> str:
        """What keeps a metric from being measured, as a sentence; empty where nothing does."""
        lacking, remedy = self._lacking(name, images)
        return f"{lacking}: {remedy}" if lacking else ""

    def lacking(self, name: str, images: ImageSource) -> str:
        """What `missing` says, without its remedy, for a caller that knows another."""
        return self._lacking(name, images)[0]

    def _lacking(self, name: str, images: ImageSource) -> tuple[str, str]:
        needs = METRICS[name].needs
        if "logits" in needs and self.extractor.logits is None:
            return (
                f"the {self.extractor.name} extractor has no logits, which {METRICS[name].label} needs",
                "use --extractor inception, mobilenet, efficientnet_lite0 or classifier, or leave it out of "
                "--metrics",
            )
        if "labels" in needs:
            unlabelled = [side.name for side in (images, self.reference) if labels_of(side, None) is None]
            if unlabelled:
                return (
                    f"{unlabelled[0]} carries no labels, which {METRICS[name].label} needs",
                    "give a labelled packed set, a folder with a folder for each class, or a run of a "
                    "conditional recipe",
                )
            if unshared := unshared_classes(images, self.reference):
                return unshared, "bring both to the same classes, or leave it out of --metrics"
        if "pyramid" in needs and images.shape[0] != self.reference.shape[0]:
            return (
                f"one of {images.name} and {self.reference.name} is grey and the other colour, and "
                f"{METRICS[name].label} compares their pixels",
                "give both in colour or both in grey, or leave it out of --metrics",
            )
        if "pyramid" in needs and not has_pyramid(images):
            _, height, width = images.shape
            return (
                f"{images.name} has images of {width}x{height}, and {METRICS[name].label} needs squares of "
                "16, 32, 64, ... pixels",
                "prepare them so, or leave it out of --metrics",
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
        """A judgement of `images` by each of `metrics` (None: the usual ones), in that order.

        `count` images are judged (default: all, at most 10,000), a random subset by `settings.seed` where
        there are more. Of "all" a metric that these features do not allow is left out, and `notes` says so.
        Raises `JudgementError` for too few images, sizes that differ from the reference's,
        metrics that the extractor or the sets do not allow, and values that are not finite;
        `UnknownNameError` for a metric.
        """
        settings = settings or MetricSettings()
        count = _default_count(images) if count is None else count
        asked = None if metrics is None else metric_names(metrics)
        self.check(images, (), count)
        names = self._names(asked, images, count, settings)
        self.check(images, names, count, settings)
        prepared = self.prepare(on_reference_progress)
        rows = choose_rows(len(images), count, settings.seed)
        passed = extract_rows(
            images, self.extractor, rows, batch=self.batch, shared=self.shared, on_progress=on_progress
        )
        self.context = MetricContext(
            FeatureSide(
                passed.features,
                passed.logits,
                None if passed.logits is None else passed.logits.argmax(1),
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
                numbered(self.reference),
                self.reference,
            ),
            prepared.moments,
            self.extractor.name,
            settings,
            None if self._held_out is None else FeatureSide(self._held_out.features, source=self.held_out),
        )
        judgements = []
        for name in names:
            raise_if_cancelled()
            try:
                judgements.append(self._judgement(name, self.context, images, count))
            except JudgementError as error:
                if asked is None or name in asked or names == [name]:
                    raise
                self._note(f"{METRICS[name].label} is left out: {error}.")
        return judgements

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _names(
        self, asked: list[str] | None, images: ImageSource, count: int, settings: MetricSettings
    ) -> list[str]:
        if asked is None:
            return self.usual(images, count, settings)
        names: list[str] = []
        for name in asked:
            names += self.possible(images, count, settings) if name == "all" else [name]
        if not names:
            raise JudgementError(f"there is nothing to judge by: name one of {', '.join(METRICS)}")
        return list(dict.fromkeys(names))

    def _judgement(self, name: str, context: MetricContext, images: ImageSource, count: int) -> Score:
        finding = METRICS[name].find(context)
        if not np.isfinite(finding.value):
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
            options=finding.protocol,
            notes=tuple(conversions(images, self.reference, self.extractor.channels)),
            versions=versions(),
            device=self.extractor.device.type,
            threads=torch.get_num_threads(),
            class_sampling=getattr(images, "class_sampling", None),
            teacher=teacher_of(images),
            unfair=unfair(self.extractor.name, teacher_of(images)),
        )
        return Score(
            metric=name,
            value=finding.value,
            interval=_finite(finding.interval),
            details=finding.details,
            protocol=protocol,
        )


def judge(
    images: ImageSource,
    reference: ImageSource,
    extractor: Extractor,
    metrics: Iterable[str] | None = None,
    *,
    count: int | None = None,
    settings: MetricSettings | None = None,
    on_progress: Progress | None = None,
) -> list[Score]:
    """`Judge(reference, extractor).judge(images, ...)` for a single use."""
    court = Evaluator(reference, extractor)
    return court.judge(images, metrics, count=count, settings=settings, on_progress=on_progress)


def _finite(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """None where an end is beyond what floats hold: features of 1e30 have a value and no interval."""
    return interval if interval is None or np.isfinite(interval).all() else None


def _default_count(images: ImageSource) -> int:
    return min(len(images), DEFAULT_COUNT)
