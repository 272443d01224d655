"""The first GAN."""

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, OptimizerConfig, Recipe
from kennel.recipes.registry import RECIPES


@RECIPES.register("gan")
def gan() -> Recipe:
    """The GAN of Goodfellow et al. with fully connected networks, on any image set.

    Paper: Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv 1406.2661. The non-saturating loss is
    the paper's own advice (section 3). Where the paper has maxout, sigmoids and momentum, this recipe has
    LeakyReLU, Tanh, batch norm in the generator and Adam, as nearly all of its successors do; a softened real
    label keeps the discriminator from certainty. Best at 28x28 and below: without convolutions larger
    pictures stay blurred and speckled.

    Command: kennel train gan sets/mnist --out runs/gan
    Cost: 50 epochs of MNIST take about 20 minutes on 2 CPU cores.
    """
    optimiser = OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))
    return Recipe(
        name="gan",
        paper="Goodfellow et al. 2014, Generative Adversarial Nets, arXiv 1406.2661",
        latent_dim=100,
        generator=ComponentConfig(name="mlp"),
        discriminator=ComponentConfig(name="mlp"),
        loss=ComponentConfig(name="bce"),
        techniques=(ComponentConfig(name="one_sided_smoothing", real=0.9), ComponentConfig(name="ema")),
        generator_optimizer=optimiser,
        discriminator_optimizer=optimiser,
        batch_size=64,
        budget=Budget(epochs=50),
    )


@RECIPES.register("gan.dogs")
def gan_dogs() -> Recipe:
    """The first GAN on Stanford Dogs at 64x64: what networks without convolutions make of dogs.

    Paper: "GAN" in the table of six models for Kaggle's Generative Dog Images, which reports MiFID 136.43 for
    it and gives no hyper-parameters; and the "simple GAN with MLP" of the talk "Generate Dog Images with
    Generative Adversarial Networks", whose pictures stay blurred. Networks, loss and Adam are those of `gan`.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train gan.dogs sets/dogs --out runs/gan.dogs
    Cost: 2.7 million images at 64x64 in colour; at the 415 images/s of 2 CPU cores, about 2 hours.
    """
    optimiser = OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))
    return Recipe(
        name="gan.dogs",
        paper="a comparison of six GANs on Kaggle's Generative Dog Images, Table 1 (MiFID 136.43)",
        image=ImageConfig(size=64, channels=3),
        latent_dim=128,
        generator=ComponentConfig(name="mlp"),
        discriminator=ComponentConfig(name="mlp"),
        loss=ComponentConfig(name="bce"),
        techniques=(
            ComponentConfig(name="one_sided_smoothing", real=0.9),
            ComponentConfig(name="horizontal_flip"),
            ComponentConfig(name="ema"),
        ),
        generator_optimizer=optimiser,
        discriminator_optimizer=optimiser,
        batch_size=64,
        budget=Budget(epochs=300),
        num_ticks=100,
    )
