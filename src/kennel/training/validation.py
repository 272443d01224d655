"""Judging a generator while it trains: the paper's validation curve."""

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
"""Validation samples are those of the seeds from here on: the same at every tick, apart from the grid's."""

_WAYS = {
    "logits": "give --set validation.extractor=efficientnet_lite0 (or inception, mobilenet, classifier)",
    "labels": "give a set with classes and --set num_classes=null",
}
"""How a training run comes to what a metric needs."""


def with_metric_names(validation: ValidationConfig) -> ValidationConfig:
    """The same with registered names in place of aliases, groups opened, each metric once; "all" stays.

    Raises `UnknownNameError` for a name that nobody knows, `RecipeError` for a deciding metric that is a
    group or has no better end.
    """
    found = metric_names((validation.metric,))
    if len(found) != 1 or found == ["all"]:
        among = f": name one of {', '.join(found)}" if len(found) > 1 else ": name one"
        raise RecipeError(
            f"validation.metric={validation.metric} stands for several metrics, and one decides which "
            f"checkpoint is best{among}, and list the others in validation.extra_metrics"
        )
    name = found[0]
    if METRICS[name].direction == "neither":
        raise RecipeError(
            f"validation.metric={name} cannot decide which checkpoint is best, since neither more nor less "
            f"{METRICS[name].label} is better: name another, such as fid, and list {name} in "
            "validation.extra_metrics"
        )
    also = tuple(one for one in metric_names(validation.extra_metrics) if one != name)
    return validation.model_copy(update={"metric": name, "extra_metrics": also})


class Validator:
    """A judge with the training set as its reference, how many samples it sees, and by what it judges."""

    def __init__(
        self, judge: Evaluator, recipe: Recipe, classes: tuple[str, ...], device: torch.device
    ) -> None:
        """`recipe.validation` says what is measured; `classes` names those that the generator knows.

        `judge` and `settings` are attributes. Searches for neighbours run on `device`.
        """
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
        say: Callable[[str], None],
        *,
        download: bool = True,
        teacher: str | None = None,
    ) -> "Validator | None":
        """The validator that the recipe asks for, of the recipe's `generator`; None where it asks for none.

        `teacher` is the pretrained network that teaches the run. Without `download`, weights that are not at
        hand raise `WeightsError`. Raises `RecipeError` where the extractor, the set or the count do not allow
        one of the metrics.
        """
        validation = recipe.validation
        if validation.every_ticks == 0:
            return None
        device = next(generator.parameters()).device
        # Weights that must be downloaded first are so by one rank.
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
        say(_in_words(validation, extractor.name))
        if extractor.name == "pixels" and recipe.image.channels == 3:
            say(
                "Pixels tell colour and layout only. For a new run, --set validation.extractor="
                "efficientnet_lite0 (or mobilenet: 3.6 MB to download) brings real features."
            )
        if doubt := unfair(extractor.name, teacher):
            say(f"Validation is not quite fair: {doubt}")
        return validator

    def check(self, generator: Generator) -> None:
        """Refuses what could not be measured, before anything is drawn."""
        sampled = self._sampled(generator, 0)
        wanted = self._recipe.validation
        for name in (wanted.metric, *(one for one in wanted.extra_metrics if one != "all")):
            decides = name == wanted.metric
            key, remedy = ("metric", "name another") if decides else ("extra_metrics", "leave it out")
            if few := self.judge.too_few(name, wanted.num_samples, self.settings):
                raise RecipeError(f"{few} (validation.{key}): give more, or {remedy}")
            problem, _ = self.judge.unmet_need(name, sampled)
            if problem:
                needs = METRICS[name].needs
                ways = [way for need, way in _WAYS.items() if need in needs]
                raise RecipeError(f"{problem} (validation.{key}): {', or '.join([*ways, remedy])}")

    def values(self, generator: Generator, images_seen: int) -> dict[str, float]:
        """Each metric's value under its name, the deciding one first; MiFID brings its FID and distance."""
        wanted = self._recipe.validation
        sampled = self._sampled(generator, images_seen)
        values = {}
        for judgement in self.judge.judge(
            sampled, (wanted.metric, *wanted.extra_metrics), count=wanted.num_samples, settings=self.settings
        ):
            values[judgement.metric] = judgement.value
            if judgement.metric == "mifid":
                values["fid"] = float(judgement.details["fid"])
                values["nearest_distance"] = float(judgement.details["distance"])
        return values

    def assist(self, generator: Generator, images_seen: int) -> None:
        """What every rank but 0 does while rank 0 measures the `values`."""
        count = self._recipe.validation.num_samples
        self.judge.assist(self._sampled(generator, images_seen), count, self.settings)

    def _sampled(self, generator: Generator, images_seen: int) -> SampledSet:
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + self._recipe.validation.num_samples)
        samples = Samples(generator, self._recipe.latent, seeds, sampling=self._recipe.sampling)
        return SampledSet(samples, "validation", f"at {images_seen}", self._classes)


def _in_words(validation: ValidationConfig, extractor: str) -> str:
    metric = METRICS[validation.metric].label
    sentence = (
        f"Validation: {metric} of {validation.num_samples:,} samples by the {extractor} extractor decides "
        "which checkpoint is best."
    )
    if validation.extra_metrics:
        others = (METRICS[name].label if name in METRICS else name for name in validation.extra_metrics)
        sentence += f" Also measured: {', '.join(others)}."
    if validation.patience is not None:
        several = "" if validation.patience == 1 else "s"
        sentence += (
            f" Training stops when {metric} has not improved for {validation.patience} validation{several}."
        )
    return sentence
