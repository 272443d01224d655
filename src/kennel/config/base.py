"""The base class of all settings, and pydantic's errors as one sentence."""

import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from kennel.errors import RecipeError
from kennel.registry import unknown_name


class Config(BaseModel):
    """Frozen settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


ConfigType = TypeVar("ConfigType", bound=BaseModel)


def validated(model: type[ConfigType], values: Mapping[str, Any], where: str) -> ConfigType:
    """`model(**values)`. Raises `RecipeError` that names the wrong key below `where`.

    For an unknown key the error suggests the nearest key of the model.
    """
    for key in values:
        if key not in model.model_fields:
            raise RecipeError(str(unknown_name(f"option of {where}", key, model.model_fields)))
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError(sentence(error, where)) from None


def fits(model: type[BaseModel], values: Mapping[str, Any]) -> bool:
    """Whether `values` are valid for `model`."""
    try:
        model.model_validate(values)
    except ValidationError:
        return False
    return True


def sentence(error: ValidationError, where: str) -> str:
    """The first problem of a pydantic error as one sentence: key, given value, expected value."""
    first = error.errors(include_url=False)[0]
    path = ".".join([where, *(str(part) for part in first["loc"] if not _is_tag(part))])
    if first["type"] == "missing":
        return f"{path} is missing: give it a value"
    if first["type"] == "value_error":
        return f"{path}: {first['ctx']['error']}"
    given = reprlib.repr(first["input"])
    return f"{path} = {given} does not fit: {first['msg'][0].lower() + first['msg'][1:]}"


def _is_tag(part: str | int) -> bool:
    """Whether a part of an error's location is pydantic's name for a member of a union, not a key."""
    return isinstance(part, str) and (part in ("int", "float", "bool", "str") or not part.isidentifier())
