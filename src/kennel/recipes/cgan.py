"""Conditional GANs: the label is fed to both players."""

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, OptimizerConfig, Recipe
from kennel.recipes.registry import RECIPES

ADAM = OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))


@RECIPES.register("cgan")
def cgan() -> Recipe:
    """The conditional GAN of Mirza and Osindero with fully connected networks, on any set with classes.

    Paper: Mirza and Osindero 2014, "Conditional Generative Adversarial Nets", arXiv 1411.1784: generator and
    discriminator are given the label beside their input. Where the paper has maxout, sigmoids, dropout and
    SGD from 0.1, this recipe has the networks and Adam of `gan`, whose conditional twin it is.

    Command: kennel train cgan sets/mnist --out runs/cgan
    Cost: 3 million images at 28x28 in grey; at the 1801 images/s of 2 CPU cores, about 28 minutes.
    """
    return Recipe(
        name="cgan",
        paper="Mirza and Osindero 2014, arXiv 1411.1784",
        num_classes=None,
        latent_dim=100,
        generator=ComponentConfig(name="mlp"),
        discriminator=ComponentConfig(name="mlp"),
        loss=ComponentConfig(name="bce"),
        techniques=(ComponentConfig(name="one_sided_smoothing", real=0.9), ComponentConfig(name="ema")),
        generator_optimizer=ADAM,
        discriminator_optimizer=ADAM,
        batch_size=64,
        budget=Budget(epochs=50),
    )


@RECIPES.register("cgan.dogs")
def cgan_dogs() -> Recipe:
    """A conditional DCGAN on Stanford Dogs at 64x64: the label of the breed is fed to both players.

    Paper: "CGAN" in the table of six models for Kaggle's Generative Dog Images, which reports MiFID 113.79
    for it and gives no hyper-parameters. Here: convolutions, since fully connected networks do not draw 64x64
    dogs; Adam 2e-4 (0.5, 0.999), batches of 64, mirrored images, an average to sample from.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train cgan.dogs sets/dogs --out runs/cgan.dogs
    Cost: 2.7 million images at 64x64 in colour; at the 60 images/s of 2 CPU cores, about 13 hours.
    """
    return Recipe(
        name="cgan.dogs",
        paper="a comparison of six GANs on Kaggle's Generative Dog Images, Table 1 (MiFID 113.79)",
        image=ImageConfig(size=64, channels=3),
        num_classes=None,
        latent_dim=128,
        generator=ComponentConfig(name="dcgan", activation="leaky_relu"),
        discriminator=ComponentConfig(name="dcgan", activation="leaky_relu"),
        loss=ComponentConfig(name="bce"),
        techniques=(
            ComponentConfig(name="normal_init"),
            ComponentConfig(name="separate_batches"),
            ComponentConfig(name="one_sided_smoothing", real=0.9),
            ComponentConfig(name="horizontal_flip"),
            ComponentConfig(name="ema"),
        ),
        generator_optimizer=ADAM,
        discriminator_optimizer=ADAM,
        batch_size=64,
        budget=Budget(epochs=300),
        num_ticks=100,
    )
