"""Wasserstein GANs: a critic with a Lipschitz bound by clipping or by a gradient penalty."""

from kennel.config.recipe import (
    Budget,
    ExtraDiscriminatorSteps,
    ImageConfig,
    OptimizerConfig,
    Recipe,
    StepsConfig,
)
from kennel.recipes.registry import RECIPES, component, dcgan_recipe


@RECIPES.register("wgan")
def wgan() -> Recipe:
    """WGAN with weight clipping, on any image set.

    Paper: Arjovsky, Chintala and Bottou 2017, "Wasserstein GAN", arXiv 1701.07875, algorithm 1. As in the
    released code, the critic has 100 steps in each of the first 25 iterations and in every 500th, and five in
    the others.

    Command: kennel train wgan sets/mine --out runs/wgan
    Cost: 5 million images at 64x64 in color; at the 100 images/s of 2 CPU cores, about 14 hours.
    """
    extra = ExtraDiscriminatorSteps(steps=100, first=25, interval=500)
    return dcgan_recipe(
        component("weight_clipping", limit=0.01),
        optimizer=OptimizerConfig(name="rmsprop", learning_rate=5e-5),
        name="wgan",
        paper="Arjovsky et al. 2017, arXiv 1701.07875",
        latent_dim=100,
        loss=component("wgan"),
        batch_size=64,
        steps=StepsConfig(discriminator=5, extra_d_steps=extra),
        budget=Budget(images=5_000_000),
    )


@RECIPES.register("wgan.dogs")
def wgan_dogs() -> Recipe:
    """WGAN with weight clipping on Stanford Dogs at 64x64.

    Paper: "WGAN" in the table of six models for Kaggle's Generative Dog Images, which reports MiFID 146.48
    and no hyper-parameters; here they are those of `wgan`, with mirrored images and an average to sample
    from.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train wgan.dogs sets/dogs --out runs/wgan.dogs
    Cost: 6.8 million images at 64x64 in color; at the 92 images/s of 2 CPU cores, about 21 hours.
    """
    base = wgan()
    more = (component("horizontal_flip"), component("ema", half_life_images=50_000))
    changes = {
        "name": "wgan.dogs",
        "paper": "a comparison of six GANs on Kaggle's Generative Dog Images, Table 1 (MiFID 146.48)",
        "image": ImageConfig(size=64, channels=3),
        "techniques": (*base.techniques, *more),
        "budget": Budget(epochs=750),
        "num_ticks": 100,
    }
    return base.model_copy(update=changes)


@RECIPES.register("wgan_gp")
def wgan_gp() -> Recipe:
    """WGAN with a gradient penalty, on any image set.

    Paper: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", arXiv 1704.00028. The critic has no
    batch norm, as the penalty is defined per image. The paper trains for 200,000 iterations at 64x64 (64
    million images).

    Command: kennel train wgan_gp sets/mine --out runs/wgan_gp
    Cost: 5 million images at 64x64 in color; at the 52 images/s of 2 CPU cores, about 27 hours.
    """
    return dcgan_recipe(
        optimizer=OptimizerConfig(learning_rate=1e-4, betas=(0.0, 0.9)),
        name="wgan_gp",
        paper="Gulrajani et al. 2017, arXiv 1704.00028",
        latent_dim=128,
        discriminator=component("dcgan", activation="leaky_relu", batch_norm=False),
        loss=component("wgan"),
        techniques=(component("gradient_penalty"), component("ema", half_life_images=50_000)),
        batch_size=64,
        steps=StepsConfig(discriminator=5),
        budget=Budget(images=5_000_000),
    )
