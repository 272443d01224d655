"""Turns and plays to try techniques on."""

from collections.abc import Callable

import pytest
import torch

from kennel.showing import Showing
from kennel.techniques import Play, Players, Technique, Turn


@pytest.fixture
def make_turn() -> Callable[..., Turn]:
    """`make_turn("discriminator", number=3, images_seen=640)`."""

    def make(player="discriminator", number=0, images_seen=0, total_images=1000, share=4.0) -> Turn:
        return Turn(images_seen, total_images, player, number, 0, torch.device("cpu"), share)

    return make


@pytest.fixture
def make_play(make_turn) -> Callable[..., Play]:
    """`make_play(players, real=..., fake=..., labels=..., turn=..., techniques=(...))`, as the step does."""

    def make(
        players: Players,
        *,
        fake: torch.Tensor,
        real: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        turn: Turn | None = None,
        techniques: tuple[Technique, ...] = (),
    ) -> Play:
        latents = torch.zeros(len(fake), 4) if latents is None else latents
        showing = Showing(players, techniques, torch.float32)
        return showing.play(turn or make_turn(), latents, labels, real, fake)

    return make
