"""Frozen settings with unknown keys refused, and pydantic's errors told in one sentence."""

import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from kennel.errors import RecipeError
from kennel.registry import unknown_name


class Config(BaseModel):
    """A frozen model of settings: what a loss, a technique or a network can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


ConfigType = TypeVar("ConfigType", bound=BaseModel)


def validated(model: type[ConfigType], values: Mapping[str, Any], where: str) -> ConfigType:
    """`model(**values)`; what does not fit raises `RecipeError`, naming the key below `where`.

    An unknown key is answered with the nearest one that the model has.
    """
    for key in values:
        if key not in model.model_fields:
            raise RecipeError(str(unknown_name(f"option of {where}", key, model.model_fields)))
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError(sentence(error, where)) from None


def fits(model: type[BaseModel], values: Mapping[str, Any]) -> bool:
    """Whether `values` are what `model` says."""
    try:
        model.model_validate(values)
    except ValidationError:
        return False
    return True


def sentence(error: ValidationError, where: str) -> str:
    """The first thing that a pydantic error says, as one sentence: key, what was given, what is expected."""
    first = error.errors(include_url=False)[0]
    path = ".".join([where, *(str(part) for part in first["loc"] if not _is_tag(part))])
    if first["type"] == "missing":
        return f"{path} is missing: give it a value"
    if first["type"] == "value_error":
        return f"{path}: {first['ctx']['error']}"
    given = reprlib.repr(first["input"])
    return f"{path} = {given} does not fit: {first['msg'][0].lower() + first['msg'][1:]}"


def _is_tag(part: str | int) -> bool:
    """Whether a part of a place is pydantic's word for one of several kinds that a value may have."""
    return isinstance(part, str) and (part in ("int", "float", "bool", "str") or not part.isidentifier())
