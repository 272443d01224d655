"""What the trainer tells each turn of the round that it is part of."""

import torch
from pydantic import Field

from kennel.config.recipe import LatentConfig, StepsConfig
from kennel.engine.iteration import iterate
from kennel.engine.latents import draw_latents
from kennel.engine.optim import ScheduledOptimizer
from kennel.engine.state import TrainPlan, TrainState
from kennel.engine.step import GANStep
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import ForwardOutput, Networks, Technique

BATCH = 4


class Recording(Technique):
    """Notes whose turn it was, and its share of the round's images."""

    turns: list[tuple[str, float]] = Field(default_factory=list)

    def after_discriminator(self, output: ForwardOutput) -> None:
        self.turns.append((output.context.network, output.context.images_in_step))

    def after_generator(self, output: ForwardOutput) -> None:
        self.turns.append((output.context.network, output.context.images_in_step))


class Batches:
    """The same random images again and again."""

    def at(self, images_seen):
        return torch.rand((BATCH, 1, 4, 4), generator=torch.Generator().manual_seed(0)), None


def test_the_turns_of_each_player_share_the_rounds_images():
    setting = NetworkSpec(4, 1, 4)
    networks = Networks(
        GENERATORS["mlp"](setting, GENERATORS["mlp"].Options(hidden=(3,))),
        DISCRIMINATORS["mlp"](setting, DISCRIMINATORS["mlp"].Options(hidden=(3,))),
    )
    technique = Recording(turns=[])
    discriminator, generator = (
        ScheduledOptimizer(torch.optim.SGD(player.parameters(), 0.0), lambda progress: 0.0)
        for player in (networks.discriminator, networks.generator)
    )
    step = GANStep(networks, LOSSES["bce"](), {"recording": technique}, discriminator, generator)
    plan = TrainPlan(BATCH, StepsConfig(discriminator=5, generator=2), 100, 100, 0, torch.device("cpu"))
    iterate(
        TrainState(
            step, plan, Batches(), lambda count, random: draw_latents(LatentConfig(dim=4), count, random)
        )
    )
    assert technique.turns == 5 * [("discriminator", BATCH)] + 2 * [("generator", BATCH * 5 / 2)]
