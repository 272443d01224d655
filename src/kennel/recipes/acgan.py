"""GANs with an auxiliary classifier."""

from kennel.config.recipe import Budget, Recipe
from kennel.recipes.registry import RECIPES, component, dcgan_recipe


@RECIPES.register("acgan")
def acgan() -> Recipe:
    """ACGAN: the discriminator does not read the class but predicts it, on any set with classes.

    Paper: Odena, Olah and Shlens 2017, "Conditional Image Synthesis With Auxiliary Classifier GANs",
    arXiv 1610.09585, with its optimizer, batch, latent and dropout. The classifier's loss has the same weight
    as the adversarial loss, in both networks.

    Command: kennel train acgan sets/fashion_mnist --out runs/acgan
    Cost: 1 million images at 28x28 in gray; at the 548 images/s of 2 CPU cores, about 30 minutes.
    """
    return dcgan_recipe(
        component("auxiliary_classifier"),
        component("ema"),
        name="acgan",
        paper="Odena et al. 2017, arXiv 1610.09585",
        num_classes=None,
        latent_dim=110,
        discriminator=component("dcgan", activation="leaky_relu", dropout=0.5, conditioning="none"),
        batch_size=100,
        budget=Budget(images=1_000_000),
    )
