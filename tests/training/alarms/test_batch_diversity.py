"""The nearest other image of a batch, however large the batch is."""

import pytest
import torch

from kennel.training.alarms import batch_diversity


@pytest.mark.parametrize("block", [1, 3, 8])
def test_distances_are_the_same_block_by_block(block, monkeypatch):
    images = torch.randn(7, 2, 3, 3)
    whole = float(batch_diversity.nearest_distance(images))
    monkeypatch.setattr(batch_diversity, "BLOCK", block)
    assert float(batch_diversity.nearest_distance(images)) == pytest.approx(whole, rel=1e-6)


def test_no_more_than_a_block_of_distances_is_held(monkeypatch):
    held, distances = [], torch.cdist

    def counted(left, right):
        held.append(len(left))
        return distances(left, right)

    monkeypatch.setattr(torch, "cdist", counted)
    monkeypatch.setattr(batch_diversity, "BLOCK", 3)
    batch_diversity.nearest_distance(torch.randn(7, 1, 2, 2))
    assert held == [3, 3, 1]
