"""StyleGAN2 with adaptive discriminator augmentation, for small sets of pictures."""

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, OptimizerConfig, Recipe, StepsConfig
from kennel.recipes.registry import RECIPES

LAZY_R1, LAZY_PATH_LENGTH = 16, 4
"""On every so-manieth turn of its player a penalty is computed."""


def lazy(every: int, learning_rate: float = 0.0025) -> OptimizerConfig:
    """Adam (0, 0.99) for a player with a penalty on every `every`-th turn (Karras et al. 2020, appendix B).

    There the penalty has a step of its own, after every `every` others: with c = every / (every + 1), so that
    as much happens in the same number of images, the learning rate is c times the usual and each beta is
    raised to the power c. Here one step sees both, and the numbers are kept.
    """
    c = every / (every + 1)
    return OptimizerConfig(learning_rate=learning_rate * c, betas=(0.0, 0.99**c))


@RECIPES.register("stylegan2.dogs")
def stylegan2_dogs() -> Recipe:
    """A small StyleGAN2 with ADA on Stanford Dogs at 64x64, for two CPU cores.

    Paper: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data",
    arXiv 2006.06676, over Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN",
    arXiv 1912.04958: the non-saturating loss, R1 on every 16th turn and path length on every 4th, mixed
    styles, ADA towards r = 0.6, mirrored images, Adam 0.0025 (0, 0.99) corrected for lazy penalties, an
    average with a half-life of 10,000 images. Gamma follows the released code's rule, 0.0002 side^2 / batch;
    two mapping layers, batches of 32 and groups of 4 are what that rule ("auto") gives at 64x64.
    Smaller than theirs: 32 channels at the finest side and 128 at most, in place of 256 and 512, latents and
    styles of 128 in place of 512. Both players see the same fakes in a round, which saves one drawing.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train stylegan2.dogs sets/dogs --out runs/stylegan2.dogs
    Cost: 2 million images at 64x64 in colour; at 29 images/s a CPU core (measured on one, in
    bfloat16), about 10 hours on two.
    """
    return Recipe(
        name="stylegan2.dogs",
        paper="Karras et al. 2020, arXiv 2006.06676",
        image=ImageConfig(size=64, channels=3),
        latent_dim=128,
        generator=ComponentConfig(
            name="stylegan2", channel_base=2048, channel_max=128, mapping_layers=2, style=128
        ),
        discriminator=ComponentConfig(name="stylegan2", channel_base=2048, channel_max=128),
        loss=ComponentConfig(name="bce"),
        techniques=(
            ComponentConfig(name="horizontal_flip"),
            ComponentConfig(name="style_mixing"),
            ComponentConfig(name="ada"),
            ComponentConfig(name="r1", weight=0.0256, interval=LAZY_R1),
            ComponentConfig(name="path_length", interval=LAZY_PATH_LENGTH),
            ComponentConfig(name="ema", half_life_images=10_000),
        ),
        generator_optimizer=lazy(LAZY_PATH_LENGTH),
        discriminator_optimizer=lazy(LAZY_R1),
        batch_size=32,
        steps=StepsConfig(reuse_fakes=True),
        budget=Budget(images=2_000_000),
        num_ticks=100,
    )


@RECIPES.register("stylegan2.original")
def stylegan2_original() -> Recipe:
    """StyleGAN2 with ADA at the authors' size, for square images of 64, 128 or 256 pixels.

    Paper: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data",
    arXiv 2006.06676; the released code's "paper256": networks of 16384 / side channels, 512 at most, latents
    and styles of 512, 8 mapping layers, batches of 64, groups of 8, Adam 0.0025 (0, 0.99) corrected for lazy
    penalties, gamma 1, an average with a half-life of 20,000 images from the start, 25 million images. It is
    for 256x256; at 128 and 64 pixels the same layers are left out at the fine end.

    Command: kennel train stylegan2.original sets/mine --out runs/stylegan2.original
    Cost: 25 million images; for GPUs. A player's networks have 24.8 and 24.0 million parameters at 256x256.
    """
    return Recipe(
        name="stylegan2.original",
        paper="Karras et al. 2020, arXiv 2006.06676",
        latent_dim=512,
        generator=ComponentConfig(name="stylegan2"),
        discriminator=ComponentConfig(name="stylegan2", group=8),
        loss=ComponentConfig(name="bce"),
        techniques=(
            ComponentConfig(name="horizontal_flip"),
            ComponentConfig(name="style_mixing"),
            ComponentConfig(name="ada"),
            ComponentConfig(name="r1", weight=1.0, interval=LAZY_R1),
            ComponentConfig(name="path_length", interval=LAZY_PATH_LENGTH),
            ComponentConfig(name="ema", half_life_images=20_000, ramp_up=1.0),
        ),
        generator_optimizer=lazy(LAZY_PATH_LENGTH),
        discriminator_optimizer=lazy(LAZY_R1),
        batch_size=64,
        budget=Budget(images=25_000_000),
        num_ticks=250,
    )
