"""The regularised relativistic GAN with a small modern network."""

from kennel.recipe import Budget, Image, Latent, Optimiser, Part, Recipe, Schedule
from kennel.recipes.registry import RECIPES


@RECIPES.register("r3gan.dogs")
def r3gan_dogs() -> Recipe:
    """A small R3GAN on Stanford Dogs at 64x64: relativistic pairs, R1 and R2, no normalisation.

    Paper: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", arXiv 2501.05441:
    the paired relativistic loss, R1 and R2 in every turn with a gamma that falls to a tenth along a cosine
    (from 1 on ImageNet at 64x64), Adam with beta 0, a learning rate that falls from 2e-4 to 5e-5, latents of
    64, an average to sample from, growing augmentation. Smaller than the paper's: 128 channels in place of
    768 to 1,536, one block a stage, batches of 32 in place of 256, beta 2 fixed at 0.99 in place of growing
    to it.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train r3gan.dogs --data sets/dogs --out runs/r3gan.dogs
    Cost: 2 million images at 64x64 in colour; at the 24 images/s of 2 CPU cores (measured without ADA and the
    average), about a day.
    """
    adam = Optimiser(learning_rate=2e-4, betas=(0.0, 0.99), schedule=Schedule(decay="cosine", final=0.25))
    return Recipe(
        name="r3gan.dogs",
        paper="Huang et al. 2024, arXiv 2501.05441",
        image=Image(size=64, channels=3),
        latent=Latent(dimension=64),
        generator=Part(name="modern", width=128, widest_side=16, narrowest=32, blocks=1),
        discriminator=Part(name="modern", width=128, widest_side=16, narrowest=32, blocks=1),
        loss=Part(name="relativistic_paired"),
        techniques=(
            Part(name="horizontal_flip"),
            Part(name="ada", fixed=0.3),
            Part(name="r1", weight=1.0, decay="cosine", final=0.1),
            Part(name="r2", weight=1.0, decay="cosine", final=0.1),
            Part(name="ema", half_life_images=62_500),
        ),
        generator_optimiser=adam,
        discriminator_optimiser=adam,
        batch=32,
        budget=Budget(images=2_000_000),
        ticks=100,
    )
