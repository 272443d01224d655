"""How a run computes on its device: precision, memory layout, convolutions, compilation, and presets."""

from typing import Any, Literal

from kennel.config.base import Config
from kennel.errors import RecipeError
from kennel.registry import unknown_name


class ComputeConfig(Config):
    """How the networks' layers are computed. "auto" is chosen for the device when a run starts.

    - `precision`: float32, or bfloat16 by autocast (weights, losses and optimizers stay float32).
    - `layout`: the memory format of feature maps.
    - `convolutions`: "direct", or "winograd", which needs fewer multiplications and is used if it is faster
      (float32 on a CPU); the results differ by rounding only.
    - `compile`: compile the forward passes with `torch.compile`; "graphs" adds CUDA graphs (CUDA only).
    """

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    layout: Literal["auto", "channels_last", "contiguous"] = "auto"
    convolutions: Literal["auto", "direct", "winograd"] = "auto"
    compile: Literal[False, True, "graphs"] = False

    def filled_in(self, other: "ComputeConfig") -> "ComputeConfig":
        """A copy with each "auto" replaced by the value of `other`."""
        given = {key: value for key, value in self.model_dump().items() if value != "auto"}
        return other.model_copy(update=given)


PRESETS: dict[str, dict[str, str | bool]] = {
    "auto": {},
    "plain": {
        "precision": "float32",
        "layout": "contiguous",
        "convolutions": "direct",
        "compile": False,
    },
    "float32": {"precision": "float32"},
    "bfloat16": {"precision": "bfloat16"},
    "compiled": {"compile": True},
}
"""The values of `--compute`. "plain" is PyTorch's default, for comparisons; the others leave unset keys at
"auto"."""


def preset(name: str) -> list[str]:
    """The recipe settings of `--compute NAME`. Raises `RecipeError` for an unknown name."""
    if name not in PRESETS:
        raise RecipeError(str(unknown_name("compute preset", name, PRESETS)))
    return [f"compute.{key}={str(value).lower()}" for key, value in PRESETS[name].items()]


def fingerprint_fields(content: dict[str, Any]) -> dict[str, Any]:
    """The part of a dumped recipe that enters the fingerprint: of `compute`, the precision only.

    The other keys change the order of sums and the positions of dropout masks, not the method.
    """
    rest = {key: value for key, value in content.items() if key != "compute"}
    return rest | {"precision": content["compute"]["precision"]}
