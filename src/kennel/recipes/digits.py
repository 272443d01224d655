"""The demo."""

from kennel.config.recipe import (
    Budget,
    ComponentConfig,
    ImageConfig,
    OptimizerConfig,
    Recipe,
    ValidationConfig,
)
from kennel.recipes.registry import RECIPES


@RECIPES.register("digits")
def digits() -> Recipe:
    """A small DCGAN on scikit-learn's handwritten digits: real data, no download, two minutes on a CPU.

    Networks and optimizer as in `dcgan` (Radford et al. 2015), two levels deep on the 8x8 scans enlarged to
    16x16, with a softened real label and lasting instance noise against a discriminator that learns 1,797
    images by heart (were the noise to fade, FID would rise again towards the end). Judged on plain pixels,
    since no weights have to be fetched for that.

    Data: kennel data prepare digits sets/digits --size 16
    Command: kennel train digits sets/digits --out runs/digits
    Cost: about a minute and a half on 2 CPU cores.
    """
    optimiser = OptimizerConfig(learning_rate=5e-4, betas=(0.5, 0.999))
    return Recipe(
        name="digits",
        paper="networks of Radford et al. 2015, arXiv 1511.06434; data of Alpaydin and Kaynak 1998",
        image=ImageConfig(size=16, channels=1),
        latent_dim=64,
        generator=ComponentConfig(name="dcgan", base_channels=32, activation="leaky_relu"),
        discriminator=ComponentConfig(name="dcgan", base_channels=32, activation="leaky_relu"),
        loss=ComponentConfig(name="bce"),
        techniques=(
            ComponentConfig(name="normal_init"),
            ComponentConfig(name="separate_batches"),
            ComponentConfig(name="one_sided_smoothing", real=0.9),
            ComponentConfig(name="instance_noise", variance=0.2, decay="constant"),
            ComponentConfig(name="ema", half_life_images=5_000),
        ),
        generator_optimizer=optimiser,
        discriminator_optimizer=optimiser,
        batch_size=64,
        budget=Budget(images=240_000),
        num_ticks=12,
        validation=ValidationConfig(metric="fid", extractor="pixels", num_samples=1797),
    )
