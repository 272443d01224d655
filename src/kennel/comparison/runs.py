"""Runs side by side: what each is called, what it cost, and where their recipes differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kennel.config.compute import ComputeConfig
from kennel.config.recipe import Recipe
from kennel.errors import RunError
from kennel.runs.run_dir import RunDir

MAX_RUNS = 200
"""More runs make no readable table or chart."""
NOT_COMPARED = ("name", "paper", "class_counts", "instances.num_instances", "seed")
"""Parts of a recipe that are left out of the table of differences: `seed` has a column of its own."""


@dataclass(frozen=True)
class ComparedRun:
    """One run: `label` is its short name, unique among the compared runs."""

    label: str
    folder: RunDir
    recipe: Recipe
    about: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]

    @property
    def images(self) -> int:
        """Training images shown so far."""
        return int(self.log[-1]["images"]) if self.log else 0

    @property
    def seconds(self) -> float | None:
        """Seconds of training so far; None before the first tick."""
        return self.log[-1].get("seconds") if self.log else None

    @property
    def images_per_second(self) -> float | None:
        """The mean speed; None before the first tick."""
        return self.images / self.seconds if self.seconds else None

    @property
    def set_name(self) -> str:
        """The name of the training set's folder."""
        return Path(str(self.about["data"]["path"])).name

    @property
    def set_fingerprint(self) -> str:
        """Equal for equal training sets."""
        return str(self.about["data"]["fingerprint"])

    @property
    def status(self) -> str:
        """ "finished", or the share of the budget that is done."""
        count = self.about["data"].get("count")
        total = self.recipe.budget.in_images(count) if count else 0
        if not total:
            return "unknown"
        return "finished" if self.images >= total else f"{self.images / total:.0%} of its budget"

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The recipe as one flat mapping, `techniques.ema.half_life_images` to its value."""
        return flat_settings(self.recipe)

    def group(self, with_compute: bool) -> str:
        """Equal for runs of the same recipe, but for its seed, on the same set.

        Without `with_compute` they may differ in `compute` too: "auto" chooses by a measurement, which may
        turn out differently for each seed.
        """
        changes: dict[str, Any] = {"seed": 0} | ({} if with_compute else {"compute": ComputeConfig()})
        return f"{self.recipe.model_copy(update=changes).fingerprint()} {self.set_fingerprint}"


def read_runs(paths: Sequence[Path]) -> list[ComparedRun]:
    """The runs in these folders, in the given order.

    Raises `RunError` for a folder without a run, a folder named twice, and fewer than two or more than 200.
    """
    resolved = [path.resolve() for path in paths]
    for number, path in enumerate(resolved):
        if path in resolved[:number]:
            raise RunError(f"{paths[number]} is given twice: name each run once")
    if not 2 <= len(paths) <= MAX_RUNS:
        raise RunError(f"compare takes 2 to {MAX_RUNS} runs, and got {len(paths)}")
    runs = []
    for label, path in zip(labels_of(resolved), paths, strict=True):
        folder = RunDir(path)
        runs.append(ComparedRun(label, folder, folder.recipe(), folder.about(), folder.log()))
    return runs


def labels_of(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, with as many folders before it as make all of them different."""
    depth, longest = 1, max(len(path.parts) for path in paths)
    while depth < longest:
        labels = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
        depth += 1
    return [str(path) for path in paths]


def flat_settings(recipe: Recipe) -> dict[str, Any]:
    """A recipe as dotted keys and plain values; techniques and their options by the technique's name."""
    content = recipe.model_dump(mode="json")
    techniques = {one["name"]: {**one, "name": True} for one in content.pop("techniques")}
    flat: dict[str, Any] = {}
    _flatten("", content, flat)
    for name, options in techniques.items():
        _flatten(f"techniques.{name}.", {key: value for key, value in options.items() if key != "name"}, flat)
        flat[f"techniques.{name}"] = "on"
    return {key: value for key, value in flat.items() if key not in NOT_COMPARED}


def _flatten(prefix: str, content: Mapping[str, Any], into: dict[str, Any]) -> None:
    for key, value in content.items():
        if isinstance(value, Mapping):
            _flatten(f"{prefix}{key}.", value, into)
        else:
            into[f"{prefix}{key}"] = value


def recipe_differences(runs: Sequence[ComparedRun]) -> list[tuple[str, list[Any]]]:
    """The settings in which the runs differ, each with its value in every run; None where it has none.

    Options of a technique that only some of the runs use are left out: that it is on or off says it all, and
    options of a component whose name differs belong to another component.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    differences = []
    for key in keys:
        values = [run.settings.get(key) for run in runs]
        if all(value == values[0] for value in values) or _is_other_component(key, runs):
            continue
        differences.append((key, values))
    return differences


def _is_other_component(key: str, runs: Sequence[ComparedRun]) -> bool:
    """Whether `key` is an option of a component that not all of the runs have."""
    parent = key.rpartition(".")[0]
    if key.startswith("techniques."):
        technique = ".".join(key.split(".")[:2])
        return key != technique and not all(technique in run.settings for run in runs)
    names = {run.settings.get(f"{parent}.name") for run in runs}
    return parent in ("generator", "discriminator", "loss") and not key.endswith(".name") and len(names) > 1


def groups_of(runs: Sequence[ComparedRun]) -> list[list[ComparedRun]]:
    """The runs grouped by recipe and set: each group differs in its seed alone. In order of first runs.

    Settings of `compute` separate runs only where two of them have one seed: then they are what is compared.
    """
    groups: dict[str, list[ComparedRun]] = {}
    for run in runs:
        groups.setdefault(run.group(with_compute=False), []).append(run)
    found: dict[str, list[ComparedRun]] = {}
    for name, group in groups.items():
        distinct = len({run.recipe.seed for run in group}) == len(group)
        for run in group:
            found.setdefault(name if distinct else run.group(with_compute=True), []).append(run)
    return list(found.values())
