"""Least squares, absolute and relativistic."""

from kennel.config.recipe import Budget, ImageConfig, OptimizerConfig, Recipe, ScheduleConfig
from kennel.recipes.registry import RECIPES, component, dcgan_recipe


@RECIPES.register("lsgan")
def lsgan() -> Recipe:
    """A DCGAN with the least-squares loss, on any image set.

    Paper: Mao et al. 2017, "Least Squares Generative Adversarial Networks", arXiv 1611.04076, with its second
    coding: 0 for fakes, 1 for real images, 1 as the generator's target. The other coding is
    `--set loss.a=-1 --set loss.c=0`. The paper has learning rates of 1e-3 (scenes) and 2e-4 (characters), and
    DCGAN's networks at 112x112.

    Command: kennel train lsgan sets/mine --out runs/lsgan
    Cost: 1 million images at 64x64 in color; at the 60 images/s of 2 CPU cores, about 5 hours.
    """
    return dcgan_recipe(
        component("ema"),
        name="lsgan",
        paper="Mao et al. 2017, arXiv 1611.04076",
        latent_dim=128,
        loss=component("lsgan", a=0, b=1, c=1),
        batch_size=64,
        budget=Budget(images=1_000_000),
    )


@RECIPES.register("ralsgan")
def ralsgan() -> Recipe:
    """A DCGAN with the relativistic average least-squares loss, on any image set.

    Paper: Jolicoeur-Martineau 2018, "The relativistic discriminator: a key element missing from standard
    GAN", arXiv 1807.00734, with the settings of its CIFAR-10 runs of 100,000 iterations (3.2 million images).

    Command: kennel train ralsgan sets/mine --out runs/ralsgan
    Cost: 3.2 million images at 64x64 in color; at the 50 images/s of 2 CPU cores, about 18 hours.
    """
    return dcgan_recipe(
        name="ralsgan",
        paper="Jolicoeur-Martineau 2018, arXiv 1807.00734",
        latent_dim=128,
        discriminator=component("dcgan", activation="leaky_relu", batch_norm=False),
        loss=component("ralsgan"),
        techniques=(component("normal_init"), component("spectral_norm"), component("ema")),
        batch_size=32,
        budget=Budget(images=3_200_000),
    )


@RECIPES.register("ralsgan.dogs")
def ralsgan_dogs() -> Recipe:
    """The RaLSGAN of the Generative Dog Images competition's public notebooks, at 64x64.

    Paper: "RaLSGAN" in the table of six models for Kaggle's Generative Dog Images, which reports MiFID 143.65
    and no hyper-parameters; here they are those that the competition's notebooks of that name share. The
    notebooks' label of 0.95 for real images does not apply to this loss.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train ralsgan.dogs sets/dogs --out runs/ralsgan.dogs
    Cost: 2.7 million images at 64x64 in color; at the 30 images/s of 2 CPU cores, about 25 hours.
    """
    schedule = ScheduleConfig(decay="cosine", final_factor=0.2, warmup=0.02, warmup_factor=0.02)
    return dcgan_recipe(
        component("horizontal_flip"),
        component("ema"),
        optimizer=OptimizerConfig(learning_rate=5e-4, betas=(0.5, 0.999), schedule=schedule),
        name="ralsgan.dogs",
        paper="a comparison of six GANs on Kaggle's Generative Dog Images, Table 1 (MiFID 143.65)",
        image=ImageConfig(size=64, channels=3),
        latent_dim=256,
        generator=component("dcgan", base_channels=128, max_multiplier=8, activation="relu"),
        discriminator=component("dcgan", base_channels=64, max_multiplier=8, activation="leaky_relu"),
        loss=component("ralsgan"),
        batch_size=32,
        budget=Budget(epochs=300),
        num_ticks=100,
    )
