"""How the images of a turn are shown to the discriminator: through every view, in one pass or in two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from kennel.engine.compute import ComputeContext
from kennel.networks import StyleGenerator
from kennel.shapes import Embedded, Features, Images, Labels, Latents, Logits, Styles
from kennel.techniques import ForwardOutput, Kind, Networks, StepContext, Technique


@dataclass(frozen=True)
class DiscriminatorInput:
    """One side's `images`, what every view made of them (`seen`), and what the trained layers get of that."""

    images: Images
    seen: Images
    embedded: Embedded

    def detached(self) -> "DiscriminatorInput":
        """The same values, from which no gradient goes back."""
        if isinstance(self.embedded, torch.Tensor):
            embedded: Embedded = self.embedded.detach()
        else:
            embedded = tuple(maps.detach() for maps in self.embedded)
        return DiscriminatorInput(self.images.detach(), self.seen.detach(), embedded)


class DiscriminatorForward:
    """Shows images to the discriminator of `networks`, as the techniques want it.

    Real and fake images go through it together, which is faster, unless a technique splits the batches or the
    discriminator compares images. Where a gradient by the images of one side will be wanted they go apart, so
    that it is computed through that side alone; only batch norm, which could tell the difference, keeps them
    together.
    """

    def __init__(self, networks: Networks, techniques: Sequence[Technique], passes: ComputeContext) -> None:
        """`passes` says how the discriminator's are computed."""
        self.networks = networks
        self.techniques = techniques
        self.passes = passes
        self._quick_look = passes.compiled(self._look)
        self._quick_draw = passes.compiled(self._drawn)
        self._quick_draw_of_styles = passes.compiled(self._drawn_of_styles)
        self._mixes_styles = any(
            type(one).transform_styles is not Technique.transform_styles for one in techniques
        )
        self.splits_batches = networks.discriminator.compares_images or any(
            technique.splits_batches for technique in techniques
        )
        self.couples_images = any(isinstance(one, _BatchNorm) for one in networks.discriminator.modules())

    def generate(self, latents: Latents, labels: Labels | None, context: StepContext) -> Images:
        """What the generator makes of the latents, their styles changed by the techniques that do so."""
        generator = self.networks.generator
        with self.passes.autocast(context.device):
            if not self._mixes_styles or not isinstance(generator, StyleGenerator):
                images: Images = self._quick_draw(latents, labels)
                return images

            def mapped(others: Latents) -> Styles:
                return generator.map_latents(others, labels)

            styles = mapped(latents)
            for technique in self.techniques:
                styles = technique.transform_styles(styles, mapped, context)
            mixed: Images = self._quick_draw_of_styles(styles)
            return mixed

    def forward(
        self,
        context: StepContext,
        latents: Latents,
        labels: Labels | None,
        real: Images | None,
        fake: Images | DiscriminatorInput,
        twice: bool = False,
    ) -> ForwardOutput:
        """What the discriminator makes of both sides; without `real`, of the fakes alone.

        `fake` are images, or what `show` made of them before. `twice` where the discriminator's gradients by
        the images will be differentiated again.
        """
        generator, discriminator = self.networks.generator, self.networks.discriminator

        def judge(images: Images) -> Logits:
            with self.passes.autocast(context.device):
                logits: Logits = discriminator(images, labels)
                return logits

        def draw(styles: Styles) -> Images:
            assert isinstance(generator, StyleGenerator)  # whoever has styles to draw has them from it
            with self.passes.autocast(context.device):
                return generator.synthesize(styles)

        shown: dict[Kind, DiscriminatorInput] = (
            {} if real is None else {"real": self.prepare(real, context, "real")}
        )
        shown["fake"] = fake if isinstance(fake, DiscriminatorInput) else self.prepare(fake, context, "fake")
        # A compiled pass has a first derivative only.
        look = self._look if twice else self._quick_look
        apart = self.splits_batches or (twice and not self.couples_images)
        together = [[kind] for kind in shown] if apart else [list(shown)]
        found: dict[str, Any] = {}
        for kinds in together:
            embedded = _joined([shown[kind].embedded for kind in kinds])
            both_labels = None if labels is None else torch.cat([labels] * len(kinds))
            with self.passes.autocast(context.device):
                features, logits = look(embedded, both_labels)
            for kind, its_features, its_logits in zip(
                kinds, features.chunk(len(kinds)), logits.chunk(len(kinds)), strict=True
            ):
                found |= {f"{kind}_features": its_features, f"{kind}_logits": its_logits}
                found |= {f"{kind}_seen": shown[kind].seen, f"{kind}_embedded": shown[kind].embedded}
        found |= {"fake": shown["fake"].images, "real": real}
        return ForwardOutput(
            self.networks, context, latents, labels, discriminate=judge, generate=draw, **found
        )

    def reusable_fakes(self, drawn: Images, context: StepContext, whole: bool) -> Images | DiscriminatorInput:
        """What a discriminator's turn keeps of the fakes for the generator's turn that follows.

        These are the images, for a view of its own. Where the discriminator begins with a fixed network, it
        is the view and the network's maps too (if `whole`): what is costly is computed once for both turns.
        """
        return self.prepare(drawn, context, "fake") if whole and self.networks.discriminator.embeds else drawn

    def prepare(self, images: Images, context: StepContext, kind: Kind) -> DiscriminatorInput:
        """The images through every view, and through the discriminator's fixed network where it has one."""
        seen = images
        for technique in self.techniques:
            seen = technique.transform_inputs(seen, context, kind)
        seen = self.passes.with_layout(seen)
        with self.passes.autocast(context.device):
            return DiscriminatorInput(images, seen, self.networks.discriminator.embed(seen))

    def _drawn(self, latents: Latents, labels: Labels | None) -> Images:
        images: Images = self.networks.generator(latents, labels)
        return images

    def _drawn_of_styles(self, styles: Styles) -> Images:
        generator = self.networks.generator
        assert isinstance(generator, StyleGenerator)
        return generator.synthesize(styles)

    def _look(self, embedded: Embedded, labels: Labels | None) -> tuple[Features, Logits]:
        discriminator = self.networks.discriminator
        features = discriminator.features_of(embedded, labels)
        return features, discriminator.logits(features, labels)


def _joined(sides: Sequence[Embedded]) -> Embedded:
    """Both sides in one batch."""
    if len(sides) == 1:
        return sides[0]
    if isinstance(sides[0], torch.Tensor):
        return torch.cat(sides)  # type: ignore[arg-type]
    return tuple(torch.cat(maps) for maps in zip(*sides, strict=True))
