"""Networks that are conditioned on instances: fixed vectors, which no optimizer moves."""

import pytest
import torch

from kennel.config.base import validated
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.instances import InstanceEmbedding, InstanceVectors, parts_with_instances

SMALL = {
    "dcgan": {"base_channels": 4},
    "projected": {"features": "untrained", "base_channels": 2, "max_channels": 8},
}
KINDS = [
    (registry, name)
    for registry in (GENERATORS, DISCRIMINATORS)
    for name in registry
    if registry[name].takes_instances
]
VECTORS = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
COUNTS = torch.tensor([1, 2, 1, 1, 3])


def network(registry, name):
    """A small one for five instances, filled."""
    torch.manual_seed(0)
    kind = registry[name]
    setting = NetworkSpec(32, 3, 8, num_instances=5, instance_dim=6)
    built = kind(setting, validated(kind.Options, SMALL.get(name, {}), name))
    for part in parts_with_instances(built):
        part.fill(VECTORS, COUNTS)
    return built.eval()


@pytest.mark.parametrize(("registry", "name"), KINDS)
def test_a_network_that_takes_instances_heeds_them_and_trains_none_of_their_vectors(registry, name):
    built = network(registry, name)
    assert parts_with_instances(built)
    given = torch.randn(2, 8) if registry is GENERATORS else torch.rand(2, 3, 32, 32)
    first, second = (built(given, torch.tensor([label, label])) for label in (0, 3))
    assert (first - second).abs().max() > 1e-6
    assert all(5 not in parameter.shape for parameter in built.parameters())
    assert any(torch.equal(value, VECTORS) for value in built.state_dict().values())


@pytest.mark.parametrize(("registry", "name"), KINDS)
def test_instances_of_equal_vectors_are_one_condition(registry, name):
    built = network(registry, name)
    for part in parts_with_instances(built):
        part.fill(VECTORS[[0, 0, 2, 3, 4]], COUNTS)
    given = torch.randn(2, 8) if registry is GENERATORS else torch.rand(2, 3, 32, 32)
    first, second = (built(given, torch.tensor([label, label])) for label in (0, 1))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_the_vectors_of_labels_are_those_of_their_instances():
    vectors = InstanceVectors(5, 6)
    vectors.fill(VECTORS, COUNTS)
    assert torch.equal(vectors(torch.tensor([4, 0])), VECTORS[[4, 0]])
    assert vectors.counts.tolist() == [1, 2, 1, 1, 3]
    assert not list(vectors.parameters())


def test_an_embedding_of_instances_is_a_linear_map_of_their_vectors():
    embedding = InstanceEmbedding(5, 6, 3)
    embedding.instances.fill(VECTORS, COUNTS)
    torch.testing.assert_close(embedding(torch.arange(5)), embedding.map(VECTORS))
