"""Turns out-of-memory errors and failed compiled backward passes into messages."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from kennel.config.recipe import Recipe
from kennel.errors import RunError

SHORT = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "bad_alloc")
"""Texts of a plain `RuntimeError` by allocators of the CPU, of MPS and of CUDA's libraries."""
COMPILER = ("_functorch", "_inductor", "_dynamo")
"""Folders of torch in the traceback of an error in compiled code."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in SHORT)


@contextmanager
def explain_oom(what: str, device: torch.device | str, remedy: str) -> Iterator[None]:
    """Turns an out-of-memory error in the block into a `RunError` with a remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            name = "the device" if device == "auto" else device
            raise RunError(f"the memory of {name} is too small for {what}: {remedy}") from error
        raise


@contextmanager
def explain_failures(recipe: Recipe, device: torch.device, where: str) -> Iterator[None]:
    """For iterations of the recipe: `explain_oom`, and the same for a failed compiled backward pass.

    A forward pass that cannot be compiled runs uncompiled; in a backward pass it is too late for that.
    """
    with explain_oom(
        f"a batch of {recipe.batch_size:,} images",
        device,
        f"give a smaller --set batch_size=...{where} (`kennel plan` shows what one needs)",
    ):
        try:
            yield
        except RuntimeError as error:
            if recipe.compute.compile is False or is_out_of_memory(error) or not _of_a_compiler(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RunError(
                f"the backward pass of the compiled networks failed ({reason}): "
                "give --set compute.compile=off"
            ) from error


def _of_a_compiler(error: BaseException) -> bool:
    files = (frame.filename.replace("\\", "/") for frame in traceback.extract_tb(error.__traceback__))
    return any(f"/torch/{folder}/" in file for file in files for folder in COMPILER)
