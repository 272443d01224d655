"""Judging a generator while it trains: the paper's validation curve."""

from collections.abc import Callable
from pathlib import Path

import torch

from kennel.data.packed import PackedSet
from kennel.features.opening import open_extractor
from kennel.judge import Judge
from kennel.metrics.evidence import Settings
from kennel.networks import Generator
from kennel.recipe import Recipe
from kennel.sampler import SampledSet, Samples

VALIDATION_SEED = 1_000_000
"""Validation samples are those of the seeds from here on: the same at every tick, apart from the grid's."""


class Validator:
    """A judge with the training set as its reference, and how many samples it sees."""

    def __init__(self, judge: Judge, recipe: Recipe) -> None:
        """`recipe.validation` says what is measured."""
        self._judge = judge
        self._recipe = recipe
        self._settings = Settings(intervals=False)

    @classmethod
    def for_recipe(
        cls,
        recipe: Recipe,
        packed: PackedSet,
        device: torch.device,
        weights: Path | None,
        say: Callable[[str], None],
    ) -> "Validator | None":
        """The validator that the recipe asks for; None where it asks for none."""
        validation = recipe.validation
        if validation.every_ticks == 0:
            return None
        extractor = open_extractor(validation.extractor, weights, device=device)
        samples = f"{validation.count:,} samples"
        say(f"Validation: {validation.metric} of {samples} by the {extractor.name} extractor.")
        if extractor.name == "pixels" and recipe.image.channels == 3:
            say(
                "Pixels tell colour and layout only. For a new run, --weights FILE brings real features, "
                "and --set validation.extractor=mobilenet downloads them (3.6 MB)."
            )
        return cls(Judge(packed, extractor), recipe)

    def values(self, generator: Generator, images_seen: int) -> dict[str, float]:
        """The metric's value under its name; MiFID brings its FID and its distance too."""
        wanted = self._recipe.validation
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + wanted.count)
        samples = Samples(generator, self._recipe.latent, seeds, sampling=self._recipe.sampling)
        sampled = SampledSet(samples, "validation", f"at {images_seen}")
        values = {}
        judgements = self._judge.judge(sampled, (wanted.metric,), count=wanted.count, settings=self._settings)
        for judgement in judgements:
            values[judgement.metric] = judgement.value
            if judgement.metric == "mifid":
                values["fid"] = float(judgement.details["fid"])
                values["nearest_distance"] = float(judgement.details["distance"])
        return values
