"""What one rank of `test_normalisation` runs, in a process of its own: its part of a batch.

python one_rank.py FOLDER RANK IMAGES_OF_RANK_0
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from kennel.distributed import all_reduce_sum, rank, world_size
from kennel.networks.layers.normalization import Condition, ConditionalBatchNorm, CrossReplicaBatchNorm


def layers() -> dict[str, nn.Module]:
    """The layers under test, with the same weights in every process."""
    torch.manual_seed(0)
    evenly = CrossReplicaBatchNorm(3)
    evenly.momentum = None
    made = {
        "plain": CrossReplicaBatchNorm(3, eps=1e-4),
        "bare": CrossReplicaBatchNorm(3, affine=False),
        "evenly": evenly,
        "conditional": ConditionalBatchNorm(3, classes=2, vector=4, epsilon=1e-5),
    }
    for layer in made.values():
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    return made


def passed(layer: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Outputs, gradients, second gradients and statistics after two passes through a layer."""
    images = batch["images"].clone().requires_grad_()
    told = (Condition(batch["labels"], batch["vector"]),) if isinstance(layer, ConditionalBatchNorm) else ()
    layer(2 * batch["images"] - 3, *told)  # the statistics remember two batches
    output = layer(images, *told)
    loss = (output.square() * batch["weights"]).sum()
    of_images, *of_parameters = torch.autograd.grad(loss, [images, *layer.parameters()], create_graph=True)
    penalty = of_images.square().sum()
    second = torch.autograd.grad(penalty, [images, *layer.parameters()], allow_unused=True)
    found = {"output": output, "images": of_images, "second_images": second[0]}
    for (name, _), one, other in zip(layer.named_parameters(), of_parameters, second[1:], strict=True):
        found[f"summed_{name}"] = one
        if other is not None:
            found[f"summed_second_{name}"] = other
    found |= {f"same_{name}": value for name, value in layer.named_buffers()}
    return {name: value.detach().contiguous().clone() for name, value in found.items()}


def part_of_rank(batch: dict[str, torch.Tensor], images_of_rank_0: int) -> dict[str, torch.Tensor]:
    """The images of this rank, and what belongs to them."""
    mine = slice(None, images_of_rank_0) if rank() == 0 else slice(images_of_rank_0, None)
    return {name: values[mine] for name, values in batch.items()}


def main(folder: Path, own_rank: int, images_of_rank_0: int) -> None:
    """Writes `rank-N.safetensors`."""
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=own_rank, world_size=2)
    torch.set_num_threads(1)
    batch = part_of_rank(load_file(folder / "batch.safetensors"), images_of_rank_0)
    found = {
        "world": torch.tensor([rank(), world_size()]),
        "sum": all_reduce_sum(torch.arange(3) + rank()),
    }
    for name, layer in layers().items():
        found |= {f"{name}/{key}": value for key, value in passed(layer, batch).items()}
    save_file(found, folder / f"rank-{own_rank}.safetensors")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
