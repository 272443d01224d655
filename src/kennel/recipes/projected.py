"""The projected GAN: recognizable pictures from small sets, within minutes."""

from kennel.recipe import Budget, Image, Latent, Optimiser, Part, Recipe, Turns
from kennel.recipes.registry import RECIPES


@RECIPES.register("projected")
def projected() -> Recipe:
    """A GAN for small sets: the discriminator looks through a fixed ImageNet network.

    Paper: Sauer et al. 2021, "Projected GANs Converge Faster", arXiv 2111.01007. Images from 32 to 256 pixels
    (a power of two), grey or colour, from 100 images on, by class where the set has classes.

    Command: kennel train projected --data sets/mine --out runs/projected
    """
    adam = Optimiser(learning_rate=1e-3, betas=(0.0, 0.99))
    return Recipe(
        name="projected",
        paper="Sauer et al. 2021, arXiv 2111.01007",
        latent=Latent(dimension=128),
        generator=Part(name="dcgan", activation="leaky_relu", skip_excitation=True),
        discriminator=Part(name="projected"),
        loss=Part(name="hinge"),
        techniques=(
            Part(name="normal_init"),
            Part(name="spectral_norm"),
            Part(name="separate_batches"),
            Part(name="horizontal_flip"),
            Part(name="diff_augment"),
            Part(name="ema", half_life_images=8_000, ramp_up=0.1),
        ),
        generator_optimiser=adam,
        discriminator_optimiser=adam,
        batch=32,
        turns=Turns(same_fakes=True),
        budget=Budget(images=200_000),
    )
