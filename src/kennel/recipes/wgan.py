"""Wasserstein GANs: a critic held to a Lipschitz constant, by clipping or by a gradient penalty."""

from kennel.config.recipe import (
    Budget,
    ComponentConfig,
    ExtraDiscriminatorSteps,
    ImageConfig,
    OptimizerConfig,
    Recipe,
    StepsConfig,
)
from kennel.recipes.registry import RECIPES

RMSPROP = OptimizerConfig(name="rmsprop", learning_rate=5e-5)
TURNS = StepsConfig(discriminator=5, extra_d_steps=ExtraDiscriminatorSteps(steps=100, first=25, interval=500))


@RECIPES.register("wgan")
def wgan() -> Recipe:
    """WGAN with weight clipping, on any image set.

    Paper: Arjovsky, Chintala and Bottou 2017, "Wasserstein GAN", arXiv 1701.07875, algorithm 1: RMSprop 5e-5,
    the critic's weights clipped to 0.01, five turns of the critic a round, batches of 64, latents of 100,
    DCGAN networks. As in the released code, the critic has 100 turns in the first 25 rounds and in every
    500th.

    Command: kennel train wgan sets/mine --out runs/wgan
    Cost: 5 million images at 64x64 in colour; at the 100 images/s of 2 CPU cores, about 14 hours.
    """
    return Recipe(
        name="wgan",
        paper="Arjovsky et al. 2017, arXiv 1701.07875",
        latent_dim=100,
        generator=ComponentConfig(name="dcgan", activation="relu"),
        discriminator=ComponentConfig(name="dcgan", activation="leaky_relu"),
        loss=ComponentConfig(name="wgan"),
        techniques=(
            ComponentConfig(name="normal_init"),
            ComponentConfig(name="separate_batches"),
            ComponentConfig(name="weight_clipping", limit=0.01),
        ),
        generator_optimizer=RMSPROP,
        discriminator_optimizer=RMSPROP,
        batch_size=64,
        steps=TURNS,
        budget=Budget(images=5_000_000),
    )


@RECIPES.register("wgan.dogs")
def wgan_dogs() -> Recipe:
    """WGAN with weight clipping on Stanford Dogs at 64x64.

    Paper: "WGAN" in the table of six models for Kaggle's Generative Dog Images, which reports MiFID 146.48
    for it and gives no hyper-parameters; those here are of `wgan`, with mirrored images and an average to
    sample from.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train wgan.dogs sets/dogs --out runs/wgan.dogs
    Cost: 6.8 million images at 64x64 in colour; at the 92 images/s of 2 CPU cores, about 21 hours.
    """
    return Recipe(
        name="wgan.dogs",
        paper="a comparison of six GANs on Kaggle's Generative Dog Images, Table 1 (MiFID 146.48)",
        image=ImageConfig(size=64, channels=3),
        latent_dim=100,
        generator=ComponentConfig(name="dcgan", activation="relu"),
        discriminator=ComponentConfig(name="dcgan", activation="leaky_relu"),
        loss=ComponentConfig(name="wgan"),
        techniques=(
            ComponentConfig(name="normal_init"),
            ComponentConfig(name="separate_batches"),
            ComponentConfig(name="weight_clipping", limit=0.01),
            ComponentConfig(name="horizontal_flip"),
            ComponentConfig(name="ema", half_life_images=50_000),
        ),
        generator_optimizer=RMSPROP,
        discriminator_optimizer=RMSPROP,
        batch_size=64,
        steps=TURNS,
        budget=Budget(epochs=750),
        num_ticks=100,
    )


@RECIPES.register("wgan_gp")
def wgan_gp() -> Recipe:
    """WGAN with a gradient penalty, on any image set.

    Paper: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", arXiv 1704.00028: penalty 10, five
    turns of the critic a round, Adam 1e-4 with betas (0, 0.9), batches of 64, latents of 128, batch norm in
    the generator and none in the critic, whose images must be judged one by one. The paper plays 200,000
    rounds at 64x64 (64 million images).

    Command: kennel train wgan_gp sets/mine --out runs/wgan_gp
    Cost: 5 million images at 64x64 in colour; at the 52 images/s of 2 CPU cores, about 27 hours.
    """
    adam = OptimizerConfig(learning_rate=1e-4, betas=(0.0, 0.9))
    return Recipe(
        name="wgan_gp",
        paper="Gulrajani et al. 2017, arXiv 1704.00028",
        latent_dim=128,
        generator=ComponentConfig(name="dcgan", activation="relu"),
        discriminator=ComponentConfig(name="dcgan", activation="leaky_relu", batch_norm=False),
        loss=ComponentConfig(name="wgan"),
        techniques=(
            ComponentConfig(name="gradient_penalty"),
            ComponentConfig(name="ema", half_life_images=50_000),
        ),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        batch_size=64,
        steps=StepsConfig(discriminator=5),
        budget=Budget(images=5_000_000),
    )
