"""What one rank of `test_following` runs: every case by two ranks with half batches, then by one process.

python one_following_rank.py FOLDER RANK

All of it is float64, so that what is left between the two is far below what any mistake would leave.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, Recipe, StepsConfig
from kennel.distributed import rank, shard_slice, single_process
from kennel.engine.builder import build_step
from kennel.engine.iteration import iterate
from kennel.engine.latents import draw_latents
from kennel.engine.running_means import RunningMeans
from kennel.engine.state import TrainPlan, TrainState
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS
from kennel.runs import checkpoint
from kennel.techniques import TECHNIQUES

BATCH, ROUNDS, FEW = 8, 20, 5
IMAGES = BATCH * ROUNDS
CPU = torch.device("cpu")
ACTIVE: dict[str, dict[str, Any]] = {
    "ada": {"adjustment_images": 100, "interval": 2, "target": -0.9},
    "lecam": {"start_images": 0, "half_life_images": 20},
    "top_k": {"until": 0.01},
    "one_sided_smoothing": {"real": (0.7, 1.0)},
    "noisy_labels": {"probability": 0.3},
    "consistency": {"fakes_weight": 1.0},
    "mine": {"weight": 100.0, "hidden": (8,), "half_life_images": 20, "optimizer": {"learning_rate": 1e-2}},
    "minibatch_discrimination": {"kernels": 3, "dimensions": 2},
    "singular_value_clamp": {"networks": "both", "ratio": 1.0},
    "singular_value_penalty": {"networks": "both", "weight": 0.1},
    "historical_averaging": {"weight": 0.1},
    "spectral_norm": {"networks": "both"},
}
"""Options with which a technique has something to do in so short a run; others do with their defaults."""
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (8, 8)},
    "dcgan": {"base_channels": 4},
    "improved": {"base_channels": 4},
    "modern": {"base_channels": 8, "min_channels": 4, "group": 4, "blocks": 1},
    "stylegan2": {"channel_base": 256, "channel_max": 4, "style": 8, "mapping_layers": 2},
    "biggan": {"base_channels": 1, "shared_embedding": 3},
    "biggan_deep": {"base_channels": 1, "shared_embedding": 3},
    "sngan": {"base_channels": 1},
    "sagan": {"base_channels": 1},
    "fastgan": {"base_channels": 4},
    "projected": {"features": "untrained", "base_channels": 2, "max_channels": 8},
}
STYLED = {"path_length", "style_mixing"}
"""Techniques of generators with a mapping network."""
BESIDE: dict[str, tuple[str, ...]] = {
    "r1 through minibatch discrimination": ("r1", "minibatch_discrimination"),
    "a slope penalty through minibatch stddev": ("gradient_penalty", "minibatch_stddev"),
    "consistency and r2 of augmented images": ("consistency", "r2", "ada", "instance_noise"),
    "a path length of mixed styles": ("path_length", "style_mixing", "ema"),
    "mine beside an auxiliary classifier": ("mine", "auxiliary_classifier", "top_k"),
}


@dataclass(frozen=True)
class Case:
    """A recipe and how many rounds of it."""

    recipe: Recipe
    rounds: int = ROUNDS


def cases() -> dict[str, Case]:
    """Every loss, technique and network that is registered, and some that meet in one place.

    What remembers nothing from round to round, as no loss does, has said all it can after a few.
    """
    found = {f"loss {name}": Case(recipe(name), FEW) for name in LOSSES}
    for name in TECHNIQUES:
        loss = next(one for one in LOSSES if TECHNIQUES[name].needs <= _provided(one))
        content = recipe(loss, name)
        stateful = _state(content) != _state(recipe(loss))
        found[f"technique {name}"] = Case(content, ROUNDS if stateful else FEW)
    for name in sorted({*GENERATORS, *DISCRIMINATORS}):
        found[f"network {name}"] = Case(_of_network(name), 3)
    found |= {name: Case(recipe("ragan", *techniques), 8) for name, techniques in BESIDE.items()}
    found["several turns"] = Case(
        recipe("rahinge", "feature_matching").model_copy(
            update={"steps": StepsConfig(discriminator=2, generator=3)}
        )
    )
    return found


def _state(content: Recipe) -> set[str]:
    """The names of all that is remembered."""
    return set(checkpoint.collect(build_step(content, CPU), RunningMeans()))


def _provided(loss: str) -> frozenset[str]:
    return LOSSES[loss].provides | {"classes", "normal_latents"}


def recipe(loss: str, *techniques: str) -> Recipe:
    """A tiny recipe of two classes with batch norm in both players."""
    teaches = any(TECHNIQUES[name].supplies_class_signal for name in techniques)
    return Recipe(
        name="following",
        image=ImageConfig(size=8, channels=3),
        num_classes=2,
        latent_dim=4,
        generator=_generator(*techniques),
        discriminator=ComponentConfig(
            name="dcgan", base_channels=4, conditioning="none" if teaches else "label"
        ),
        loss=ComponentConfig(name=loss),
        techniques=tuple(ComponentConfig(name=name, **ACTIVE.get(name, {})) for name in techniques),
        batch_size=BATCH,
        budget=Budget(images=IMAGES),
    )


def _generator(*techniques: str) -> ComponentConfig:
    """A DCGAN's, or StyleGAN2's where a technique needs styles."""
    if STYLED & set(techniques):
        return ComponentConfig(name="stylegan2", noise=False, **SMALL["stylegan2"])
    return ComponentConfig(name="dcgan", base_channels=4)


def _of_network(name: str) -> Recipe:
    """A registered pair without what each rank draws for itself: the dropout and the noise of its layers.

    A network without a partner of its name plays against a DCGAN.
    """
    names = [name if name in kind else "dcgan" for kind in (GENERATORS, DISCRIMINATORS)]
    networks = GENERATORS[names[0]], DISCRIMINATORS[names[1]]
    size = min(set(networks[0].sizes or (8,)) & set(networks[1].sizes or (8,)))
    options = []
    for one, network in zip(names, networks, strict=True):
        small = SMALL.get(one, {}) | {"dropout": 0.0, "noise": False}
        options.append({key: value for key, value in small.items() if key in network.Options.model_fields})
    return recipe("hinge").model_copy(
        update={
            "image": ImageConfig(size=size, channels=1),
            "num_classes": 0 if networks[0].conditional == "never" else 2,
            "latent_dim": 420,
            "generator": ComponentConfig(name=names[0], **options[0]),
            "discriminator": ComponentConfig(name=names[1], **options[1]),
        }
    )


class Batches:
    """Random images of two classes; this rank's rows of them. The halves of a batch differ in their means."""

    def __init__(self, image: ImageConfig) -> None:
        self.shape = (BATCH, image.channels, image.size, image.size)

    def at(self, images_seen: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(images_seen)
        images = torch.rand(self.shape, generator=random) * 2 - 1
        images[BATCH // 2 :] = 0.5 + images[BATCH // 2 :] / 2
        return images[shard_slice(BATCH)], torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])[shard_slice(BATCH)]


