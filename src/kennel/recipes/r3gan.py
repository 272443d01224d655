"""R3GAN: the paper's settings for CIFAR-10 and faces, and small ones for a CPU."""

from typing import Any

from kennel.config.recipe import (
    Budget,
    ComponentConfig,
    ImageConfig,
    OptimizerConfig,
    Recipe,
    ScheduleConfig,
    SecondBeta,
)
from kennel.recipes.registry import RECIPES, component

BURN_IN = 20_000_000
"""The length in images of the authors' schedules on CIFAR-10 and FFHQ; values are constant afterwards."""


def _recipe(
    network: dict[str, Any],
    augmentation: tuple[ComponentConfig, ...],
    average: ComponentConfig,
    *,
    gamma: float,
    learning_rate: float,
    until: float = 1.0,
    **more: Any,
) -> Recipe:
    """The common parts; `network` are the options of both networks.

    Over the share `until` of the run the learning rate falls to a quarter, the second beta grows from 0.9 to
    0.99, and the gamma of R1 and R2 falls to a tenth.
    """
    adam = OptimizerConfig(
        learning_rate=learning_rate,
        betas=(0.0, 0.9),
        second_beta=SecondBeta(final=0.99, until=until),
        schedule=ScheduleConfig(decay="cosine", final_factor=0.25, decay_end=until),
    )
    penalties = [
        component(penalty, weight=gamma, decay="cosine", final=0.1, until=until) for penalty in ("r1", "r2")
    ]
    return Recipe(
        paper="Huang et al. 2024, arXiv 2501.05441",
        latent_dim=64,
        generator=component("modern", **network, pixels="linear"),
        discriminator=component("modern", **network),
        loss=component("relativistic_paired"),
        techniques=(*augmentation, *penalties, average),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        **more,
    )


def _as_published(
    size: int, images: int, gamma: float, augment: float, half_life: int, **more: Any
) -> Recipe:
    """A recipe with the networks and schedules of the authors' training script."""
    until = BURN_IN / images
    network = {
        "base_channels": 768,
        "full_width_side": 32,
        "min_channels": 64,
        "blocks": 2,
        "expansion": 2,
        "group": 16,
    }
    return _recipe(
        network,
        (component("horizontal_flip"), component("ada", fixed=augment, ramp="cosine", until=until)),
        component("ema", half_life_images=half_life, ramp="cosine", until=until, ramp_up=1.0),
        gamma=gamma,
        learning_rate=2e-4,
        until=until,
        image=ImageConfig(size=size, channels=3),
        budget=Budget(images=images),
        num_ticks=500,
        **more,
    )


@RECIPES.register("r3gan.cifar10")
def r3gan_cifar10() -> Recipe:
    """R3GAN in the authors' settings for CIFAR-10 with classes, 21 million parameters per network.

    Paper: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441,
    and its released training script. All schedules are cosines over the first 20 million images: the learning
    rate falls from 2e-4 to 5e-5, beta 2 grows from 0.9 to 0.99, gamma falls from 0.05 to 0.005, the average's
    half-life grows to 5 million images and the augmentation's probability to 0.55. The paper reports FID
    1.96. Here colors are augmented as often as shapes, and there is no cutout.

    Data: kennel data prepare cifar10 sets/cifar10
    Command: kennel train r3gan.cifar10 sets/cifar10 --out runs/r3gan.cifar10
    Cost: 250 million images; the authors' took 4 days on 8 L40 GPUs. Not for a CPU.
    """
    return _as_published(
        name="r3gan.cifar10",
        size=32,
        num_classes=None,
        batch_size=512,
        images=250_000_000,
        gamma=0.05,
        augment=0.55,
        half_life=5_000_000,
    )


@RECIPES.register("r3gan.64")
def r3gan_64() -> Recipe:
    """R3GAN in the authors' settings for faces (FFHQ) at 64x64, 22 million parameters per network.

    Paper: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441,
    and its released training script, with schedules as in `r3gan.cifar10`: gamma falls from 2 to 0.2, the
    average's half-life grows to 500,000 images and the augmentation's probability to 0.3. The paper reports
    FID 1.95. The length is this recipe's choice. It also suits other photographs of 64x64.

    Command: kennel train r3gan.64 sets/faces --out runs/r3gan.64
    Cost: 200 million images at 64x64 in color: days on several GPUs. Not for a CPU.
    """
    return _as_published(
        name="r3gan.64",
        size=64,
        batch_size=256,
        images=200_000_000,
        gamma=2.0,
        augment=0.3,
        half_life=500_000,
    )


@RECIPES.register("r3gan.dogs")
def r3gan_dogs() -> Recipe:
    """A small R3GAN on Stanford Dogs at 64x64: relativistic pairs, R1 and R2, no normalization.

    Paper: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441,
    with schedules over the whole run and gamma as on faces at 64x64. Smaller than in the paper: 128 channels
    (768), one block per stage, batches of 32 (256). The learning rate is 1.2e-3 (2e-4), six times as much for
    a sixth of the channels: an Adam step changes a layer's output by the learning rate times the fan-in.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train r3gan.dogs sets/dogs --out runs/r3gan.dogs
    Cost: 2 million images at 64x64 in color; at the 24 images/s of 2 CPU cores (measured without ADA and the
    average), about a day.
    """
    network = {"base_channels": 128, "full_width_side": 16, "min_channels": 32, "blocks": 1}
    return _recipe(
        network,
        (component("horizontal_flip"), component("ada", fixed=0.3)),
        component("ema", half_life_images=62_500),
        name="r3gan.dogs",
        gamma=2.0,
        learning_rate=1.2e-3,
        image=ImageConfig(size=64, channels=3),
        batch_size=32,
        budget=Budget(images=2_000_000),
        num_ticks=100,
    )


@RECIPES.register("r3gan.mnist")
def r3gan_mnist() -> Recipe:
    """A very small R3GAN on handwritten digits at 32x32, for an hour on a CPU.

    Paper: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441:
    its loss, penalties, layers and schedules, over the whole run. 128 channels at 4x4, halved at each finer
    side down to 16, one block per stage: 178,000 parameters in the generator. Such narrow layers need the
    learning rate of 2e-3; batches of 16 make many steps of few images. No augmentation: mirrored or rotated
    digits are other digits.

    Data: kennel data prepare mnist sets/mnist --size 32
    Command: kennel train r3gan.mnist sets/mnist --out runs/r3gan.mnist
    Cost: 200,000 images at 32x32; at 75 images/s on one CPU core, about 45 minutes. After 94,000 images most
    digits are readable.
    """
    network = {"base_channels": 128, "full_width_side": 4, "min_channels": 16, "blocks": 1}
    return _recipe(
        network,
        (),
        component("ema", half_life_images=2_000),
        name="r3gan.mnist",
        gamma=0.5,
        learning_rate=2e-3,
        image=ImageConfig(size=32, channels=1),
        batch_size=16,
        budget=Budget(images=200_000),
        num_ticks=40,
    )
