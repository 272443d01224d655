"""How the images of a turn are shown to the discriminator: through every view, in one pass or in two."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from kennel.shapes import Images, Labels, Latents, Logits
from kennel.techniques import Kind, Play, Players, Technique, Turn


class Showing:
    """Shows images to the discriminator of `players`, as the techniques want it.

    Real and fake images go through it together, which is faster, unless a technique splits the batches.
    """

    def __init__(self, players: Players, techniques: Sequence[Technique], precision: torch.dtype) -> None:
        """`precision` is that of the networks' layers."""
        self.players = players
        self.techniques = techniques
        self.precision = precision
        self.splits_batches = any(technique.splits_batches for technique in techniques)

    def play(
        self, turn: Turn, latents: Latents, labels: Labels | None, real: Images | None, fake: Images
    ) -> Play:
        """What the discriminator makes of both sides; without `real`, of the fakes alone."""
        discriminator = self.players.discriminator

        def judge(images: Images) -> Logits:
            with self.autocast(turn):
                logits: Logits = discriminator(images, labels)
                return logits

        seen: dict[Kind, Images] = {"fake": self._viewed(fake, turn, "fake")}
        if real is not None:
            seen = {"real": self._viewed(real, turn, "real"), **seen}
        together = [list(seen)] if not self.splits_batches else [[kind] for kind in seen]
        found: dict[str, Any] = {}
        for kinds in together:
            images = torch.cat([seen[kind] for kind in kinds]) if len(kinds) > 1 else seen[kinds[0]]
            both_labels = None if labels is None else torch.cat([labels] * len(kinds))
            with self.autocast(turn):
                features = discriminator.hidden(images, both_labels)
                logits = discriminator.logits(features, both_labels)
            for kind, its_features, its_logits in zip(
                kinds, features.chunk(len(kinds)), logits.chunk(len(kinds)), strict=True
            ):
                found |= {f"{kind}_features": its_features, f"{kind}_logits": its_logits}
                found[f"{kind}_seen"] = seen[kind]
        return Play(self.players, turn, latents, labels, fake=fake, real=real, judge=judge, **found)

    def _viewed(self, images: Images, turn: Turn, kind: Kind) -> Images:
        for technique in self.techniques:
            images = technique.view(images, turn, kind)
        return images.contiguous(memory_format=torch.channels_last)

    def autocast(self, turn: Turn) -> AbstractContextManager[object]:
        """The precision of the networks' layers, for a pass of either of them."""
        lower = self.precision != torch.float32
        return torch.autocast(turn.device.type, dtype=self.precision, enabled=lower)
