"""Evaluates a generator during training, for the validation curve and the best checkpoint."""

from collections.abc import Callable
from pathlib import Path

import torch

from kennel.config.recipe import Recipe, ValidationConfig
from kennel.data.dataset import ImageDataset
from kennel.distributed import rank_zero_first
from kennel.errors import RecipeError
from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.base import METRICS, metric_names
from kennel.evaluation.metrics.context import MetricSettings
from kennel.features.factory import open_extractor
from kennel.features.related_extractors import unfair
from kennel.networks import Generator
from kennel.sampling.sampler import SampledSet, Samples

VALIDATION_SEED = 1_000_000
"""The first seed of validation samples, which are the same at every tick and differ from the grid's."""

_REMEDIES = {
    "logits": "give --set validation.extractor=efficientnet_lite0 (or inception, mobilenet, classifier)",
    "labels": "give a set with classes and --set num_classes=null",
}
"""How to provide what a metric needs."""


def with_metric_names(validation: ValidationConfig) -> ValidationConfig:
    """Replaces aliases and groups by registered names, each once; "all" stays.

    Raises `UnknownNameError` for an unknown name, and `RecipeError` for a deciding metric that is a group or
    has no better direction.
    """
    found = metric_names((validation.metric,))
    if len(found) != 1 or found == ["all"]:
        among = f"one of {', '.join(found)}" if len(found) > 1 else "one"
        raise RecipeError(
            f"validation.metric={validation.metric} is a group, but a single metric decides which checkpoint "
            f"is best: name {among}, and list the others in validation.extra_metrics"
        )
    name = found[0]
    if METRICS[name].direction == "neither":
        raise RecipeError(
            f"validation.metric={name} cannot decide which checkpoint is best, since neither a higher nor a "
            f"lower {METRICS[name].label} is better: name another, such as fid, and list {name} in "
            "validation.extra_metrics"
        )
    extra = tuple(one for one in metric_names(validation.extra_metrics) if one != name)
    return validation.model_copy(update={"metric": name, "extra_metrics": extra})


class Validator:
    """Evaluates generators against the training set, with the metrics of `recipe.validation`."""

    def __init__(
        self, judge: Evaluator, recipe: Recipe, classes: tuple[str, ...], device: torch.device
    ) -> None:
        """`classes` are the names of the generator's classes; neighbor searches run on `device`."""
        self.judge = judge
        self._recipe = recipe
        self._classes = classes
        self.settings = MetricSettings(intervals=False, device=device)

    @classmethod
    def for_recipe(
        cls,
        recipe: Recipe,
        dataset: ImageDataset,
        generator: Generator,
        weights: Path | None,
        log: Callable[[str], None],
        *,
        download: bool = True,
        teacher: str | None = None,
    ) -> "Validator | None":
        """The validator of the recipe and its `generator`; None if validation is off.

        `teacher` is the pretrained network that trains the generator. Without `download`, missing weights
        raise `WeightsError`. Raises `RecipeError` if the extractor, the set or the sample count do not allow
        a metric.
        """
        validation = recipe.validation
        if validation.every_ticks == 0:
            return None
        device = next(generator.parameters()).device
        # If weights must be downloaded, one rank does it first.
        extractor = rank_zero_first(
            lambda: open_extractor(
                validation.extractor,
                weights,
                device=device,
                fingerprint=dataset.fingerprint,
                download=download,
            )
        )
        judge = Evaluator(dataset, extractor, shared=True)
        validator = cls(judge, recipe, tuple(dataset.classes) if recipe.num_classes else (), device)
        validator.check(generator)
        log(_message(validation, extractor.name))
        if extractor.name == "pixels" and recipe.image.channels == 3:
            log(
                "Pixels measure color and layout only. For a new run, --set validation.extractor="
                "efficientnet_lite0 (or mobilenet: 3.6 MB to download) gives real features."
            )
        if doubt := unfair(extractor.name, teacher):
            log(f"Validation is biased: {doubt}")
        return validator

    def check(self, generator: Generator) -> None:
        """Raises `RecipeError` for metrics that cannot be measured, before any sampling."""
        sampled = self._sampled(generator, 0)
        config = self._recipe.validation
        for name in (config.metric, *(one for one in config.extra_metrics if one != "all")):
            decides = name == config.metric
            key, remedy = ("metric", "name another") if decides else ("extra_metrics", "leave it out")
            if few := self.judge.too_few(name, config.num_samples, self.settings):
                raise RecipeError(f"{few} (validation.{key}): give more, or {remedy}")
            problem, _ = self.judge.unmet_need(name, sampled)
            if problem:
                needs = METRICS[name].needs
                remedies = [text for need, text in _REMEDIES.items() if need in needs]
                raise RecipeError(f"{problem} (validation.{key}): {', or '.join([*remedies, remedy])}")

    def values(self, generator: Generator, images_seen: int) -> dict[str, float]:
        """The metrics by name, the deciding one first; MiFID adds its FID and distance."""
        config = self._recipe.validation
        sampled = self._sampled(generator, images_seen)
        values = {}
        for judgement in self.judge.judge(
            sampled, (config.metric, *config.extra_metrics), count=config.num_samples, settings=self.settings
        ):
            values[judgement.metric] = judgement.value
            if judgement.metric == "mifid":
                values["fid"] = float(judgement.details["fid"])
                values["nearest_distance"] = float(judgement.details["distance"])
        return values

    def assist(self, generator: Generator, images_seen: int) -> None:
        """The other ranks' part while rank 0 computes `values`."""
        count = self._recipe.validation.num_samples
        self.judge.assist(self._sampled(generator, images_seen), count, self.settings)

    def _sampled(self, generator: Generator, images_seen: int) -> SampledSet:
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + self._recipe.validation.num_samples)
        samples = Samples(generator, self._recipe.latent, seeds, sampling=self._recipe.sampling)
        return SampledSet(samples, "validation", f"at {images_seen}", self._classes)


def _message(validation: ValidationConfig, extractor: str) -> str:
    metric = METRICS[validation.metric].label
    message = (
        f"Validation: {metric} of {validation.num_samples:,} samples by the {extractor} extractor decides "
        "which checkpoint is best."
    )
    if validation.extra_metrics:
        others = (METRICS[name].label if name in METRICS else name for name in validation.extra_metrics)
        message += f" Also measured: {', '.join(others)}."
    if (patience := validation.patience) is not None:
        plural = "" if patience == 1 else "s"
        message += f" Training stops when {metric} has not improved for {patience} validation{plural}."
    return message
