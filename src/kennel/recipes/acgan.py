"""Auxiliary classification."""

from kennel.config.recipe import Budget, ComponentConfig, OptimizerConfig, Recipe
from kennel.recipes.registry import RECIPES


@RECIPES.register("acgan")
def acgan() -> Recipe:
    """ACGAN: the discriminator is not told the class but must name it, on any set with classes.

    Paper: Odena, Olah and Shlens 2017, "Conditional Image Synthesis With Auxiliary Classifier GANs",
    arXiv 1610.09585: Adam 2e-4 (0.5, 0.999), batches of 100, latents of 110, dropout of 0.5 in the
    discriminator, the classifier's loss counted as much as the adversarial one, in both players.

    Command: kennel train acgan sets/fashion_mnist --out runs/acgan
    Cost: 1 million images at 28x28 in grey; at the 548 images/s of 2 CPU cores, about 30 minutes.
    """
    adam = OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))
    return Recipe(
        name="acgan",
        paper="Odena et al. 2017, arXiv 1610.09585",
        num_classes=None,
        latent_dim=110,
        generator=ComponentConfig(name="dcgan", activation="relu"),
        discriminator=ComponentConfig(
            name="dcgan", activation="leaky_relu", dropout=0.5, conditioning="none"
        ),
        loss=ComponentConfig(name="bce"),
        techniques=(
            ComponentConfig(name="normal_init"),
            ComponentConfig(name="separate_batches"),
            ComponentConfig(name="auxiliary_classifier"),
            ComponentConfig(name="ema"),
        ),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        batch_size=100,
        budget=Budget(images=1_000_000),
    )
