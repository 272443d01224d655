"""Turns and plays to try techniques on."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from kennel.engine.compute import ComputeContext
from kennel.engine.forward import DiscriminatorForward
from kennel.networks import Discriminator, Generator, NetworkSpec
from kennel.techniques import ForwardOutput, Networks, StepContext, Technique


@pytest.fixture
def make_turn() -> Callable[..., StepContext]:
    """`make_turn("discriminator", number=3, images_seen=640)`."""

    def make(player="discriminator", number=0, images_seen=0, total_images=1000, share=4.0) -> StepContext:
        return StepContext(images_seen, total_images, player, number, 0, torch.device("cpu"), share)

    return make


@pytest.fixture
def make_play(make_turn) -> Callable[..., ForwardOutput]:
    """`make_play(players, real=..., fake=..., labels=..., turn=..., techniques=(...))`, as the step does."""

    def make(
        networks: Networks,
        *,
        fake: torch.Tensor,
        real: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        context: StepContext | None = None,
        techniques: tuple[Technique, ...] = (),
    ) -> ForwardOutput:
        latents = torch.zeros(len(fake), 4) if latents is None else latents
        showing = DiscriminatorForward(networks, techniques, ComputeContext())
        return showing.forward(context or make_turn(), latents, labels, real, fake)

    return make


class PowerDiscriminator(Discriminator):
    """D(x) = w . x^power: its gradients are known."""

    def __init__(self, weights: torch.Tensor, power: int, setting: NetworkSpec) -> None:
        super().__init__(setting, None)
        self.power = power
        self.head = nn.Linear(weights.numel(), 1, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(weights.flatten())

    def features(self, images, labels=None):
        return (images**self.power).flatten(1)


@pytest.fixture
def make_power_players() -> Callable[..., Networks]:
    """`make_power_players(weights, power=1)`: D(x) = w . x^power, and a generator that is never asked."""

    def make(weights: torch.Tensor, power: int = 1) -> Networks:
        setting = NetworkSpec(weights.shape[-1], weights.shape[0], 4)
        return Networks(Generator(setting, None), PowerDiscriminator(weights, power, setting))

    return make
