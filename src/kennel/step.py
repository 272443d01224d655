"""One discriminator turn and one generator turn: the whole game, and the only `backward()` of kennel.

Techniques enter through their seams and are never asked for by name.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kennel.losses import Loss, Targets
from kennel.shapes import Images, Labels, Latents, Logits, Scalar
from kennel.techniques import Kind, Play, Players, Technique, Term, Turn

Statistics = dict[str, Tensor]
"""Detached scalars on the device, named as the log names them; nobody waits for their values here."""


class Step:
    """The two turns, for a pair of players, a loss and a list of techniques."""

    def __init__(
        self,
        players: Players,
        loss: Loss,
        techniques: Mapping[str, Technique],
        discriminator_optimiser: Optimizer,
        generator_optimiser: Optimizer,
        precision: torch.dtype = torch.float32,
    ) -> None:
        """`precision` is that of the networks' layers; losses and weights stay float32."""
        self.players = players
        self.loss = loss
        self.named_techniques = techniques
        self.techniques = tuple(techniques.values())
        self.terms = tuple(technique for technique in self.techniques if isinstance(technique, Term))
        self.discriminator_optimiser = discriminator_optimiser
        self.generator_optimiser = generator_optimiser
        self.precision = precision
        self.splits_batches = any(technique.splits_batches for technique in self.techniques)

    def discriminator_turn(
        self, real: Images, latents: Latents, labels: Labels | None, turn: Turn
    ) -> Statistics:
        """Teaches the discriminator to tell `real` from what the generator makes of `latents`."""
        with torch.no_grad(), self._autocast(turn):
            fake = self.players.generator(latents, labels)
        real, fake = self._viewed(real, turn, "real"), self._viewed(fake, turn, "fake")
        with self._autocast(turn):
            real_logits, fake_logits = self._logits(real, fake, labels)
        targets = Targets.for_logits(real_logits, fake_logits)
        for technique in self.techniques:
            targets = technique.targets(targets, turn)
        loss = self.loss.discriminator_loss(real_logits, fake_logits, targets)
        play = Play(self.players, turn, real, fake, labels, real_logits, fake_logits)
        for one in self.terms:
            if turn.due(one.every) and (term := one.discriminator_term(play)) is not None:
                loss = loss + one.weight * one.every * term
        _update(self.discriminator_optimiser, loss)
        for technique in self.techniques:
            technique.after_discriminator(self.players, turn)
        return {
            "discriminator_loss": loss.detach(),
            "real_probability": real_logits.detach().sigmoid().mean(),
            "fake_probability": fake_logits.detach().sigmoid().mean(),
        }

    def generator_turn(
        self, real: Images | None, latents: Latents, labels: Labels | None, turn: Turn
    ) -> Statistics:
        """Teaches the generator to be taken for real; `real` only where the loss looks at real images."""
        with frozen(self.players.discriminator):
            with self._autocast(turn):
                fake = self.players.generator(latents, labels)
            fake = self._viewed(fake, turn, "fake")
            real_logits = None
            with self._autocast(turn):
                if real is not None:
                    real = self._viewed(real, turn, "real")
                    real_logits, fake_logits = self._logits(real, fake, labels)
                else:
                    fake_logits = self.players.discriminator(fake, labels)
            loss = self.loss.generator_loss(real_logits, fake_logits)
            play = Play(self.players, turn, real, fake, labels, real_logits, fake_logits)
            for one in self.terms:
                if turn.due(one.every) and (term := one.generator_term(play)) is not None:
                    loss = loss + one.weight * one.every * term
            _update(self.generator_optimiser, loss)
        for technique in self.techniques:
            technique.after_generator(self.players, turn)
        return {"generator_loss": loss.detach()}

    def _logits(self, real: Images, fake: Images, labels: Labels | None) -> tuple[Logits, Logits]:
        """Both logits: in passes of their own where a technique asks for it, else in one, which is faster."""
        discriminator = self.players.discriminator
        if self.splits_batches:
            return discriminator(real, labels), discriminator(fake, labels)
        both = torch.cat([real, fake])
        both_labels = None if labels is None else torch.cat([labels, labels])
        real_logits, fake_logits = discriminator(both, both_labels).split([len(real), len(fake)])
        return real_logits, fake_logits

    def _viewed(self, images: Images, turn: Turn, kind: Kind) -> Images:
        for technique in self.techniques:
            images = technique.view(images, turn, kind)
        return images.contiguous(memory_format=torch.channels_last)

    def _autocast(self, turn: Turn) -> AbstractContextManager[object]:
        lower = self.precision != torch.float32
        return torch.autocast(turn.device.type, dtype=self.precision, enabled=lower)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No gradients for the player that does not move: they would be computed and thrown away."""
    moving = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in moving:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)


def _update(optimiser: Optimizer, loss: Scalar) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
