"""Images between two labels."""

import pytest
import torch
from torch import nn

from kennel.config.base import Config
from kennel.errors import RunError
from kennel.networks import Generator, NetworkSpec
from kennel.networks.layers.instances import parts_with_instances
from kennel.sampling.label_mixing import mixed_labels, replaced_instances
from loaded import LATENT, SMALL, loaded

FIRST, SECOND = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 0, 1, 0])


@torch.no_grad()
def drawn(network: Generator, latents: torch.Tensor, share: float) -> torch.Tensor:
    with mixed_labels(network, FIRST, SECOND, torch.full((4,), share)) as labels:
        return network(latents, labels)


@torch.no_grad()
@pytest.mark.parametrize("kind", [*SMALL, "instances"])
def test_both_ends_are_the_two_labels_and_the_middle_is_neither(kind):
    size = {"sngan": 32, "biggan": 32, "biggan_deep": 32}.get(kind, 8)
    if kind == "instances":
        network = loaded("dcgan", instances=3).generator
    else:
        network = loaded(kind, classes=3, size=size, channels=3).generator
    latents = torch.randn(4, LATENT, generator=torch.Generator().manual_seed(0))
    first, second = network(latents, FIRST), network(latents, SECOND)
    torch.testing.assert_close(drawn(network, latents, 0.0), first)
    torch.testing.assert_close(drawn(network, latents, 1.0), second)
    middle = drawn(network, latents, 0.5)
    changes = [(middle - end).abs().flatten(1).amax(1) for end in (first, second)]
    assert bool((torch.stack(changes)[:, :3] > 1e-4).all())
    torch.testing.assert_close(middle[3], first[3])  # the same label at both ends
    assert torch.equal(network(latents, FIRST), first)  # nothing is left in the network


def test_an_embedding_is_mixed_linearly_and_a_vector_of_an_instance_keeps_its_length():
    seen: dict[str, torch.Tensor] = {}
    network = loaded("dcgan", instances=3).generator
    table = parts_with_instances(network)[0]
    with mixed_labels(network, FIRST, SECOND, torch.full((4,), 0.5)):
        seen["instances"] = table(FIRST)
    torch.testing.assert_close(seen["instances"].norm(dim=1), torch.full((4,), 2.0))
    network = loaded("dcgan", classes=3).generator
    embedding = next(one for one in network.modules() if isinstance(one, nn.Embedding))
    with mixed_labels(network, FIRST, SECOND, torch.full((4,), 0.25)):
        seen["classes"] = embedding(FIRST)
    torch.testing.assert_close(seen["classes"], 0.75 * embedding(FIRST) + 0.25 * embedding(SECOND))


@torch.no_grad()
def test_given_vectors_replace_those_of_the_instances():
    network = loaded("dcgan", instances=3).generator
    latents = torch.randn(4, LATENT, generator=torch.Generator().manual_seed(0))
    with replaced_instances(network, parts_with_instances(network)[0].vectors[SECOND]):
        replaced = network(latents, FIRST)
    torch.testing.assert_close(replaced, network(latents, SECOND))


class ByNumber(Generator):
    """A generator that computes with the numbers of its labels."""

    def forward(self, latents, labels=None):
        return torch.tanh(latents[:, :1] * labels[:, None])[:, :, None, None].expand(-1, 1, 8, 8)


def test_a_network_that_looks_no_label_up_is_refused():
    network = ByNumber(NetworkSpec(8, 1, LATENT, 3), Config())
    with pytest.raises(RunError, match="ByNumber does not look its labels up"):
        drawn(network, torch.randn(4, LATENT), 0.5)
