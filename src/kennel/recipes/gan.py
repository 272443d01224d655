"""The first GAN."""

from kennel.recipe import Budget, Latent, Optimiser, Part, Recipe
from kennel.recipes.registry import RECIPES


@RECIPES.register("gan")
def gan() -> Recipe:
    """The GAN of Goodfellow et al. with fully connected networks, on any image set.

    Paper: Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv 1406.2661. The non-saturating loss is
    the paper's own advice (section 3). Where the paper has maxout, sigmoids and momentum, this recipe has
    LeakyReLU, Tanh, batch norm in the generator and Adam, as nearly all of its successors do; a softened real
    label keeps the discriminator from certainty. Best at 28x28 and below: without convolutions larger
    pictures stay blurred and speckled.

    Command: kennel train gan --data sets/mnist --out runs/gan
    Cost: 50 epochs of MNIST take about 20 minutes on 2 CPU cores.
    """
    optimiser = Optimiser(learning_rate=2e-4, betas=(0.5, 0.999))
    return Recipe(
        name="gan",
        paper="Goodfellow et al. 2014, Generative Adversarial Nets, arXiv 1406.2661",
        latent=Latent(dimension=100),
        generator=Part(name="mlp"),
        discriminator=Part(name="mlp"),
        loss=Part(name="bce"),
        techniques=(Part(name="one_sided_smoothing", real=0.9), Part(name="ema")),
        generator_optimiser=optimiser,
        discriminator_optimiser=optimiser,
        batch=64,
        budget=Budget(epochs=50),
    )
