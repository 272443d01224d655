"""Where the first value that is not finite came from: which network, which layer, which technique's term."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kennel.engine.nonfinite import NonFiniteReport

WHY = "such numbers spread to every weight at the next update, and nothing brings them back"
"""Why it matters."""
REMEDIES = (
    "lower learning rates, techniques.r1=on or techniques.spectral_norm=on for the discriminator, "
    "techniques.instance_noise=on, techniques.singular_value_clamp=on for the generator, or "
    "compute.precision=float32 where it is lower (in another --out, with or without --init-from)"
)
"""What to try."""


@contextmanager
def first_not_finite(networks: Mapping[str, nn.Module]) -> Iterator[list[str]]:
    """Within it, the layers whose outputs are not finite are listed in the order in which they are computed.

    Each is named as "generator layer blocks.0.first". It waits for the device at every layer.
    """
    found: list[str] = []
    hooks = []

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
            if isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                found.append(name)

        return hook

    for player, network in networks.items():
        for name, layer in network.named_modules():
            if name and ".parametrizations." not in f".{name}.":
                hooks.append(layer.register_forward_hook(look(f"{player} layer {name}")))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def with_what_is_wrong(network: nn.Module, name: str) -> str:
    """Of a layer: that its weights are not finite, or how large the largest of them is."""
    weights = [one.detach() for one in network.get_submodule(name).parameters()]
    largest = max((float(one.abs().max()) for one in weights if one.numel()), default=0.0)
    if not math.isfinite(largest):
        return ", whose weights are not finite themselves"
    return f", whose largest weight is {largest:.3g}" if weights else ""


def sentence(
    broken: NonFiniteReport,
    parameters: Mapping[str, list[str]],
    layer: str | None,
    images_seen: int,
    turns: str,
    of_rank: int = 0,
    looked: bool = True,
) -> str:
    """What is told of a broken turn, without its end.

    `parameters` are the names of what each optimizer moves, in its order; `layer` is the first whose output
    was not finite, if one was; `of_rank` is the first rank whose losses were not, where ranks share a run;
    `looked` says whether all layers were seen to be finite where `layer` is None.
    """
    terms = [_words(name) for name in broken.statistics if name.endswith("_term")]
    losses = [_words(name) for name in broken.statistics if not name.endswith("_term")]
    if layer is not None:
        source = f"the first came out of {layer}"
    elif terms or losses:
        places = " and ".join(terms or losses)
        source = f"it was first seen in {places}"
        if looked:
            source = f"it began in {places}, every layer before it being finite"
    elif of_rank:
        source = f"it began in the losses or terms of rank {of_rank}, those of rank 0 being finite"
    else:
        source = "both passes forward are finite: it began on the way back"
    if layer is not None and terms:
        source += f" and reached {' and '.join(terms)}"
    bad = [parameters[broken.player][place] for place in broken.parameters]
    gradients = ""
    if bad and len(bad) < broken.examined:
        share = f"{len(bad)} of {broken.examined}"
        gradients = f"; {share} gradients are not finite, the one nearest to the loss being that of {bad[-1]}"
    elif bad:
        gradients = f"; so are all {len(bad)} gradients"
    return (
        f"values that are not finite in the {broken.player}'s turn {turns} {images_seen:,} images: "
        f"{source}{gradients}"
    )


def _words(statistic: str) -> str:
    if not statistic.endswith("_term"):
        return f"the {statistic.replace('_', ' ')}"
    for player in ("discriminator", "generator"):
        if statistic.endswith(f"_{player}_term"):
            return f"the term of {statistic.removesuffix(f'_{player}_term')} in the {player}'s loss"
    return statistic
