"""A kennel plugin that registers a loss, a technique, a network, a recipe and a metric on import.

`pip install ./examples/plugin` makes them available in every `kennel` command. Without installation, use
`kennel --import examples/plugin/kennel_example_plugin.py ...`.
"""

from torch import Tensor, nn

import kennel


@kennel.register_loss("softplus_margin")
class SoftplusMargin(kennel.Loss):
    """The non-saturating loss with a margin for the discriminator's logits."""

    margin: float = 1.0

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor, targets: object) -> Tensor:
        """E[softplus(margin - D(x))] + E[softplus(margin + D(G(z)))]."""
        softplus = nn.functional.softplus
        return softplus(self.margin - real_logits).mean() + softplus(self.margin + fake_logits).mean()

    def generator_loss(self, real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
        """E[softplus(-D(G(z)))]."""
        return nn.functional.softplus(-fake_logits).mean()


@kennel.register_technique("logit_penalty")
class LogitPenalty(kennel.LossTerm):
    """Adds weight * E[D(x)^2 + D(G(z))^2] to the discriminator's loss, which keeps its logits small."""

    weight: float = 1e-3

    def discriminator_term(self, output):
        """Returns the mean square of the logits, without the weight."""
        return output.real_logits.square().mean() + output.fake_logits.square().mean()


class TinyGenerator(nn.Module):
    """Maps latents to images with two linear layers."""

    def __init__(self, spec) -> None:
        super().__init__()
        self.shape = (spec.channels, spec.size, spec.size)
        pixels = spec.channels * spec.size**2
        self.layers = nn.Sequential(
            nn.Linear(spec.latent_dim, 64), nn.ReLU(), nn.Linear(64, pixels), nn.Tanh()
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Maps (batch, latent_dim) to (batch, channels, size, size) in [-1, 1]."""
        return self.layers(latents).unflatten(1, self.shape)


class TinyDiscriminator(nn.Module):
    """Maps images to logits with two linear layers."""

    def __init__(self, spec) -> None:
        super().__init__()
        pixels = spec.channels * spec.size**2
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Maps (batch, channels, size, size) to (batch, 1)."""
        return self.layers(images)


kennel.register_network("tiny", generator=TinyGenerator, discriminator=TinyDiscriminator)


@kennel.register_recipe("tiny")
def tiny() -> kennel.Recipe:
    """The tiny networks with the example's loss and technique, for any packed set."""
    return kennel.Recipe(
        name="tiny",
        latent_dim=16,
        generator={"name": "tiny"},
        discriminator={"name": "tiny"},
        loss={"name": "softplus_margin"},
        techniques=[{"name": "logit_penalty"}, {"name": "ema", "half_life_images": 500}],
        batch_size=16,
        budget={"images": 2_000},
        num_ticks=2,
        validation={"every_ticks": 0},
    )


@kennel.register_metric("mean_shift", "Mean shift", "lower")
def mean_shift(context) -> float:
    """Distance between the mean features of the images and the reference."""
    images, reference = context.images.features, context.reference.features
    return float(((images.mean(0) - reference.mean(0)) ** 2).sum() ** 0.5)
