"""The recipe: networks, loss, techniques, optimizers, budget; dotted overrides, YAML, fingerprints, diffs."""

import hashlib
import json
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
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
    """All settings that determine the result of a run."""

    name: str
    paper: str = ""
    image: ImageConfig = ImageConfig()
    num_classes: NonNegativeInt | None = 0
    """0 ignores classes; `null` takes the number of the data set."""
    class_counts: tuple[NonNegativeInt, ...] | None = None
    """The number of images of each class, the class frequencies of samples. Always filled in from the set."""
    balance_classes: bool = False
    """Show every class equally often in training: the images of smaller classes are repeated."""
    instances: InstancesConfig = InstancesConfig()
    latent_dim: PositiveInt = 128
    latent_distribution: Literal["normal", "uniform"] = "normal"
    """The generator's prior; `uniform` is on [-1, 1]."""
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
    """Each tick writes a log line, a grid of samples and a checkpoint, and may validate."""
    validation: ValidationConfig = ValidationConfig()
    sampling: SamplingConfig = SamplingConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    keep_checkpoints: PositiveInt = 2
    keep_every_ticks: NonNegativeInt = 0
    """The checkpoint of every n-th tick is kept permanently, in addition to the newest ones; 0 keeps none."""
    compute: ComputeConfig = ComputeConfig()
    seed: int = 0

    @model_validator(mode="after")
    def _check_techniques(self) -> "Recipe":
        names = [technique.name for technique in self.techniques]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the technique '{name}' is listed twice: list it once")
        return self

    @property
    def latent(self) -> LatentConfig:
        return LatentConfig(dim=self.latent_dim, distribution=self.latent_distribution)

    def fingerprint(self) -> str:
        """BLAKE2b hash of the recipe without the paper, the class counts and `keep_every_ticks`."""
        ignored = {"paper", "class_counts", "keep_every_ticks"}
        if not self.balance_classes:
            ignored.add("balance_classes")  # runs from before this key keep their fingerprint
        content = fingerprint_fields(self.model_dump(mode="json", exclude=ignored))
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def to_yaml(self) -> str:
        """The whole recipe as YAML, defaults included; `from_yaml` is the inverse."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def recipe_from(content: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values. Raises `RecipeError` with one sentence for the first problem."""
    _refuse_unknown_keys(content, Recipe, "recipe")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(sentence(error, "recipe")) from None


def from_yaml(text: str, where: str) -> Recipe:
    """A recipe from YAML or JSON; `where` is the file's name in error messages."""
    try:
        content = parse_yaml(text)
    except UntrustedError as error:
        raise RecipeError(f"{where} cannot be read as a recipe: {error}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{where} does not hold a recipe: expected keys such as name, generator, loss")
    return recipe_from(_with_string_keys(content))


