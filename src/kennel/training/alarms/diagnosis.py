"""Locates the first value that is NaN or infinite: its network, layer or technique's term."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kennel.engine.nonfinite import NonFiniteReport

WHY = "the next update would spread these values to every weight, and nothing would remove them"
REMEDIES = (
    "lower learning rates, techniques.r1=on or techniques.spectral_norm=on for the discriminator, "
    "techniques.instance_noise=on, techniques.singular_value_clamp=on for the generator, or "
    "compute.precision=float32 if it is lower (in another --out, with or without --init-from)"
)


@contextmanager
def first_not_finite(networks: Mapping[str, nn.Module]) -> Iterator[list[str]]:
    """Lists the layers with non-finite outputs in the block, in the order of computation.

    A name is like "generator layer blocks.0.first". Waits for the device at every layer.
    """
    found: list[str] = []
    hooks = []

    def make_hook(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
            if isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                found.append(name)

        return hook

    for network_name, network in networks.items():
        for name, layer in network.named_modules():
            if name and ".parametrizations." not in f".{name}.":
                hooks.append(layer.register_forward_hook(make_hook(f"{network_name} layer {name}")))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def weights_in_words(network: nn.Module, layer: str) -> str:
    """A relative clause on the layer's weights: not finite, or their largest absolute value."""
    weights = [one.detach() for one in network.get_submodule(layer).parameters()]
    largest = max((float(one.abs().max()) for one in weights if one.numel()), default=0.0)
    if not math.isfinite(largest):
        return ", whose weights are not finite"
    return f", whose largest weight is {largest:.3g}" if weights else ""


def describe(
    report: NonFiniteReport,
    parameters: Mapping[str, list[str]],
    layer: str | None,
    images_seen: int,
    when: str,
    of_rank: int = 0,
    all_checked: bool = True,
) -> str:
    """A clause on the first non-finite step.

    `parameters` are each optimizer's parameter names in its order; `layer` is the first with a non-finite
    output, if one was found; `of_rank` is the first rank with a non-finite loss; `all_checked` says whether
    all layers were checked. `when` ("before") stands in front of the image count.
    """
    terms = [_in_words(name) for name in report.statistics if name.endswith("_term")]
    losses = [_in_words(name) for name in report.statistics if not name.endswith("_term")]
    if layer is not None:
        source = f"the first is an output of {layer}"
    elif terms or losses:
        source = f"first seen in {' and '.join(terms or losses)}"
        if all_checked:
            source += "; all layers before are finite"
    elif of_rank:
        source = f"first seen in the losses or terms of rank {of_rank}; those of rank 0 are finite"
    else:
        source = "both forward passes are finite, so it began in the backward pass"
    if layer is not None and terms:
        source += f"; it reached {' and '.join(terms)}"
    bad = [parameters[report.network][index] for index in report.parameters]
    gradients = ""
    if bad and len(bad) < report.examined:
        share = f"{len(bad)} of {report.examined}"
        gradients = f"; {share} gradients are not finite, nearest to the loss that of {bad[-1]}"
    elif bad:
        gradients = f"; all {len(bad)} gradients are not finite"
    return (
        f"values that are not finite in the {report.network}'s step {when} {images_seen:,} images: "
        f"{source}{gradients}"
    )


def _in_words(statistic: str) -> str:
    if not statistic.endswith("_term"):
        return f"the {statistic.replace('_', ' ')}"
    for network in ("discriminator", "generator"):
        if statistic.endswith(f"_{network}_term"):
            return f"the term of {statistic.removesuffix(f'_{network}_term')} in the {network}'s loss"
    return statistic
