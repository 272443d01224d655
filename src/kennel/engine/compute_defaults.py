"""The device's defaults for precision, memory layout and convolutions; settings of the whole process."""

import ctypes
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import nn

from kennel.config.compute import ComputeConfig
from kennel.config.recipe import Recipe
from kennel.engine.compute import ComputeContext
from kennel.errors import RecipeError
from kennel.features.fused_conv import cpu_has_bfloat16
from kennel.networks.layers.conv import set_winograd
from kennel.techniques import Networks

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def defaults_for(device: torch.device, precision: str = "float32") -> ComputeConfig:
    """The values that "auto" stands for on `device`, with this precision.

    `precision.precision_for` measures which precision is faster; without a measurement it is float32.
    """
    layout = "channels_last" if device.type in ("cpu", "cuda") else "contiguous"
    winograd = device.type == "cpu" and precision == "float32"
    convolutions = "winograd" if winograd else "direct"
    return ComputeConfig.model_validate(
        {"precision": precision, "layout": layout, "convolutions": convolutions}
    )


def with_compute_defaults(recipe: Recipe, device: torch.device, begun: Recipe | None = None) -> Recipe:
    """Replaces "auto" in `recipe.compute` by the values of the `begun` run, if any, else of the device."""
    compute = recipe.compute
    if begun is not None:
        compute = compute.filled_in(begun.compute)
    precision = "float32" if compute.precision == "auto" else compute.precision
    return recipe.model_copy(update={"compute": compute.filled_in(defaults_for(device, precision))})


def wait_for(device: torch.device) -> None:
    """Waits until the device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def refuse_graphs_elsewhere(recipe: Recipe, device: torch.device) -> None:
    """Raises `RecipeError` if CUDA graphs are requested on another device."""
    if recipe.compute.compile == "graphs" and device.type != "cuda":
        raise RecipeError(
            f"compute.compile=graphs needs CUDA graphs, but the device is {device}: give --device cuda, "
            "or compute.compile=true"
        )


def uncompiled(recipe: Recipe) -> Recipe:
    """The recipe with compiling switched off, as for sampling and measuring."""
    return with_compute(recipe, compile=False)


def with_compute(recipe: Recipe, **changes: object) -> Recipe:
    """The recipe with changed `compute` settings."""
    return recipe.model_copy(update={"compute": recipe.compute.model_copy(update=changes)})


def compute_context(recipe: Recipe, device: torch.device, log: Callable[[str], None]) -> ComputeContext:
    """The compute context of a recipe without "auto" values."""
    compute = recipe.compute
    if device.type == "cpu" and compute.precision == "bfloat16" and not cpu_has_bfloat16():
        log(
            "This CPU has no bfloat16: it is emulated, many times slower than float32. "
            "compute.precision=auto picks the faster one."
        )
    return ComputeContext(PRECISIONS[compute.precision], LAYOUTS[compute.layout], compute.compile, log)


def place(networks: Networks, device: torch.device, compute: ComputeConfig) -> None:
    """Moves both networks to the device, with the configured layout and convolutions."""
    for network in networks.both():
        place_network(network, device, compute)


def place_network(network: nn.Module, device: torch.device, compute: ComputeConfig) -> None:
    network.to(device=device, memory_format=LAYOUTS[compute.layout])  # type: ignore[call-overload]
    set_winograd(network, compute.convolutions == "winograd")


def refuse_tf32() -> None:
    """Switches TF32 off on CUDA for the whole process, so that float32 is float32.

    TF32 rounds factors to 10 bits, and cuDNN's convolutions use it by default. Evaluation has switches of
    its own. These older switches set convolutions and matrix products to the same state.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch 2.9 deprecates these switches
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def configure_process() -> None:
    """Sets up the whole process: no TF32 on CUDA (`refuse_tf32`), and faster training on a CPU.

    Call it before any parallel work, because threads inherit modes from the thread that starts them.

    - Denormal numbers, with which a CPU computes several times slower, become 0.
    - The memory of large maps and weights is reused. By default the C library of Linux returns every piece
      above 32 MiB to the system, and getting it again, page by page, can take as long as the computation.
    """
    refuse_tf32()
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library, without mallopt
            library = ctypes.CDLL(None)
            library.mallopt(_M_MMAP_MAX, 0)
            library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            library.mallopt(_M_TOP_PAD, 64 << 20)


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""From malloc.h."""
