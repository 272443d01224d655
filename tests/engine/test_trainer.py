"""What the trainer tells each turn of the round that it is part of."""

import torch
from pydantic import Field

from kennel.config.recipe import Latent, Turns
from kennel.engine.latents import draw_latents
from kennel.engine.optim import Scheduled
from kennel.engine.step import Step
from kennel.engine.trainer import Plan, Trainer
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS, Setting
from kennel.techniques import Play, Players, Technique

BATCH = 4


class Recording(Technique):
    """Notes whose turn it was, and its share of the round's images."""

    turns: list[tuple[str, float]] = Field(default_factory=list)

    def after_discriminator(self, play: Play) -> None:
        self.turns.append((play.turn.player, play.turn.images_in_turn))

    def after_generator(self, play: Play) -> None:
        self.turns.append((play.turn.player, play.turn.images_in_turn))


class Batches:
    """The same random images again and again."""

    def at(self, images_seen):
        return torch.rand((BATCH, 1, 4, 4), generator=torch.Generator().manual_seed(0)), None


def test_the_turns_of_each_player_share_the_rounds_images():
    setting = Setting(4, 1, 4)
    players = Players(
        GENERATORS["mlp"](setting, GENERATORS["mlp"].Options(hidden=(3,))),
        DISCRIMINATORS["mlp"](setting, DISCRIMINATORS["mlp"].Options(hidden=(3,))),
    )
    technique = Recording(turns=[])
    discriminator, generator = (
        Scheduled(torch.optim.SGD(player.parameters(), 0.0), lambda progress: 0.0)
        for player in (players.discriminator, players.generator)
    )
    step = Step(players, LOSSES["bce"](), {"recording": technique}, discriminator, generator)
    plan = Plan(BATCH, Turns(discriminator=5, generator=2), 100, 100, 0, torch.device("cpu"))
    trainer = Trainer(
        step, Batches(), lambda count, random: draw_latents(Latent(dimension=4), count, random), plan
    )
    trainer.round()
    assert technique.turns == 5 * [("discriminator", BATCH)] + 2 * [("generator", BATCH * 5 / 2)]