def _with_string_keys(content: Any) -> Any:
    """YAML reads some keys as numbers, booleans or null; as strings they are reported as unknown keys."""
    if isinstance(content, dict):
        return {str(key): _with_string_keys(value) for key, value in content.items()}
    return [_with_string_keys(value) for value in content] if isinstance(content, list) else content


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Applies dotted settings to `recipe`, in order: `batch_size=32`, `loss.name=minimax`, ...

    A technique is addressed by its name: `techniques.ema.half_life_images=10k` sets an option (and adds the
    technique if it is absent), `techniques.ema=on` adds it with default options, `techniques.ema=off` removes
    it. A new network or loss (`loss.name=...`) drops the options of the previous one.
    """
    content = recipe.model_dump(mode="json")
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise RecipeError(f"'{setting}' is not a setting: write it as key.subkey=value")
        _set(content, path.split("."), parse_value(text), setting)
    return recipe_from(content)


def parse_value(text: str) -> Any:
    """The value of a setting: a number (also 5e-4, 500k and 2M) or YAML: true, null, a word, [0.8, 1.0]."""
    with suppress(RecipeError):
        return parse_count(text)
    with suppress(ValueError):
        return float(text)
    try:
        return parse_yaml(text)
    except UntrustedError as error:
        raise RecipeError(f"{reprlib.repr(text)} is not a value: {error}") from None


def parse_count(text: str) -> int:
    """Parses a count such as 500000, 500k or 2.5M. Raises `RecipeError` for anything else."""
    factors = {"k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
    stripped = text.strip().replace("_", "").replace(",", "")
    factor = factors.get(stripped[-1:].lower(), 1)
    digits = stripped[:-1] if factor > 1 else stripped
    try:
        value = float(digits) * factor if factor > 1 else int(digits)
        whole = int(value)
    except (ValueError, OverflowError):  # not a number, not finite, or too many digits for Python's int()
        value, whole = 0.5, 0
    if value != whole:
        raise RecipeError(f"'{text}' is not a count: write it as 500000, 500k or 2.5M")
    return whole


def difference(old: Recipe, new: Recipe) -> list[str]:
    """One line per key that differs, as `key: old -> new`; techniques are compared by name."""
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
    """Checks keys along the models, so that the message can suggest the nearest key."""
    for key, value in content.items():
        if key not in model.model_fields:
            raise _unknown_key(where, key, model.model_fields)
        inner = model.model_fields[key].annotation
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, Config):
            _refuse_unknown_keys(value, inner, key)


def _unknown_key(where: str, key: str, known: Iterable[str]) -> RecipeError:
    """The error suggests the nearest key of the same group, or else matching keys of all groups."""
    names = list(known)
    if not nearest(key, names):
        dotted = {".".join(path): path[-1] for path in _paths(Recipe)}
        matches = nearest(key, set(dotted.values()))
        if found := [path for path, leaf in dotted.items() if leaf in matches]:
            places = " or ".join(f"'{path}'" for path in found[:MAX_SUGGESTIONS])
            return RecipeError(f"there is no key of {where} '{key}': did you mean {places}?")
    return RecipeError(str(unknown_name(f"key of {where}", key, names)))


def _paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """The paths of all keys inside groups."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Config):
            yield from ((name, *rest) for rest in _paths(inner))
            yield from ((name, key) for key in inner.model_fields)


def _set(content: dict[str, Any], path: list[str], value: Any, setting: str) -> None:
    """Sets one dotted key of a dumped recipe. `recipe_from` validates the result."""
    if path[0] == "techniques":
        _set_technique(content, path[1:], value, setting)
        return
    group = content
    for depth, key in enumerate(path[:-1]):
        if key not in group:
            raise _unknown_key(".".join(path[:depth]) or "recipe", key, group)
        if group[key] is None:
            group[key] = {}
        if not isinstance(group[key], dict):
            raise RecipeError(f"'{setting}': {'.'.join(path[: depth + 1])} has no keys below it")
        group = group[key]
    old = group.get(path[-1])
    if len(path) == 1 and isinstance(old, dict) and not isinstance(value, dict | None):
        if isinstance(value, str) and "name" in old:  # loss=hinge
            _set(content, [*path, "name"], value, setting)
            return
        names = [".".join([*path, key]) for key in old]
        raise RecipeError(f"'{setting}': {'.'.join(path)} is a group of keys: set {' or '.join(names)}")
    if path[-1] == "name" and path[0] in ("generator", "discriminator", "loss") and group["name"] != value:
        group.clear()  # the options of the previous component do not apply
    if path[0] == "budget" and len(path) == 2:
        group.clear()  # images and epochs exclude each other; the last setting wins
    group[path[-1]] = value


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
        group = present
        for key in path[1:-1]:  # such as techniques.mine.optimizer.learning_rate
            group = group.setdefault(key, {})
            if not isinstance(group, dict):
                raise RecipeError(f"'{setting}': {key} has no keys below it")
        group[path[-1]] = value

    elif value is True and present is None:
        techniques.append({"name": path[0]})
    elif value is False or value is None:
        if present is None:
            known = [part["name"] for part in techniques]
            raise RecipeError(str(unknown_name("technique in this recipe", path[0], known)))
        techniques.remove(present)
    elif value is not True:
        raise RecipeError(f"'{setting}' is neither on nor off: write techniques.{path[0]}=on or =off")
