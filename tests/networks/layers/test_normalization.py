"""Batch norm is the one of all ranks' images, and its gain and bias are those of the condition."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from kennel.distributed import all_reduce_sum, rank, world_size
from kennel.networks.layers.normalization import (
    Condition,
    ConditionalBatchNorm,
    Conditioning,
    CrossReplicaBatchNorm,
    apply_norm,
)

SCRIPT = Path(__file__).with_name("one_rank.py")
_spec = importlib.util.spec_from_file_location("one_rank", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
one_rank = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(one_rank)


def whole_batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "images": 2 * torch.randn(6, 3, 4, 4) + 5,
        "weights": torch.rand(6, 3, 4, 4) / 10,
        "labels": torch.tensor([0, 1, 1, 0, 1, 0]),
        "vector": torch.randn(6, 4),
    }


def two_ranks(folder: Path, images_of_rank_0: int) -> list[dict[str, torch.Tensor]]:
    """What each of two processes found of its part of the batch."""
    save_file(whole_batch(), folder / "batch.safetensors")
    source = Path(sys.modules["kennel"].__file__).parents[1]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(source)}
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    command = [sys.executable, str(SCRIPT), str(folder)]
    processes = [
        subprocess.Popen([*command, str(own), str(images_of_rank_0)], env=environment) for own in (0, 1)
    ]
    try:
        assert [process.wait(timeout=100) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    return [load_file(folder / f"rank-{own}.safetensors") for own in (0, 1)]


@pytest.mark.parametrize("images_of_rank_0", [3, 2], ids=["halves", "unequal parts"])
def test_two_ranks_with_a_part_each_are_one_rank_with_the_whole_batch(tmp_path, images_of_rank_0):
    parts = two_ranks(tmp_path, images_of_rank_0)
    assert [part["world"].tolist() for part in parts] == [[0, 2], [1, 2]]
    assert [part["sum"].tolist() for part in parts] == [[1, 3, 5], [1, 3, 5]]
    compared = {"world", "sum"}
    for name, layer in one_rank.layers().items():
        for key, expected in one_rank.passed(layer, whole_batch()).items():
            of_0, of_1 = (part[f"{name}/{key}"] for part in parts)
            if key.startswith("same_"):
                found = of_0
                assert torch.equal(of_0, of_1), key
            else:
                found = of_0 + of_1 if key.startswith("summed_") else torch.cat([of_0, of_1])
            assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=lambda why, key=key: f"{key}: {why}")
            compared.add(f"{name}/{key}")
    assert compared == set(parts[0])
    assert {"plain/second_images", "evenly/same_running_var", "conditional/summed_gain.weight"} < compared


def test_without_a_process_group_there_is_one_rank_and_a_sum_is_what_it_sums():
    values = torch.ones(3)
    assert (world_size(), rank()) == (1, 0)
    assert all_reduce_sum(values) is values


def test_one_rank_is_pytorchs_batch_norm_bit_for_bit():
    ours, torchs = CrossReplicaBatchNorm(3, eps=1e-4), nn.BatchNorm2d(3, eps=1e-4)
    images = whole_batch()["images"]
    assert torch.equal(ours(images), torchs(images))
    assert torch.equal(ours.running_var, torchs.running_var)
    assert torch.equal(ours.eval()(images), torchs.eval()(images))


def test_tables_and_maps_give_each_image_its_gain_and_bias():
    batch = whole_batch()
    layer = ConditionalBatchNorm(3, classes=2, vector=4, epsilon=1e-3)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    found = layer(batch["images"], Condition(batch["labels"], batch["vector"]))
    mean = batch["images"].mean((0, 2, 3))
    variance = batch["images"].var((0, 2, 3), correction=0)
    for index, (image, label, vector) in enumerate(
        zip(batch["images"], batch["labels"], batch["vector"], strict=True)
    ):
        gain = 1 + layer.gain_of_class.weight[label] + layer.gain.weight @ vector
        bias = layer.bias_of_class.weight[label] + layer.bias.weight @ vector
        for channel in range(3):
            standard = (image[channel] - mean[channel]) / (variance[channel] + 1e-3).sqrt()
            assert_close(
                found[index, channel], gain[channel] * standard + bias[channel], rtol=1e-4, atol=1e-5
            )


def test_class_tables_begin_as_a_batch_norm_without_gain_and_bias():
    batch = whole_batch()
    layer = Conditioning(classes=2).batch_norm(3)
    plain = nn.BatchNorm2d(3, affine=False)
    assert_close(apply_norm(batch["images"], layer, Condition(batch["labels"])), plain(batch["images"]))


def test_statistics_of_a_conditional_batch_norm_live_in_a_batch_norm():
    layer = ConditionalBatchNorm(3, classes=0, vector=4, epsilon=1e-4)
    inside = [module for module in layer.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [(one.affine, one.eps) for one in inside] == [(False, 1e-4)]
    assert {name.rpartition(".")[2] for name, _ in layer.named_buffers()} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


def test_without_a_condition_a_layer_is_a_plain_batch_norm_and_may_be_replaced_by_anything():
    layer = Conditioning(epsilon=1e-4).batch_norm(3)
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.eps == 1e-4
    images = whole_batch()["images"]
    assert torch.equal(apply_norm(images, nn.Identity(), Condition()), images)


def test_lower_precision_stays_lower():
    batch = whole_batch()
    layer = ConditionalBatchNorm(3, classes=2, vector=4, epsilon=1e-5)
    exact = layer(batch["images"], Condition(batch["labels"], batch["vector"]))
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(batch["images"].bfloat16(), Condition(batch["labels"], batch["vector"]))
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().max() < 0.1
