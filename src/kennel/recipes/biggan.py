"""BigGAN as published, in the settings of a student report, and for the dog competition."""

from kennel.config.recipe import Budget, ImageConfig, OptimizerConfig, Recipe, SamplingConfig, StepsConfig
from kennel.recipes.registry import RECIPES, component


@RECIPES.register("biggan")
def biggan() -> Recipe:
    """The BigGAN of Iyengar, Pandey and Mehta: 128x128, 64 channels, batches of 64.

    Paper: Iyengar, Pandey and Mehta, "Exploring Generative Adversarial Networks: Improving training
    techniques", sections 2.1 and 3.1, after Brock et al. 2019; PyTorch's default initialization; 200,000
    iterations (12.8 million images), ten days on four K80s. Their data: LSUN church_outdoor and bridge, and
    100 classes of ImageNet. They sample with truncated latents (`kennel sample --truncation`).

    Data: kennel data prepare lsun sets/lsun --from FOLDER --category church_outdoor,bridge --size 128
    Command: kennel train biggan sets/lsun --out runs/biggan
    Cost: 12.8 million images at 128x128 in color; at the 0.9 images/s of 2 CPU cores (measured with batches
    of 8), about 167 days.
    """
    return Recipe(
        name="biggan",
        paper="Iyengar, Pandey and Mehta, Exploring Generative Adversarial Networks, after Brock et al. 2019",
        image=ImageConfig(size=128, channels=3),
        num_classes=None,
        latent_dim=120,
        generator=component("biggan", base_channels=64),
        discriminator=component("biggan", base_channels=64),
        loss=component("hinge"),
        techniques=(component("spectral_norm", networks="both", exempt=["attention"]),),
        generator_optimizer=OptimizerConfig(learning_rate=1e-4, betas=(0.0, 0.999)),
        discriminator_optimizer=OptimizerConfig(learning_rate=4e-4, betas=(0.0, 0.999)),
        batch_size=64,
        budget=Budget(images=12_800_000),
        sampling=SamplingConfig(standing_stats_batches=16),
    )


@RECIPES.register("biggan.original")
def biggan_original() -> Recipe:
    """BigGAN as published by Brock, Donahue and Simonyan for ImageNet at 128x128.

    Paper: Brock et al. 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis",
    arXiv 1809.11096. The average's decay is 0.9999 per iteration (a half-life of 6,931 iterations: 28.4
    million images). With 158 million parameters it needs many accelerators; use it as a starting point and
    for comparison.

    Data: kennel data prepare imagenet sets/imagenet --from FOLDER --size 128
    Command: kennel train biggan.original sets/imagenet --out runs/biggan.original
    Cost: 614.4 million images at 128x128 in color; at the 0.4 images/s of 2 CPU cores (measured with batches
    of 8), about 50 years.
    """
    return Recipe(
        name="biggan.original",
        paper="Brock et al. 2019, arXiv 1809.11096",
        image=ImageConfig(size=128, channels=3),
        num_classes=None,
        latent_dim=120,
        generator=component("biggan", base_channels=96, epsilon=1e-4),
        discriminator=component("biggan", base_channels=96),
        loss=component("hinge"),
        techniques=(
            component("orthogonal_init"),
            component("spectral_norm", networks="both"),
            component("orthogonal_regularisation", form="off_diagonal", weight=1e-4),
            component("ema", half_life_images=28_400_000, ramp_up=1.0),
        ),
        generator_optimizer=OptimizerConfig(learning_rate=5e-5, betas=(0.0, 0.999)),
        discriminator_optimizer=OptimizerConfig(learning_rate=2e-4, betas=(0.0, 0.999)),
        batch_size=2048,
        steps=StepsConfig(discriminator=2),
        budget=Budget(images=614_400_000),
        num_ticks=150,
        sampling=SamplingConfig(standing_stats_batches=100),
    )


@RECIPES.register("biggan.dogs")
def biggan_dogs() -> Recipe:
    """BigGAN on Stanford Dogs at 64x64, after the best entries of the Generative Dog Images competition.

    Paper: "BigGAN" in the table of six models for Kaggle's Generative Dog Images, which reports MiFID 82.30,
    the best of its six, and no hyper-parameters. These are the competition winner's, as reported, with
    attention at 32x32, crops to the boxes without extreme shapes, and samples truncated at 0.8. The widths
    are from another of the best entries. Spectral normalization, orthogonal initialization and breeds as
    classes are assumptions: they are part of BigGAN.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.2:4 --size 64
    Command: kennel train biggan.dogs sets/dogs --out runs/biggan.dogs
    Cost: 2.7 million images at 64x64 in color; at the 4.9 images/s of 2 CPU cores (measured with batches of
    8), about 6 days.
    """
    adam = OptimizerConfig(learning_rate=3e-4, betas=(0.0, 0.999))
    return Recipe(
        name="biggan.dogs",
        paper="the winning entry of Kaggle's Generative Dog Images 2019, after Brock et al. 2019",
        image=ImageConfig(size=64, channels=3),
        num_classes=None,
        latent_dim=120,
        generator=component("biggan", base_channels=32, activation="leaky_relu"),
        discriminator=component("biggan", base_channels=64, activation="leaky_relu"),
        loss=component("bce"),
        techniques=(
            component("orthogonal_init"),
            component("spectral_norm", networks="both"),
            component("one_sided_smoothing", real=0.9),
            component("horizontal_flip"),
        ),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        batch_size=32,
        budget=Budget(epochs=130),
        num_ticks=65,
        sampling=SamplingConfig(standing_stats_batches=16),
    )
