"""Feature extractors: named, fixed maps from uint8 images to feature vectors."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kennel.errors import JudgementError, WeightsError
from kennel.features.resize import PROTOCOLS
from kennel.registry import Registry
from kennel.shapes import Features, Pixels

Precision: TypeAlias = Literal["float32", "bfloat16"]
DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Logits = Float[Tensor, "batch classes"]


@dataclass(frozen=True)
class Extracted:
    """The output for one batch, on the CPU. `features` float32 (batch, dimension); `logits` float32 (batch,
    classes), None without a classifier."""

    features: Features
    logits: Logits | None = None


class Extractor(ABC):
    """A fixed map from pixels to features; equal protocols give equal features.

    Attributes: `name`, its registered name; `dimension` of a feature vector; `channels` of its input, 3 or 1;
    `protocol`, the name of its resize rule ("own" if there is only one); `resize`, the rule in words;
    `logits`, the logits in words, or None; `weights_digest`, a sha256 of its weights, or None; `caution`, a
    sentence to read before its scores, or empty; `slow`, whether it is too slow for every validation of a
    run unless the user requests it; `precision` of the arithmetic; `device`.
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
    def open(cls, weights: Path | None = None, *, download: bool = True, **options: Any) -> "Extractor":
        """A ready extractor, with weights from a file or folder, or from the default places.

        `options` are `device`, `precision`, and those of `check_options`. An extractor without weights
        ignores them: it runs on the CPU in float32.
        """
        if weights is not None:
            raise WeightsError(f"the {cls.name} extractor has no weights: remove --weights {weights}")
        return cls()

    @classmethod
    def is_available(cls) -> bool:
        """Whether it opens without a download."""
        return True

    @classmethod
    def check_options(cls, protocol: str | None, biased_logits: bool) -> None:
        """Raises `JudgementError` for a resize rule or logits that this extractor does not have."""
        if protocol not in (None, cls.protocol):
            PROTOCOLS[protocol]  # raises UnknownNameError for an unknown name
            raise JudgementError(
                f"the {cls.name} extractor has one resize rule ({cls.resize}): remove the protocol "
                f"{protocol}, or use --extractor inception"
            )
        if biased_logits:
            raise JudgementError(
                f"the {cls.name} extractor has no choice of logits: remove the option, or use "
                "--extractor inception"
            )

    @abstractmethod
    def extract(self, pixels: Pixels) -> Extracted:
        """Features of uint8 (batch, 1 or 3, height, width); gray is repeated to RGB."""


EXTRACTORS: Registry[type[Extractor]] = Registry("extractor")
"""The extractors by name. `kennel.features.factory.open_extractor` opens one with its weights."""


def as_rgb(pixels: Pixels) -> UInt8[Tensor, "batch 3 height width"]:
    """(batch, 1 or 3, height, width) to three channels; gray is repeated."""
    return pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels


@contextmanager
def full_precision_matmul(device: torch.device) -> Iterator[None]:
    """float32 matrix products without TF32, whose 10 bits are too few for features and search bounds."""
    if device.type != "cuda":
        yield
        return
    # From 2.9 on the older switch raises if a program used the newer one.
    switch = "fp32_precision" if hasattr(torch.backends.cuda.matmul, "fp32_precision") else "allow_tf32"
    previous = getattr(torch.backends.cuda.matmul, switch)
    setattr(torch.backends.cuda.matmul, switch, "ieee" if switch == "fp32_precision" else False)
    try:
        yield
    finally:
        setattr(torch.backends.cuda.matmul, switch, previous)


@contextmanager
def exact_inference(device: torch.device) -> Iterator[None]:
    """Inference without autograd and without TF32."""
    with torch.inference_mode(), full_precision_matmul(device):
        if device.type == "cuda":
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
                yield
        else:
            yield


class ChunkedExtractor(Extractor):
    """An extractor with a network on `device`, which gets at most `cpu_chunk` images at a time on a CPU."""

    cpu_chunk: ClassVar[int] = 8  # the maps then fit the CPU's cache: MobileNet at 64 is half as fast

    @abstractmethod
    def _forward(self, pixels: Pixels) -> tuple[Features, Logits | None]:
        """Features and logits of uint8 pixels, on the device and in any float dtype."""

    def extract(self, pixels: Pixels) -> Extracted:
        """Float32 features and logits on the CPU; see `Extractor.extract`."""
        features, logits = [], []
        with exact_inference(self.device):
            for part in pixels.split(self.cpu_chunk if self.device.type == "cpu" else len(pixels)):  # type: ignore[no-untyped-call]
                part_features, part_logits = self._forward(part.to(self.device))
                features.append(part_features.float().cpu())
                if part_logits is not None:
                    logits.append(part_logits.float().cpu())
            return Extracted(torch.cat(features), torch.cat(logits) if logits else None)
