"""A recipe: a pair of networks, a loss, a list of techniques, two optimizers, and how long.

Frozen pydantic models; unknown keys are refused; dotted overrides; YAML round trip; fingerprint; difference.
"""

import hashlib
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from kennel.config.alarms import AlarmsConfig
from kennel.config.base import Config, sentence
from kennel.config.compute import ComputeConfig, fingerprint_fields
from kennel.config.optim import OptimizerConfig, ScheduleConfig, SecondBeta
from kennel.config.sections import (
    ClassSampling,
    ComponentConfig,
    ImageConfig,
    InstancesConfig,
    LatentConfig,
    SamplingConfig,
    ValidationConfig,
)
from kennel.config.steps import Budget, ExtraDiscriminatorSteps, StepsConfig
from kennel.errors import RecipeError
from kennel.registry import MAX_SUGGESTIONS, nearest, unknown_name
from kennel.storage.untrusted import UntrustedError, parse_yaml

__all__ = [
    "AlarmsConfig",
    "Budget",
    "ClassSampling",
    "ComponentConfig",
    "ComputeConfig",
    "ExtraDiscriminatorSteps",
    "ImageConfig",
    "InstancesConfig",
    "LatentConfig",
    "OptimizerConfig",
    "Recipe",
    "SamplingConfig",
    "ScheduleConfig",
    "SecondBeta",
    "StepsConfig",
    "ValidationConfig",
    "difference",
    "from_yaml",
    "override",
    "parse_count",
    "parse_value",
    "recipe_from",
]


class Recipe(Config):
    """Everything that decides what a run computes."""

    name: str
    paper: str = ""
    image: ImageConfig = ImageConfig()
    num_classes: NonNegativeInt | None = 0
    """0 draws without regard to classes; `null` takes those of the data set, and is filled in from it."""
    class_counts: tuple[NonNegativeInt, ...] | None = None
    """The images of each class, by which samples draw theirs. Always filled in from the data set."""
    instances: InstancesConfig = InstancesConfig()
    latent_dim: PositiveInt = 128
    latent_distribution: Literal["normal", "uniform"] = "normal"
    """The prior that the generator starts from; `uniform` is on [-1, 1]."""
    generator: ComponentConfig
    discriminator: ComponentConfig
    loss: ComponentConfig = ComponentConfig(name="bce")
    techniques: tuple[ComponentConfig, ...] = ()
    generator_optimizer: OptimizerConfig = OptimizerConfig()
    discriminator_optimizer: OptimizerConfig = OptimizerConfig()
    batch_size: int = Field(64, ge=2)
    steps: StepsConfig = StepsConfig()
    budget: Budget
    num_ticks: PositiveInt = 40
    """Ticks in the run: at each, a log line, a grid, a checkpoint and perhaps a validation."""
    validation: ValidationConfig = ValidationConfig()
    sampling: SamplingConfig = SamplingConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    keep_checkpoints: PositiveInt = 2
    keep_every_ticks: NonNegativeInt = 0
    """Beside the newest, the checkpoint of every so-manieth tick stays for good; 0: of none."""
    compute: ComputeConfig = ComputeConfig()
    seed: int = 0

    @model_validator(mode="after")
    def _no_technique_twice(self) -> "Recipe":
        names = [technique.name for technique in self.techniques]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the technique '{name}' is listed twice: list it once")
        return self

    @property
    def latent(self) -> LatentConfig:
        """The prior that the generator starts from."""
        return LatentConfig(dim=self.latent_dim, distribution=self.latent_distribution)

    def fingerprint(self) -> str:
        """BLAKE2b of all that the recipe says, but for the paper's name, what it repeats of the set, and
        which checkpoints stay."""
        ignored = {"paper", "class_counts", "keep_every_ticks"}
        content = fingerprint_fields(self.model_dump(mode="json", exclude=ignored))
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def to_yaml(self) -> str:
        """The whole recipe, defaults included, as YAML that `from_yaml` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def recipe_from(content: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values; what does not fit raises `RecipeError` in one sentence."""
    _refuse_unknown_keys(content, Recipe, "recipe")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(sentence(error, "recipe")) from None


def from_yaml(text: str, where: str) -> Recipe:
    """A recipe from YAML (or JSON, which is YAML too); `where` names the file in messages."""
    try:
        content = parse_yaml(text)
    except UntrustedError as error:
        raise RecipeError(f"{where} cannot be read as a recipe: {error}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{where} does not hold a recipe: expected keys such as name, generator, loss")
    return recipe_from(_with_names(content))


def _with_names(content: Any) -> Any:
    """Keys that YAML reads as numbers, truth values or nothing are names too, though unknown ones."""
    if isinstance(content, dict):
        return {str(key): _with_names(value) for key, value in content.items()}
    return [_with_names(value) for value in content] if isinstance(content, list) else content


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """`recipe` with dotted settings applied in order: `batch_size=32`, `loss.name=minimax`, ...

    A technique is addressed by its name: `techniques.ema.half_life_images=10k` sets an option (and adds the
    technique where it is absent), `techniques.ema=on` adds it with its defaults, `techniques.ema=off`
    removes it. Naming another network or loss (`loss.name=...`) drops the former one's options.
    """
    content = recipe.model_dump(mode="json")
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise RecipeError(f"'{setting}' is not a setting: write it as key.subkey=value")
        _set(content, path.split("."), parse_value(text), setting)
    return recipe_from(content)


def parse_value(text: str) -> Any:
    """A setting's value: a number (also 5e-4, 500k and 2M), or any YAML: true, null, a word, [0.8, 1.0]."""
    try:
        return parse_count(text)
    except RecipeError:
        pass
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parse_yaml(text)
    except UntrustedError as error:
        raise RecipeError(f"{reprlib.repr(text)} is not a value: {error}") from None


