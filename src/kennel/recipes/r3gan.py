"""The regularized relativistic GAN: the paper's settings for CIFAR-10 and faces, and small ones for a CPU."""

from kennel.config.recipe import (
    Budget,
    ComponentConfig,
    ImageConfig,
    OptimizerConfig,
    Recipe,
    ScheduleConfig,
    SecondBeta,
)
from kennel.recipes.registry import RECIPES

PAPER = "Huang et al. 2024, arXiv 2501.05441"
BURN_IN = 20_000_000
"""Images over which the authors' schedules run on CIFAR-10 and FFHQ; then all stays as it is."""


def _adam(learning_rate: float, until: float = 1.0) -> OptimizerConfig:
    """Adam without momentum; the rate falls to a quarter while the second beta grows from 0.9 to 0.99."""
    return OptimizerConfig(
        learning_rate=learning_rate,
        betas=(0.0, 0.9),
        second_beta=SecondBeta(final=0.99, until=until),
        schedule=ScheduleConfig(decay="cosine", final_factor=0.25, decay_end=until),
    )


def _penalties(gamma: float, until: float = 1.0) -> tuple[ComponentConfig, ComponentConfig]:
    """R1 and R2, whose gamma falls to a tenth."""
    r1, r2 = (
        ComponentConfig(name=name, weight=gamma, decay="cosine", final=0.1, until=until)
        for name in ("r1", "r2")
    )
    return r1, r2


def _as_published(
    name: str, size: int, classes: int | None, batch: int, images: int, gamma: float, augment: float, ema: int
) -> Recipe:
    """A recipe with the networks and schedules of the authors' training script."""
    until = BURN_IN / images
    network = ComponentConfig(
        name="modern", base_channels=768, full_width_side=32, min_channels=64, blocks=2, expansion=2, group=16
    )
    return Recipe(
        name=name,
        paper=PAPER,
        image=ImageConfig(size=size, channels=3),
        num_classes=classes,
        latent_dim=64,
        generator=ComponentConfig(name="modern", **network.options, pixels="linear"),
        discriminator=network,
        loss=ComponentConfig(name="relativistic_paired"),
        techniques=(
            ComponentConfig(name="horizontal_flip"),
            ComponentConfig(name="ada", fixed=augment, ramp="cosine", until=until),
            *_penalties(gamma, until),
            ComponentConfig(name="ema", half_life_images=ema, ramp="cosine", until=until, ramp_up=1.0),
        ),
        generator_optimizer=_adam(2e-4, until),
        discriminator_optimizer=_adam(2e-4, until),
        batch_size=batch,
        budget=Budget(images=images),
        num_ticks=500,
    )


@RECIPES.register("r3gan.cifar10")
def r3gan_cifar10() -> Recipe:
    """R3GAN in the authors' settings for CIFAR-10 with classes, 21 million parameters a player.

    Paper: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441,
    and its released training script: batches of 512; over the first 20 million images and along a cosine the
    rate falls from 2e-4 to 5e-5, beta 2 grows from 0.9 to 0.99, gamma falls from 0.05 to 0.005, the
    average's half-life grows to 5 million images and the augmentation's probability to 0.55. The paper
    reports FID 1.96. Here colors are augmented as often as shapes, and nothing is cut out.

    Data: kennel data prepare cifar10 sets/cifar10
    Command: kennel train r3gan.cifar10 sets/cifar10 --out runs/r3gan.cifar10
    Cost: 250 million images; the authors' took 4 days on 8 L40 GPUs. Nothing for a CPU.
    """
    return _as_published("r3gan.cifar10", 32, None, 512, 250_000_000, gamma=0.05, augment=0.55, ema=5_000_000)


