"""Small generators, ready to sample, without a run."""

from dataclasses import dataclass

import torch

from kennel.config.recipe import override
from kennel.networks import GENERATORS, NetworkSpec
from kennel.networks.layers.instances import parts_with_instances
from kennel.recipes import get_recipe
from kennel.sampling.loaded_generator import LoadedGenerator

SMALL = {
    "dcgan": {"base_channels": 4, "max_multiplier": 4},
    "mlp": {"hidden": (16, 16)},
    "stylegan2": {"channel_base": 256, "channel_max": 4, "style": 8, "mapping_layers": 2},
    "sngan": {"base_channels": 1},
    "biggan": {"base_channels": 1, "shared_embedding": 3},
    "biggan_deep": {"base_channels": 1, "shared_embedding": 3},
    "modern": {"base_channels": 8, "min_channels": 4, "group": 4, "blocks": 1},
}
"""Generators and their options."""
LATENT = 16


@dataclass(frozen=True, kw_only=True)
class Loaded(LoadedGenerator):
    """A generator with given class names."""

    names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "runs/small"

    @property
    def classes(self) -> tuple[str, ...]:
        return self.names


def loaded(
    kind: str = "dcgan",
    classes: int = 0,
    instances: int = 0,
    *,
    size: int = 8,
    channels: int = 1,
    distribution: str = "normal",
    passes: int = 0,
) -> Loaded:
    """A generator with random weights, larger than at the start of training so that images differ."""
    settings = [
        f"latent_dim={LATENT}",
        f"latent_distribution={distribution}",
        f"sampling.standing_stats_batches={passes}",
    ]
    torch.manual_seed(0)
    network = GENERATORS[kind](
        NetworkSpec(
            size, channels, LATENT, classes, num_instances=instances, instance_dim=4 if instances else 0
        ),
        GENERATORS[kind].Options(**SMALL[kind]),
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2).add_(0.1 * torch.randn_like(parameter))
    for part in parts_with_instances(network):
        vectors = torch.randn(instances, 4)
        part.fill(2 * vectors / vectors.norm(dim=1, keepdim=True), torch.ones(instances, dtype=torch.int64))
    return Loaded(
        recipe=override(get_recipe("digits"), settings),
        generator=network.eval(),
        images_seen=1000,
        fingerprint="small",
        averaged=False,
        names=tuple(f"class {label}" for label in range(classes)),
    )
