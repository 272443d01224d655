"""What a search is: the recipe, its trials' recipe and budget, the data, the space and the folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch

from kennel.config.recipe import Recipe, difference, override, recipe_from
from kennel.data.dataset import ImageDataset
from kennel.engine.builder import resolve
from kennel.errors import TuningError
from kennel.evaluation.metrics.base import METRICS
from kennel.registry import unknown_name
from kennel.runs.newest import RUNS
from kennel.runs.pretrained_teacher import teacher_of_run, with_extractor
from kennel.runs.run_dir import RunDir
from kennel.training.request import (
    Bar,
    TrainRequest,
    budget_settings,
    default_run_dir,
    resolve_request,
)
from kennel.training.time_budget import check_hours
from kennel.training.validation import with_metric_names
from kennel.tuning.dimension import Value
from kennel.tuning.space import Space, make_space

TUNING = Path("tuning")
"""The default folder of searches."""
SHARE = 10
"""A trial has this part of the recipe's budget by default: a tenth."""
VALIDATIONS = 8
"""Validations of a trial: enough to stop a bad one after a quarter of its budget."""
DEFAULT_TRIALS = 30

Keep = Literal["best", "all"]
"""The checkpoints that a search keeps."""


@dataclass(frozen=True)
class TunePlan:
    """A search.

    `recipe` is the recipe with its settings and its own budget, from which `best.yaml` is made; `trial` the
    one of every trial, with a trial's budget, a fixed extractor, and validations for the pruner. `data` is
    the packed set, `source` what the user named. With `hours` each trial measures its own speed, and `trial`
    has the recipe's budget. `seed` is the sampler's.
    """

    recipe: Recipe
    trial: Recipe
    data: Path
    source: Path
    fingerprint: str
    space: Space
    out: Path
    hours: float | None
    seed: int
    device: torch.device
    weights: Path | None

    @property
    def metric(self) -> str:
        """The registered name of the validation metric that decides."""
        return self.trial.validation.metric

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return "maximize" if METRICS[self.metric].direction == "higher" else "minimize"

    @property
    def budget_words(self) -> str:
        """The budget of a trial."""
        if self.hours is not None:
            return f"{self.hours:g} hours"
        return f"{self.trial.budget.images:,} images"

    def run_dir(self, number: int) -> RunDir:
        """The folder of a trial's run."""
        return RunDir(self.out / "runs" / f"trial-{number:03d}")

    def trial_recipe(self, values: Mapping[str, Value]) -> Recipe:
        """The recipe of a trial with these values. Raises `RecipeError` if they do not fit."""
        return override(self.trial, self.space.settings(values))

    def best_recipe(self, values: Mapping[str, Value]) -> Recipe:
        """The recipe with these values and its own budget."""
        found = override(self.recipe, self.space.settings(values))
        return found.model_copy(update={"name": f"{self.recipe.name}.tuned"})

    def about(self) -> dict[str, Any]:
        """What must stay the same when a search continues; plain values."""
        return {
            "recipe": self.trial.model_dump(mode="json", exclude={"compute", "class_counts"}),
            "data": self.fingerprint,
            "hours": self.hours,
            "space": [one.about() for one in self.space.dimensions],
        }

    def refuse_other(self, about: Mapping[str, Any]) -> None:
        """Raises `TuningError` if `about` is of another search."""
        mine, changes = self.about(), []
        if about["data"] != mine["data"]:
            changes.append(f"other data ({about['data'][:8]}, now {mine['data'][:8]})")
        if about["recipe"] != mine["recipe"]:
            changes += difference(recipe_from(about["recipe"]), recipe_from(mine["recipe"]))
        if about["hours"] != mine["hours"]:
            changes.append(f"hours: {about['hours']} -> {mine['hours']}")
        before, now = ({one["key"]: one for one in part["space"]} for part in (about, mine))
        changes += [f"space of {key}" for key in {**before, **now} if before.get(key) != now.get(key)]
        if changes:
            raise TuningError(
                f"the search in {self.out} is another one ({'; '.join(changes)}): give the same options to "
                "continue it, or another --out"
            )


