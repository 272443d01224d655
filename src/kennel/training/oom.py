"""What fails below kennel, told in a sentence: memory that runs out, and a compiled way back."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kennel.config.recipe import Recipe
from kennel.errors import RunError

SHORT = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "bad_alloc")
"""What allocators say that raise a plain `RuntimeError`: the CPU's, MPS's, and those of CUDA's libraries."""
COMPILER = ("_functorch", "_inductor", "_dynamo")
"""Folders of torch through which an error of compiled code passes."""


def is_short_of_memory(error: BaseException) -> bool:
    """Whether it says that there was not enough memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SHORT)


@contextmanager
def shortage_told(given: str, device: torch.device | str, remedy: str) -> Iterator[None]:
    """Where memory runs out in the block, a `RunError` says with what, where, and what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_short_of_memory(error):
            place = "the device" if device == "auto" else device
            raise RunError(f"the memory of {place} does not suffice for {given}: {remedy}") from error
        raise


@contextmanager
def failures_told(recipe: Recipe, device: torch.device, where: str) -> Iterator[None]:
    """Rounds of the recipe: `shortage_told`, and a way back through compiled passes that fails.

    The way there is played uncompiled where that fails; of the way back it is known too late.
    """
    with shortage_told(
        f"a batch of {recipe.batch_size:,} images",
        device,
        f"give a smaller --set batch_size=...{where} (`kennel plan` says what one takes)",
    ):
        try:
            yield
        except RuntimeError as error:
            if recipe.compute.compile is False or is_short_of_memory(error) or not _of_a_compiler(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RunError(
                f"the way back through the compiled networks failed ({reason}): "
                "give --set compute.compile=off"
            ) from error


def _of_a_compiler(error: BaseException) -> bool:
    files = (frame.filename.replace("\\", "/") for frame in traceback.extract_tb(error.__traceback__))
    return any(f"/torch/{folder}/" in file for file in files for folder in COMPILER)
