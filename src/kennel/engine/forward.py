"""Passes the images of a step through the techniques' input transforms and the discriminator."""

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
    """`images` (real or fake), their transformed view (`seen`), and what the trained layers get of it."""

    images: Images
    seen: Images
    embedded: Embedded

    def detached(self) -> "DiscriminatorInput":
        """The same values without gradients."""
        if isinstance(self.embedded, torch.Tensor):
            embedded: Embedded = self.embedded.detach()
        else:
            embedded = tuple(maps.detach() for maps in self.embedded)
        return DiscriminatorInput(self.images.detach(), self.seen.detach(), embedded)


class DiscriminatorForward:
    """Runs the generator and the discriminator of `networks`, with the techniques' transforms.

    Real and fake images pass through the discriminator together, which is faster, unless a technique splits
    the batches or the discriminator compares images. If the gradient with respect to the real or the fake
    images is needed, they pass separately, so that it is computed for those alone; with batch norm, which
    would change the result, they stay together.
    """

    def __init__(self, networks: Networks, techniques: Sequence[Technique], compute: ComputeContext) -> None:
        self.networks = networks
        self.techniques = techniques
        self.compute = compute
        self._compiled_discriminate = compute.compiled(self._discriminate)
        self._compiled_generate = compute.compiled(self._generate)
        self._compiled_synthesize = compute.compiled(self._synthesize)
        self._mixes_styles = any(
            type(one).transform_styles is not Technique.transform_styles for one in techniques
        )
        self.splits_batches = networks.discriminator.compares_images or any(
            technique.splits_batches for technique in techniques
        )
        self.couples_images = any(isinstance(one, _BatchNorm) for one in networks.discriminator.modules())

    def generate(self, latents: Latents, labels: Labels | None, context: StepContext) -> Images:
        """Generates images; techniques may change the styles of a style-based generator."""
        generator = self.networks.generator
        with self.compute.autocast(context.device):
            if not self._mixes_styles or not isinstance(generator, StyleGenerator):
                images: Images = self._compiled_generate(latents, labels)
                return images

            def map_latents(others: Latents) -> Styles:
                return generator.map_latents(others, labels)

            styles = map_latents(latents)
            for technique in self.techniques:
                styles = technique.transform_styles(styles, map_latents, context)
            styled: Images = self._compiled_synthesize(styles)
            return styled

    def forward(
        self,
        context: StepContext,
        latents: Latents,
        labels: Labels | None,
        real: Images | None,
        fake: Images | DiscriminatorInput,
        twice: bool = False,
    ) -> ForwardOutput:
        """The discriminator's outputs for real and fake images, or for fakes alone if `real` is None.

        `fake` are images, or the result of `prepare` for them. Set `twice` if the discriminator's gradients
        with respect to the images are differentiated again.
        """
        generator, discriminator = self.networks.generator, self.networks.discriminator

        def discriminate(images: Images) -> Logits:
            with self.compute.autocast(context.device):
                logits: Logits = discriminator(images, labels)
                return logits

        def generate(styles: Styles) -> Images:
            assert isinstance(generator, StyleGenerator)  # only such a generator has styles
            with self.compute.autocast(context.device):
                return generator.synthesize(styles)

        inputs: dict[Kind, DiscriminatorInput] = (
            {} if real is None else {"real": self.prepare(real, context, "real")}
        )
        inputs["fake"] = fake if isinstance(fake, DiscriminatorInput) else self.prepare(fake, context, "fake")
        # A compiled pass has a first derivative only.
        discriminator_pass = self._discriminate if twice else self._compiled_discriminate
        separate = self.splits_batches or (twice and not self.couples_images)
        batches = [[kind] for kind in inputs] if separate else [list(inputs)]
        found: dict[str, Any] = {}
        for kinds in batches:
            embedded = _concatenated([inputs[kind].embedded for kind in kinds])
            batch_labels = None if labels is None else torch.cat([labels] * len(kinds))
            with self.compute.autocast(context.device):
                all_features, all_logits = discriminator_pass(embedded, batch_labels)
            for kind, features, logits in zip(
                kinds, all_features.chunk(len(kinds)), all_logits.chunk(len(kinds)), strict=True
            ):
                found |= {f"{kind}_features": features, f"{kind}_logits": logits}
                found |= {f"{kind}_seen": inputs[kind].seen, f"{kind}_embedded": inputs[kind].embedded}
        found |= {"fake": inputs["fake"].images, "real": real}
        return ForwardOutput(
            self.networks, context, latents, labels, discriminate=discriminate, generate=generate, **found
        )

    def reusable_fakes(self, fakes: Images, context: StepContext, whole: bool) -> Images | DiscriminatorInput:
        """What a discriminator step keeps of its fakes for the generator step that follows.

        These are the images, which the generator step transforms again. If the discriminator begins with a
        fixed network and `whole` is set, they are that network's maps too, which are costly to compute.
        """
        return self.prepare(fakes, context, "fake") if whole and self.networks.discriminator.embeds else fakes

    def prepare(self, images: Images, context: StepContext, kind: Kind) -> DiscriminatorInput:
        """Applies every input transform, and the discriminator's fixed network if it has one."""
        seen = images
        for technique in self.techniques:
            seen = technique.transform_inputs(seen, context, kind)
        seen = self.compute.with_layout(seen)
        with self.compute.autocast(context.device):
            return DiscriminatorInput(images, seen, self.networks.discriminator.embed(seen))

    def _generate(self, latents: Latents, labels: Labels | None) -> Images:
        images: Images = self.networks.generator(latents, labels)
        return images

    def _synthesize(self, styles: Styles) -> Images:
        generator = self.networks.generator
        assert isinstance(generator, StyleGenerator)
        return generator.synthesize(styles)

    def _discriminate(self, embedded: Embedded, labels: Labels | None) -> tuple[Features, Logits]:
        discriminator = self.networks.discriminator
        features = discriminator.features_of(embedded, labels)
        return features, discriminator.logits(features, labels)


def _concatenated(parts: Sequence[Embedded]) -> Embedded:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(parts)  # type: ignore[arg-type]
    return tuple(torch.cat(maps) for maps in zip(*parts, strict=True))
