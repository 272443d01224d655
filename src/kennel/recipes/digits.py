"""The demo."""

from kennel.config.recipe import Budget, ImageConfig, OptimizerConfig, Recipe, ValidationConfig
from kennel.recipes.registry import RECIPES, component, dcgan_recipe


@RECIPES.register("digits")
def digits() -> Recipe:
    """A small DCGAN on scikit-learn's handwritten digits: no download, two minutes on a CPU.

    `dcgan` (Radford et al. 2015) with two levels, on the 8x8 scans enlarged to 16x16. A smoothed real label
    and constant instance noise keep the discriminator from memorizing the 1,797 images (with decaying noise,
    FID rises again towards the end). Evaluated on raw pixels, which needs no downloaded weights.

    Data: kennel data prepare digits sets/digits --size 16
    Command: kennel train digits sets/digits --out runs/digits
    Cost: about a minute and a half on 2 CPU cores.
    """
    network = component("dcgan", base_channels=32, activation="leaky_relu")
    return dcgan_recipe(
        component("one_sided_smoothing", real=0.9),
        component("instance_noise", variance=0.2, decay="constant"),
        component("ema", half_life_images=5_000),
        optimizer=OptimizerConfig(learning_rate=5e-4, betas=(0.5, 0.999)),
        name="digits",
        paper="networks of Radford et al. 2015, arXiv 1511.06434; data of Alpaydin and Kaynak 1998",
        image=ImageConfig(size=16, channels=1),
        latent_dim=64,
        generator=network,
        discriminator=network,
        batch_size=64,
        budget=Budget(images=240_000),
        num_ticks=12,
        validation=ValidationConfig(metric="fid", extractor="pixels", num_samples=1797),
    )