@RECIPES.register("r3gan.64")
def r3gan_64() -> Recipe:
    """R3GAN in the authors' settings for faces (FFHQ) at 64x64, 22 million parameters a player.

    Paper: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441,
    and its released training script: batches of 256; over the first 20 million images and along a cosine the
    rate falls from 2e-4 to 5e-5, beta 2 grows from 0.9 to 0.99, gamma falls from 2 to 0.2, the average's
    half-life grows to 500,000 images and the augmentation's probability to 0.3. The paper reports FID 1.95.
    The length is this recipe's. Other photographs of 64x64 are trained in the same way.

    Command: kennel train r3gan.64 sets/faces --out runs/r3gan.64
    Cost: 200 million images at 64x64 in color: days on several GPUs. Nothing for a CPU.
    """
    return _as_published("r3gan.64", 64, 0, 256, 200_000_000, gamma=2.0, augment=0.3, ema=500_000)


@RECIPES.register("r3gan.dogs")
def r3gan_dogs() -> Recipe:
    """A small R3GAN on Stanford Dogs at 64x64: relativistic pairs, R1 and R2, no normalization.

    Paper: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441:
    the paired relativistic loss, R1 and R2 in every turn with a gamma that falls from 2 to 0.2 as on faces at
    64x64, Adam with beta 0 and a second beta that grows from 0.9 to 0.99, a rate that falls to a quarter,
    latents of 64, an average to sample from, growing augmentation. Smaller than the paper's: 128 channels in
    place of 768, one block a stage, batches of 32 in place of 256. The rate is 1.2e-3 in place of 2e-4, six
    times as much for a sixth of the channels: a step of Adam moves a layer's output by the rate times the
    fan-in.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train r3gan.dogs sets/dogs --out runs/r3gan.dogs
    Cost: 2 million images at 64x64 in color; at the 24 images/s of 2 CPU cores (measured without ADA and the
    average), about a day.
    """
    network = ComponentConfig(name="modern", base_channels=128, full_width_side=16, min_channels=32, blocks=1)
    return Recipe(
        name="r3gan.dogs",
        paper=PAPER,
        image=ImageConfig(size=64, channels=3),
        latent_dim=64,
        generator=ComponentConfig(name="modern", **network.options, pixels="linear"),
        discriminator=network,
        loss=ComponentConfig(name="relativistic_paired"),
        techniques=(
            ComponentConfig(name="horizontal_flip"),
            ComponentConfig(name="ada", fixed=0.3),
            *_penalties(2.0),
            ComponentConfig(name="ema", half_life_images=62_500),
        ),
        generator_optimizer=_adam(1.2e-3),
        discriminator_optimizer=_adam(1.2e-3),
        batch_size=32,
        budget=Budget(images=2_000_000),
        num_ticks=100,
    )


@RECIPES.register("r3gan.mnist")
def r3gan_mnist() -> Recipe:
    """A very small R3GAN on handwritten digits at 32x32, for an hour of a CPU.

    Paper: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441:
    its loss, penalties, layers and schedules, stretched over the whole run. 128 channels at 4x4 and half at
    each finer side down to 16, one block a stage: 178,000 parameters in the generator. The rate is 2e-3, as
    so narrow layers need it, and batches of 16 make many steps of few images. No augmentation: mirrored or
    turned digits are others.

    Data: kennel data prepare mnist sets/mnist --size 32
    Command: kennel train r3gan.mnist sets/mnist --out runs/r3gan.mnist
    Cost: 200,000 images at 32x32; at 75 images/s of one CPU core, about 45 minutes. After 94,000 images most
    digits can be read.
    """
    network = ComponentConfig(name="modern", base_channels=128, full_width_side=4, min_channels=16, blocks=1)
    return Recipe(
        name="r3gan.mnist",
        paper=PAPER,
        image=ImageConfig(size=32, channels=1),
        latent_dim=64,
        generator=ComponentConfig(name="modern", **network.options, pixels="linear"),
        discriminator=network,
        loss=ComponentConfig(name="relativistic_paired"),
        techniques=(*_penalties(0.5), ComponentConfig(name="ema", half_life_images=2_000)),
        generator_optimizer=_adam(2e-3),
        discriminator_optimizer=_adam(2e-3),
        batch_size=16,
        budget=Budget(images=200_000),
        num_ticks=40,
    )
