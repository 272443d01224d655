"""How a run is computed on its device: precision, layout, convolutions, compilation; one word for all."""

from typing import Any, Literal

from kennel.config.base import Config
from kennel.errors import RecipeError
from kennel.registry import unknown_name


class ComputeConfig(Config):
    """How the networks' layers are computed. "auto" is what suits the device, decided when a run begins.

    - `precision`: float32, or bfloat16 by autocast (weights, losses and optimizers stay float32).
    - `layout` of maps in memory.
    - `convolutions`: "direct", or "winograd" by fewer products where that is faster (float32 on a CPU): the
      same but for rounding.
    - `compile`: the networks' passes by `torch.compile`, or with "graphs" as CUDA graphs too (on CUDA alone).
    """

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    layout: Literal["auto", "channels_last", "contiguous"] = "auto"
    convolutions: Literal["auto", "direct", "winograd"] = "auto"
    compile: Literal[False, True, "graphs"] = False

    def filled_in(self, other: "ComputeConfig") -> "ComputeConfig":
        """The same with the parts of `other` where this one says "auto"."""
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
"""What `--compute` can be told: "plain" is PyTorch's own way, to compare with; the others leave the rest to
the device."""


def preset(name: str) -> list[str]:
    """The settings of a recipe that `--compute NAME` stands for; raises `RecipeError` for an unknown name."""
    if name not in PRESETS:
        raise RecipeError(str(unknown_name("compute preset", name, PRESETS)))
    return [f"compute.{key}={str(value).lower()}" for key, value in PRESETS[name].items()]


def fingerprint_fields(content: dict[str, Any]) -> dict[str, Any]:
    """A dumped recipe as fingerprints are made of it: of its speed the precision alone.

    The rest changes the order of sums, and with it of the places that dropout draws its masks for.
    """
    rest = {key: value for key, value in content.items() if key != "compute"}
    return rest | {"precision": content["compute"]["precision"]}
