"""The first GAN."""

from kennel.config.recipe import Budget, ImageConfig, Recipe
from kennel.recipes.registry import ADAM, RECIPES, component


@RECIPES.register("gan")
def gan() -> Recipe:
    """The GAN of Goodfellow et al. with fully connected networks, on any image set.

    Paper: Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv 1406.2661, with the non-saturating
    loss that the paper recommends (section 3). The paper has maxout, sigmoids and momentum; this recipe has
    LeakyReLU, Tanh, batch norm in the generator and Adam, as most later GANs do, and a smoothed real label
    against overconfidence. Best at 28x28 and below: without convolutions, larger images are blurred and
    speckled.

    Command: kennel train gan sets/mnist --out runs/gan
    Cost: 50 epochs of MNIST take about 20 minutes on 2 CPU cores.
    """
    return Recipe(
        name="gan",
        paper="Goodfellow et al. 2014, Generative Adversarial Nets, arXiv 1406.2661",
        latent_dim=100,
        generator=component("mlp"),
        discriminator=component("mlp"),
        loss=component("bce"),
        techniques=(component("one_sided_smoothing", real=0.9), component("ema")),
        generator_optimizer=ADAM,
        discriminator_optimizer=ADAM,
        batch_size=64,
        budget=Budget(epochs=50),
    )


@RECIPES.register("gan.dogs")
def gan_dogs() -> Recipe:
    """The first GAN on Stanford Dogs at 64x64: a baseline without convolutions.

    Paper: "GAN" in the table of six models for Kaggle's Generative Dog Images, which reports MiFID 136.43 and
    no hyper-parameters; and the "simple GAN with MLP" of the talk "Generate Dog Images with Generative
    Adversarial Networks", with blurred images. Networks, loss and Adam are those of `gan`.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train gan.dogs sets/dogs --out runs/gan.dogs
    Cost: 2.7 million images at 64x64 in color; at the 415 images/s of 2 CPU cores, about 2 hours.
    """
    changes = {
        "name": "gan.dogs",
        "paper": "a comparison of six GANs on Kaggle's Generative Dog Images, Table 1 (MiFID 136.43)",
        "image": ImageConfig(size=64, channels=3),
        "latent_dim": 128,
        "techniques": (
            component("one_sided_smoothing", real=0.9),
            component("horizontal_flip"),
            component("ema"),
        ),
        "budget": Budget(epochs=300),
        "num_ticks": 100,
    }
    return gan().model_copy(update=changes)
