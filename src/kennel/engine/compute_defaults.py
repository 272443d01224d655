"""What a recipe's speed comes to on a device."""

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
    """What "auto" stands for there, with this precision.

    Which precision is the faster one is measured (`precision.precision_for`); without a measurement it is
    float32.
    """
    layout = "channels_last" if device.type in ("cpu", "cuda") else "contiguous"
    fewer = device.type == "cpu" and precision == "float32"
    convolutions = "winograd" if fewer else "direct"
    return ComputeConfig.model_validate(
        {"precision": precision, "layout": layout, "convolutions": convolutions}
    )


def with_compute_defaults(recipe: Recipe, device: torch.device, begun: Recipe | None = None) -> Recipe:
    """The recipe with its speed decided: as it was begun, where it was, else as the device has it."""
    speed = recipe.compute
    if begun is not None:
        speed = speed.filled_in(begun.compute)
    precision = "float32" if speed.precision == "auto" else speed.precision
    return recipe.model_copy(update={"compute": speed.filled_in(defaults_for(device, precision))})


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def refuse_graphs_elsewhere(recipe: Recipe, device: torch.device) -> None:
    """Raises `RecipeError` where CUDA graphs are asked for on a device that is not CUDA."""
    if recipe.compute.compile == "graphs" and device.type != "cuda":
        raise RecipeError(
            f"compute.compile=graphs asks for CUDA graphs, and the device is {device}: give --device cuda, "
            "or compute.compile=true"
        )


def uncompiled(recipe: Recipe) -> Recipe:
    """The recipe for one who only samples, on whatever device: nothing of its passes is compiled."""
    return recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"compile": False})})


def compute_context(recipe: Recipe, device: torch.device, say: Callable[[str], None]) -> ComputeContext:
    """How the networks' passes are computed, for a recipe whose speed is decided."""
    speed = recipe.compute
    if device.type == "cpu" and speed.precision == "bfloat16" and not cpu_has_bfloat16():
        say(
            "This CPU has no bfloat16: it is emulated, many times slower than float32. "
            "compute.precision=auto takes the faster one."
        )
    return ComputeContext(PRECISIONS[speed.precision], LAYOUTS[speed.layout], speed.compile, say)


def place(networks: Networks, device: torch.device, speed: ComputeConfig) -> None:
    """Moves the players to the device, in the layout, with the convolutions that were decided on."""
    for network in networks.both():
        place_network(network, device, speed)


def place_network(network: nn.Module, device: torch.device, speed: ComputeConfig) -> None:
    """The same with one network."""
    network.to(device=device, memory_format=LAYOUTS[speed.layout])  # type: ignore[call-overload]
    set_winograd(network, speed.convolutions == "winograd")


def refuse_tf32() -> None:
    """On CUDA float32 is float32, for the whole process.

    Neither convolutions nor products round their factors to the 10 bits of TF32, as cuDNN's convolutions do
    by default. Judging has switches of its own.

    The older switches set both kinds of them to one state, whichever a program used before.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch 2.9 would rather be told by the newer ones
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def configure_process() -> None:
    """Settings of the whole process: no TF32 on CUDA (`refuse_tf32`), and what a training on a CPU is faster
    with, which changes no result but as is said here. To be called before any parallel work, since threads
    take modes over from their starter.

    - Vanishing gradients become denormal numbers, on which a CPU computes several times slower: they are 0.
    - The memory of large maps and weights is kept for the next ones. By default the C library of Linux gives
      every piece above 32 MiB back to the system at once, and fetching it anew, page by page, can take as
      long as computing what it holds.
    """
    refuse_tf32()
    torch.set_flush_denormal(True)
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library, which knows no mallopt
            library = ctypes.CDLL(None)
            library.mallopt(_M_MMAP_MAX, 0)
            library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            library.mallopt(_M_TOP_PAD, 64 << 20)


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
"""From malloc.h."""