def parse_keep(text: str) -> Keep:
    """Raises `UnknownNameError` for another word than "best" and "all"."""
    if text not in get_args(Keep):
        raise unknown_name("way to keep checkpoints", text, get_args(Keep))
    return cast(Keep, text)


def default_out(recipe: str, data: Path) -> Path:
    """`tuning/RECIPE-SET`."""
    return TUNING / default_run_dir(recipe, data).relative_to(RUNS)


def make_plan(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    source: Path | None = None,
    device: torch.device,
    fixed: Sequence[str] = (),
    space: Sequence[str] = (),
    only: str | None = None,
    images: int | str | None = None,
    hours: float | None = None,
    seed: int = 0,
    weights: Path | None = None,
    log: Callable[[str], None] = lambda sentence: None,
) -> TunePlan:
    """The search over `recipe`, to which the settings `fixed` are applied already, on the packed set `data`.

    `space` and `only` are those of `make_space`. One of `images` and `hours` is the budget of a trial, by
    default a tenth of the recipe's. Raises `KennelError` for what does not fit; writes nothing.
    """
    check_hours(hours)
    budget = budget_settings(images, None, hours)
    dataset = ImageDataset(data)
    if not budget:
        total = recipe.budget.in_images(len(dataset))
        budget = [f"budget.images={total if hours is not None else max(recipe.batch_size, total // SHARE)}"]
    trial = override(
        recipe, [*budget, *_validations(recipe, fixed), "keep_checkpoints=1", "keep_every_ticks=0"]
    )
    trial = trial.model_copy(update={"validation": with_metric_names(trial.validation)})
    resolved = resolve(trial, dataset)
    if hours is None and resolved.budget.in_images(len(dataset)) < resolved.batch_size:
        raise TuningError(
            f"a trial of {resolved.budget.in_images(len(dataset)):,} images is less than a batch of "
            f"{resolved.batch_size:,}: give more --images"
        )
    nowhere = RunDir(out / "none")
    chosen = with_extractor(resolved, nowhere, weights, teacher_of_run(resolved, nowhere), log)
    trial = trial.model_copy(update={"validation": chosen.validation})
    return TunePlan(
        recipe,
        trial,
        data,
        source or data,
        dataset.fingerprint,
        make_space(trial, dataset, space, fixed, only),
        out,
        hours,
        seed,
        device,
        weights,
    )


def _validations(recipe: Recipe, fixed: Sequence[str]) -> list[str]:
    """Settings that validate a trial several times, unless the user has set the ticks."""
    keys = {one.partition("=")[0] for one in fixed}
    settings = [] if "num_ticks" in keys else [f"num_ticks={VALIDATIONS}"]
    if "validation.every_ticks" not in keys:
        return [*settings, "validation.every_ticks=1"]
    if recipe.validation.every_ticks == 0:
        raise TuningError(
            "trials are compared by their validation, and validation.every_ticks=0 turns it off: leave it out"
        )
    return settings


def resolve_plan(
    recipe: str | Recipe,
    data: Path,
    out: Path | None,
    *,
    device: torch.device,
    settings: Sequence[str],
    log: Callable[[str], None],
    bar: Bar,
    weights: Path | None = None,
    **options: Any,
) -> TunePlan:
    """The search over a recipe by name, file, `auto` or object; pictures are prepared first.

    `settings` change the recipe and are not searched; `options` are the others of `make_plan`. The default
    of `out` is `default_out`. Raises `KennelError`; writes nothing but the packed set in the cache.
    """
    name = recipe.name if isinstance(recipe, Recipe) else recipe
    place = out or default_out(name, data)
    request = TrainRequest(recipe, data, place / "none", None, settings, (), None, device, weights)
    chosen, packed = resolve_request(request, log, bar)
    return make_plan(
        chosen,
        packed,
        place,
        source=data,
        device=device,
        fixed=settings,
        weights=weights,
        log=log,
        **options,
    )
