"""Conditional GANs: both networks get the label as input."""

from kennel.config.recipe import Budget, ImageConfig, Recipe
from kennel.recipes.gan import gan
from kennel.recipes.registry import RECIPES, component, dcgan_recipe


@RECIPES.register("cgan")
def cgan() -> Recipe:
    """The conditional GAN of Mirza and Osindero with fully connected networks, on any set with classes.

    Paper: Mirza and Osindero 2014, "Conditional Generative Adversarial Nets", arXiv 1411.1784. The paper has
    maxout, sigmoids, dropout and SGD from 0.1; this recipe has the networks and the Adam of `gan`.

    Command: kennel train cgan sets/mnist --out runs/cgan
    Cost: 3 million images at 28x28 in gray; at the 1801 images/s of 2 CPU cores, about 28 minutes.
    """
    changes = {"name": "cgan", "paper": "Mirza and Osindero 2014, arXiv 1411.1784", "num_classes": None}
    return gan().model_copy(update=changes)


@RECIPES.register("cgan.dogs")
def cgan_dogs() -> Recipe:
    """A conditional DCGAN on Stanford Dogs at 64x64: both networks get the label of the breed.

    Paper: "CGAN" in the table of six models for Kaggle's Generative Dog Images, which reports MiFID 113.79
    and no hyper-parameters. Here: DCGAN's, as fully connected networks do not draw 64x64 dogs.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train cgan.dogs sets/dogs --out runs/cgan.dogs
    Cost: 2.7 million images at 64x64 in color; at the 60 images/s of 2 CPU cores, about 13 hours.
    """
    return dcgan_recipe(
        component("one_sided_smoothing", real=0.9),
        component("horizontal_flip"),
        component("ema"),
        name="cgan.dogs",
        paper="a comparison of six GANs on Kaggle's Generative Dog Images, Table 1 (MiFID 113.79)",
        image=ImageConfig(size=64, channels=3),
        num_classes=None,
        latent_dim=128,
        generator=component("dcgan", activation="leaky_relu"),
        batch_size=64,
        budget=Budget(epochs=300),
        num_ticks=100,
    )