def parse_count(text: str) -> int:
    """A count such as 500000, 500k or 2.5M; anything else raises `RecipeError`."""
    factors = {"k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
    stripped = text.strip().replace("_", "").replace(",", "")
    factor = factors.get(stripped[-1:].lower(), 1)
    digits = stripped[:-1] if factor > 1 else stripped
    try:
        value = float(digits) * factor if factor > 1 else int(digits)
        whole = int(value)
    except (ValueError, OverflowError):  # no number, none that is finite, or more digits than Python reads
        value, whole = 0.5, 0
    if value != whole:
        raise RecipeError(f"'{text}' is not a count: write it as 500000, 500k or 2.5M")
    return whole


def difference(old: Recipe, new: Recipe) -> list[str]:
    """One line a key that differs, as `key: old -> new`; techniques are compared by name."""
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    keys = [*before, *(key for key in after if key not in before)]
    absent = "(absent)"
    return [
        f"{key}: {before.get(key, absent)} -> {after.get(key, absent)}"
        for key in keys
        if key != "paper" and before.get(key, absent) != after.get(key, absent)
    ]


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    if prefix == "techniques":
        named = {
            part["name"]: {key: value for key, value in part.items() if key != "name"} for part in content
        }
        return {f"techniques.{name}": options for name, options in named.items()}
    if isinstance(content, dict):
        flat: dict[str, Any] = {}
        for key, value in content.items():
            flat |= _flat(value, f"{prefix}.{key}" if prefix else key)
        return flat
    return {prefix: content}


def _refuse_unknown_keys(content: Mapping[str, Any], model: type[BaseModel], where: str) -> None:
    """Walks the models beside the content, so that the message names the nearest right key."""
    for key, value in content.items():
        if key not in model.model_fields:
            raise _unknown_key(where, key, model.model_fields)
        inner = model.model_fields[key].annotation
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, Config):
            _refuse_unknown_keys(value, inner, key)


def _unknown_key(where: str, key: str, known: Iterable[str]) -> RecipeError:
    """With the nearest key there; else with those of all groups that are called so, as `lr` is."""
    names = list(known)
    if not nearest(key, names):
        dotted = {".".join(path): path[-1] for path in _paths(Recipe)}
        meant = nearest(key, set(dotted.values()))
        if found := [path for path, leaf in dotted.items() if leaf in meant]:
            places = " or ".join(f"'{one}'" for one in found[:MAX_SUGGESTIONS])
            return RecipeError(f"there is no key of {where} '{key}': did you mean {places}?")
    return RecipeError(str(unknown_name(f"key of {where}", key, names)))


def _paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Of every key in a group of keys."""
    for name, about in model.model_fields.items():
        inner = about.annotation
        if isinstance(inner, type) and issubclass(inner, Config):
            yield from ((name, *rest) for rest in _paths(inner))
            yield from ((name, key) for key in inner.model_fields)


def _set(content: dict[str, Any], path: list[str], value: Any, setting: str) -> None:
    """Sets one dotted key in a dumped recipe. `recipe_from` checks the outcome."""
    if path[0] == "techniques":
        _set_technique(content, path[1:], value, setting)
        return
    place = content
    for depth, key in enumerate(path[:-1]):
        if key not in place:
            raise _unknown_key(".".join(path[:depth]) or "recipe", key, place)
        if place[key] is None:
            place[key] = {}
        if not isinstance(place[key], dict):
            raise RecipeError(f"'{setting}': {'.'.join(path[: depth + 1])} has no keys below it")
        place = place[key]
    group = place.get(path[-1])
    if len(path) == 1 and isinstance(group, dict) and not isinstance(value, dict | None):
        if isinstance(value, str) and "name" in group:  # loss=hinge
            _set(content, [*path, "name"], value, setting)
            return
        names = [".".join([*path, key]) for key in group]
        raise RecipeError(f"'{setting}': {'.'.join(path)} is a group of keys: set {' or '.join(names)}")
    if path[-1] == "name" and path[0] in ("generator", "discriminator", "loss") and place["name"] != value:
        place.clear()  # another network's or loss's options would not fit the new one
    if path[0] == "budget" and len(path) == 2:
        place.clear()  # images and epochs exclude each other: the one that is set wins
    place[path[-1]] = value


def _set_technique(content: dict[str, Any], path: list[str], value: Any, setting: str) -> None:
    techniques: list[dict[str, Any]] = content["techniques"]
    if not path:
        raise RecipeError(
            f"'{setting}' is not a technique's setting: write techniques.NAME=on, techniques.NAME=off "
            "or techniques.NAME.option=value"
        )
    present = next((part for part in techniques if part["name"] == path[0]), None)
    if len(path) == 2 and path[1] == "name":
        raise RecipeError(f"'{setting}': a technique keeps its name; add another with techniques.NAME=on")
    if len(path) > 1:
        if present is None:
            present = {"name": path[0]}
            techniques.append(present)
        place = present
        for key in path[1:-1]:  # such as techniques.mine.optimizer.learning_rate
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise RecipeError(f"'{setting}': {key} has no keys below it")
        place[path[-1]] = value
    elif value is True and present is None:
        techniques.append({"name": path[0]})
    elif value is False or value is None:
        if present is None:
            known = [part["name"] for part in techniques]
            raise RecipeError(str(unknown_name("technique in this recipe", path[0], known)))
        techniques.remove(present)
    elif value is not True:
        raise RecipeError(f"'{setting}' is neither on nor off: write techniques.{path[0]}=on or =off")
