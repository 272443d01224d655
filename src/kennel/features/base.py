"""What every feature extractor is: a named, fixed map from uint8 pictures to feature vectors."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kennel.errors import JudgementError, WeightsError
from kennel.features.resize import PROTOCOLS
from kennel.registry import Registry
from kennel.shapes import Features, Pixels

Precision: TypeAlias = Literal["float32", "bfloat16"]
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Extracted:
    """What an extractor says of one batch, on the CPU.

    `features` float32 (batch, dimension); `logits` float32 (batch, classes), None where the extractor has no
    classifier.
    """

    features: Features
    logits: Float[Tensor, "batch classes"] | None = None


class Extractor(ABC):
    """A fixed map from pixels to features; two extractors of equal protocol words give equal features.

    Attributes: `name`, its registered name; `dimension` of a feature vector;
    `channels` that it looks at, 3 or 1; `protocol`, the name of its
    input rule, on the class that of the default one, "own" where there is no choice; `resize`, that rule in
    words; `logits`, what its logits are in words, None where it has none; `weights_digest`, the sha256 that
    stands for its weights, None where it has none; `caution`, what to know before reading any score by it,
    empty where it was trained to see what pictures show; `slow`, whether a pass is too dear for every
    validation of a run that did not ask for it; `precision` of the arithmetic; `device` it runs on.
    """

    name: str
    dimension: int
    channels: int = 3
    protocol: str = "own"
    resize: str
    logits: str | None = None
    weights_digest: str | None = None
    caution: str = ""
    slow: ClassVar[bool] = False
    precision: Precision = "float32"
    device: torch.device = torch.device("cpu")

    @classmethod
    def open(
        cls,
        weights: Path | None = None,
        *,
        download: bool = True,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
    ) -> "Extractor":
        """A ready extractor; this one, without weights, runs on the CPU in float32 whatever is asked."""
        if weights is not None:
            raise WeightsError(f"the {cls.name} extractor has no weights: leave --weights {weights} away")
        return cls()

    @classmethod
    def at_hand(cls) -> bool:
        """Whether it opens here without a download."""
        return True

    @classmethod
    def refuse_choices(cls, protocol: str | None, biased_logits: bool) -> None:
        """Raises `JudgementError` where an input rule or logits are asked for that this extractor has not.

        One that has the choice takes `protocol` or `biased_logits` as an argument of its `open`.
        """
        if protocol not in (None, cls.protocol):
            PROTOCOLS[protocol]  # a misspelt name is helped first
            raise JudgementError(
                f"the {cls.name} extractor has one input rule ({cls.resize}): "
                f"leave the protocol {protocol} away, or use --extractor inception"
            )
        if biased_logits:
            raise JudgementError(
                f"only the inception extractor has logits with and without their bias, {cls.name} does not: "
                "leave the choice of logits away"
            )

    @abstractmethod
    def extract(self, pixels: Pixels) -> Extracted:
        """Features of uint8 (batch, 1 or 3, height, width); grey is repeated to red, green and blue."""


EXTRACTORS: Registry[type[Extractor]] = Registry("extractor")
"""The extractors by name. `kennel.features.factory.open_extractor` makes one, weights and all."""


def as_rgb(pixels: Pixels) -> UInt8[Tensor, "batch 3 height width"]:
    """(batch, 1 or 3, height, width) to three channels, by repeating the grey one."""
    return pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels


@contextmanager
def full_products(device: torch.device) -> Iterator[None]:
    """float32 matrix products without TF32, whatever the process chose for its own: 10 bits of a factor are
    too few for features, and for the bounds of a search."""
    if device.type != "cuda":
        yield
        return
    # From 2.9 on the older switch raises where a program used the newer one.
    switch = "fp32_precision" if hasattr(torch.backends.cuda.matmul, "fp32_precision") else "allow_tf32"
    given = getattr(torch.backends.cuda.matmul, switch)
    setattr(torch.backends.cuda.matmul, switch, "ieee" if switch == "fp32_precision" else False)
    try:
        yield
    finally:
        setattr(torch.backends.cuda.matmul, switch, given)


@contextmanager
def exact_inference(device: torch.device) -> Iterator[None]:
    """Inference without autograd and without TF32, which would move float32 features on CUDA."""
    with torch.inference_mode(), full_products(device):
        if device.type == "cuda":
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
                yield
        else:
            yield
