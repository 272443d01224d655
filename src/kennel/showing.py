"""How the images of a turn are shown to the discriminator: through every view, in one pass or in two."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from kennel.networks import StyleGenerator
from kennel.passes import Passes
from kennel.shapes import Features, Images, Labels, Latents, Logits, Styles
from kennel.techniques import Kind, Play, Players, Technique, Turn


class Showing:
    """Shows images to the discriminator of `players`, as the techniques want it.

    Real and fake images go through it together, which is faster, unless a technique splits the batches or the
    discriminator compares images. Where a gradient by the images of one side will be wanted they go apart, so
    that it is computed through that side alone; only batch norm, which could tell the difference, keeps them
    together.
    """

    def __init__(self, players: Players, techniques: Sequence[Technique], passes: Passes) -> None:
        """`passes` says how the discriminator's are computed."""
        self.players = players
        self.techniques = techniques
        self.passes = passes
        self._quick_look = passes.compiled(self._look)
        self._quick_draw = passes.compiled(self._drawn)
        self._quick_draw_of_styles = passes.compiled(self._drawn_of_styles)
        self._mixes_styles = any(type(one).styles is not Technique.styles for one in techniques)
        self.splits_batches = players.discriminator.compares_images or any(
            technique.splits_batches for technique in techniques
        )
        self.couples_images = any(isinstance(one, _BatchNorm) for one in players.discriminator.modules())

    def draw(self, latents: Latents, labels: Labels | None, turn: Turn) -> Images:
        """What the generator makes of the latents, their styles changed by the techniques that do so."""
        generator = self.players.generator
        with self.passes.autocast(turn.device):
            if not self._mixes_styles or not isinstance(generator, StyleGenerator):
                images: Images = self._quick_draw(latents, labels)
                return images

            def mapped(others: Latents) -> Styles:
                return generator.styles(others, labels)

            styles = mapped(latents)
            for technique in self.techniques:
                styles = technique.styles(styles, mapped, turn)
            mixed: Images = self._quick_draw_of_styles(styles)
            return mixed

    def play(
        self,
        turn: Turn,
        latents: Latents,
        labels: Labels | None,
        real: Images | None,
        fake: Images,
        twice: bool = False,
    ) -> Play:
        """What the discriminator makes of both sides; without `real`, of the fakes alone.

        `twice` where its gradients by the images will be differentiated again.
        """
        generator, discriminator = self.players.generator, self.players.discriminator

        def judge(images: Images) -> Logits:
            with self.passes.autocast(turn.device):
                logits: Logits = discriminator(images, labels)
                return logits

        def draw(styles: Styles) -> Images:
            assert isinstance(generator, StyleGenerator)  # whoever has styles to draw has them from it
            with self.passes.autocast(turn.device):
                return generator.drawn(styles)

        seen: dict[Kind, Images] = {"fake": self._viewed(fake, turn, "fake")}
        if real is not None:
            seen = {"real": self._viewed(real, turn, "real"), **seen}
        # A compiled pass has a first derivative only.
        look = self._look if twice else self._quick_look
        apart = self.splits_batches or (twice and not self.couples_images)
        together = [[kind] for kind in seen] if apart else [list(seen)]
        found: dict[str, Any] = {}
        for kinds in together:
            images = torch.cat([seen[kind] for kind in kinds]) if len(kinds) > 1 else seen[kinds[0]]
            both_labels = None if labels is None else torch.cat([labels] * len(kinds))
            with self.passes.autocast(turn.device):
                features, logits = look(images, both_labels)
            for kind, its_features, its_logits in zip(
                kinds, features.chunk(len(kinds)), logits.chunk(len(kinds)), strict=True
            ):
                found |= {f"{kind}_features": its_features, f"{kind}_logits": its_logits}
                found[f"{kind}_seen"] = seen[kind]
        return Play(
            self.players, turn, latents, labels, fake=fake, real=real, judge=judge, draw=draw, **found
        )

    def _viewed(self, images: Images, turn: Turn, kind: Kind) -> Images:
        for technique in self.techniques:
            images = technique.view(images, turn, kind)
        return self.passes.laid_out(images)

    def _drawn(self, latents: Latents, labels: Labels | None) -> Images:
        images: Images = self.players.generator(latents, labels)
        return images

    def _drawn_of_styles(self, styles: Styles) -> Images:
        generator = self.players.generator
        assert isinstance(generator, StyleGenerator)
        return generator.drawn(styles)

    def _look(self, images: Images, labels: Labels | None) -> tuple[Features, Logits]:
        discriminator = self.players.discriminator
        features = discriminator.hidden(images, labels)
        return features, discriminator.logits(features, labels)
