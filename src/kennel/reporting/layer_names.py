"""Names of a network's layers for readers: what a layer is, and what it maps to what."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from kennel.config.recipe import Recipe
from kennel.engine.builder import build_generator, build_networks
from kennel.engine.singular_values import USED
from kennel.errors import KennelError

KINDS: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.modules.conv._ConvTransposeNd, "transposed conv"),
    (nn.modules.conv._ConvNd, "conv"),
    (nn.Linear, "linear"),
    (nn.Embedding, "embedding"),
)
_CONTAINERS = frozenset({"layers", "blocks", "net", "main", "model", "conv", "linear"})
"""Parts of a path that tell a reader nothing that the layer's kind does not."""


def layer_names(
    networks: Mapping[str, nn.Module], layers: Mapping[str, Iterable[str]]
) -> dict[str, dict[str, str]]:
    """For each network of `spectra.jsonl`, its layers' keys with names such as "3 conv 256→512".

    The number counts the network's weight matrices from its input on. A network that is not among `networks`
    is named by its keys alone.
    """
    return {
        name: _names(networks.get(name), list(dict.fromkeys(one.removesuffix(USED) for one in keys)))
        for name, keys in layers.items()
    }


def networks_without_weights(recipe: Recipe, teacher: str | None) -> dict[str, nn.Module]:
    """The recipe's networks without memory for their weights.

    A discriminator with a pretrained part, `teacher`, is left out, since building it would read that part;
    so are networks that cannot be built without weights.
    """
    try:
        with torch.device("meta"):
            if teacher is not None:
                return {"generator": build_generator(recipe)}
            built = build_networks(recipe)
            return {"generator": built.generator, "discriminator": built.discriminator}
    except (KennelError, RuntimeError, NotImplementedError, TypeError, ValueError, LookupError):
        return {}  # a network of the user's own may need real weights


def _names(network: nn.Module | None, keys: list[str]) -> dict[str, str]:
    return {key: f"{place} {_name(network, key)}" for place, key in enumerate(keys, 1)}


def _name(network: nn.Module | None, key: str) -> str:
    words = [word for word in key.split(".") if not word.isdecimal() and word not in _CONTAINERS]
    layer = _module(network, key)
    if layer is None:
        return " ".join(dict.fromkeys(words)).replace("_", " ") or "layer"
    kind = next((name for one, name in KINDS if isinstance(layer, one)), type(layer).__name__)
    own = words[-1].replace("_", " ") if words else ""
    name = kind if not own or own in kind else f"{own}, {kind}"
    sides = [_side(layer, end) for end in ("in", "out")]
    return name if None in sides else f"{name} {sides[0]:,}→{sides[1]:,}"


def _module(network: nn.Module | None, key: str) -> nn.Module | None:
    try:
        return None if network is None else network.get_submodule(re.sub(r"\.parametrizations\..*", "", key))
    except AttributeError:
        return None


def _side(layer: nn.Module, end: str) -> int | None:
    if isinstance(layer, nn.Embedding):
        return layer.num_embeddings if end == "in" else layer.embedding_dim
    for name in (f"{end}_channels", f"{end}_features"):
        if isinstance(found := getattr(layer, name, None), int):
            return found
    return None
