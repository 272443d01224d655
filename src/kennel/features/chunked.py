"""Batches through an extractor's network in pieces that suit the device."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from kennel.features.base import Extracted, exact_inference
from kennel.shapes import Features, Pixels

FeaturesAndLogits: TypeAlias = tuple[Features, Float[Tensor, "batch classes"] | None]


def extract_in_chunks(
    pixels: Pixels,
    forward: Callable[[Pixels], FeaturesAndLogits],
    *,
    device: torch.device,
    cpu_chunk: int,
) -> Extracted:
    """`forward` over `pixels` on `device`, at most `cpu_chunk` images at a time where that is the CPU.

    `forward` takes uint8 pixels on the device and gives features and logits there, of any float dtype; they
    come back as float32 on the CPU.
    """
    features, logits = [], []
    with exact_inference(device):
        for part in pixels.split(cpu_chunk if device.type == "cpu" else len(pixels)):  # type: ignore[no-untyped-call]
            part_features, part_logits = forward(part.to(device))
            features.append(part_features.float().cpu())
            if part_logits is not None:
                logits.append(part_logits.float().cpu())
        return Extracted(torch.cat(features), torch.cat(logits) if logits else None)
