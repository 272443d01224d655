"""Draws images between two labels: the vectors that a generator looks up for its labels are mixed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kennel.errors import RunError
from kennel.networks import Generator
from kennel.networks.layers.instances import InstanceVectors
from kennel.sampling.interpolation import lerp, slerp
from kennel.shapes import Features, Labels, Targets


@contextmanager
def mixed_labels(
    generator: Generator, first: Labels, second: Labels, share: Targets
) -> Iterator[Labels | None]:
    """In the block, `generator(latents, labels)` with the yielded labels is conditioned between two labels.

    Row i of the batch has `share[i]` of label `second[i]` and the rest of `first[i]`. Each embedding of
    classes returns the linear mix of both embeddings, and each table of instances (vectors of one length)
    the vector between both on the sphere. Raises `RunError` at the end of the block if no module looked
    labels up, as in a network of the user's own that computes with the numbers of its labels.
    """
    count = 0

    def mix(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
        nonlocal count
        if not given or not isinstance(given[0], Tensor) or not torch.equal(given[0], first):
            return None
        count += 1
        other: Tensor = module.forward(second)  # a call would run this hook again
        between = slerp if isinstance(module, InstanceVectors) else lerp
        return between(output, other, share.to(output.dtype))

    tables = [one for one in generator.modules() if isinstance(one, nn.Embedding | InstanceVectors)]
    handles = [table.register_forward_hook(mix) for table in tables]
    try:
        yield first
    finally:
        for handle in handles:
            handle.remove()
    if not count:
        raise RunError(
            f"{type(generator).__name__} does not look its labels up in an nn.Embedding, so they cannot be "
            "mixed: give one class"
        )


@contextmanager
def replaced_instances(generator: Generator, vectors: Features) -> Iterator[None]:
    """In the block, each table of instances returns `vectors` (batch, width) for any labels."""
    tables = [one for one in generator.modules() if isinstance(one, InstanceVectors)]
    handles = [table.register_forward_hook(lambda *_: vectors) for table in tables]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