def played(case: Case) -> tuple[dict[str, Tensor], dict[str, float]]:
    """All state after the rounds, and the means of the statistics."""
    content = case.recipe
    step = build_step(content, CPU)
    plan = TrainPlan(BATCH, content.steps, IMAGES, IMAGES, 0, CPU)
    state = TrainState(
        step, plan, Batches(content.image), lambda count, random: draw_latents(content.latent, count, random)
    )
    for _ in range(case.rounds):
        iterate(state)
    means = state.running_means.read()
    return {
        name: value.clone() for name, value in checkpoint.collect(step, state.running_means).items()
    }, means


def differences(
    whole: tuple[dict[str, Tensor], dict[str, float]], shared: tuple[dict[str, Tensor], dict[str, float]]
) -> dict[str, float]:
    """Of every tensor and statistic the largest difference, as a share of its own scale."""
    found = {}
    for one, other in zip(whole, shared, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            expected, given = (torch.as_tensor(side[name]).double() for side in (one, other))
            scale = max(float(expected.abs().max()), 1e-3)
            found[name] = float((expected - given).abs().max()) / scale
    return found


def main(folder: Path, own_rank: int) -> None:
    """Writes `found-N.json`: of each case the largest difference and where it is."""
    store = torch.distributed.FileStore(str(folder / "store"), 2)
    torch.distributed.init_process_group("gloo", store=store, rank=own_rank, world_size=2)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    found = {}
    for number, (name, case) in enumerate(cases().items()):
        shared = played(case)
        if number % 2 == rank():
            with single_process():
                apart = differences(played(case), shared)
            worst = max(apart, key=apart.__getitem__)
            found[name] = (apart[worst], worst, len(apart))
    (folder / f"found-{own_rank}.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
