"""What `conftest` checks of kennel's annotations while the tests run, and what it has to refuse."""

from collections.abc import Iterator
from dataclasses import dataclass

import jaxtyping
import numpy as np
import numpy.typing as npt
import pytest
import torch
from beartype import beartype
from jaxtyping import Float
from torch import Tensor

from kennel.config.recipe import LatentConfig
from kennel.distributed import shard_slice
from kennel.engine.latents import draw_latents
from kennel.shapes import Images, Labels

checked = jaxtyping.jaxtyped(typechecker=beartype)


def refused(call, *given) -> None:
    with pytest.raises(Exception, match=r"violates type hint|Type-check error"):
        call(*given)


@checked
def drawn(images: Images, labels: Labels | None = None, count: int | None = None) -> tuple[Images, Images]:
    """Images of one size; of a `count` so many."""
    return images if count is None else torch.zeros(count, 3, 8, 8), torch.zeros(len(images), 3, 8, 8)


def test_kinds_dimensions_and_sizes_that_several_arguments_share_are_checked():
    images = torch.zeros(4, 3, 8, 8)
    drawn(images, torch.zeros(4, dtype=torch.int64), 4)
    refused(drawn, images.byte())
    refused(drawn, images[0])
    refused(drawn, images, torch.zeros(4))
    refused(drawn, images, torch.zeros(5, dtype=torch.int64))
    refused(drawn, images, None, 5)
    refused(drawn, images, None, "4")


def test_a_functions_sizes_are_its_own_and_no_other_functions():
    @checked
    def outer(images: Images) -> Images:
        drawn(torch.zeros(2, 3, 8, 8))
        return images

    outer(torch.zeros(4, 1, 6, 6))


def test_what_has_no_dimensions_is_checked_too():
    @checked
    def named(place: "LatentConfig", sizes: dict[str, int]) -> npt.NDArray[np.uint8]:
        return np.zeros(len(sizes), np.uint8 if sizes else np.float32)

    @checked
    def plain(sizes: dict[str, int]) -> str:
        return "" if sizes else None

    named(LatentConfig(dim=2), {"a": 1})
    refused(named, "a", {"a": 1})
    refused(named, LatentConfig(dim=2), {})
    refused(plain, {"a": "1"})
    refused(plain, {})


def test_dataclasses_and_generators_are_checked_when_they_are_made():
    @checked
    @dataclass
    class Batch:
        images: Images
        labels: Labels

    @checked
    def batches(images: Images) -> Iterator[Images]:
        yield images

    @checked
    def no_batches(images: Images) -> Iterator[Images]:
        return 3

    Batch(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))
    refused(Batch, torch.zeros(4, 3, 8, 8), torch.zeros(5, dtype=torch.int64))
    assert len(list(batches(torch.zeros(4, 3, 8, 8)))) == 1
    refused(batches, torch.zeros(3, 8, 8))
    refused(no_batches, torch.zeros(4, 3, 8, 8))


def test_all_of_kennel_is_checked():
    refused(shard_slice, "8")
    refused(draw_latents, LatentConfig(dim=2), 2.5, torch.Generator())

    @checked
    def squared(latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        return latents @ latents.T

    squared(draw_latents(LatentConfig(dim=4), 4, torch.Generator()))
    refused(squared, draw_latents(LatentConfig(dim=4), 2, torch.Generator()))
