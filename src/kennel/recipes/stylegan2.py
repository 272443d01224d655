"""StyleGAN2 with adaptive discriminator augmentation, for small sets."""

from kennel.config.recipe import Budget, ImageConfig, OptimizerConfig, Recipe, StepsConfig
from kennel.recipes.registry import RECIPES, component

LAZY_R1, LAZY_PATH_LENGTH = 16, 4
"""A penalty is computed in every n-th step of its network."""


def lazy_adam(interval: int) -> OptimizerConfig:
    """Adam 0.0025 (0, 0.99) for a network with a penalty in every n-th step (Karras et al. 2020, appendix B).

    The authors add a step for the penalty after every `interval` other steps. To keep the progress per image,
    they multiply the learning rate by c = interval / (interval + 1) and raise the betas to the power of c.
    Here the penalty is part of one of the steps; the numbers are the same.
    """
    c = interval / (interval + 1)
    return OptimizerConfig(learning_rate=0.0025 * c, betas=(0.0, 0.99**c))


@RECIPES.register("stylegan2.dogs")
def stylegan2_dogs() -> Recipe:
    """A small StyleGAN2 with ADA on Stanford Dogs at 64x64, for two CPU cores.

    Paper: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data",
    arXiv 2006.06676, and Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN",
    arXiv 1912.04958. Gamma follows the released code's rule, 0.0002 side^2 / batch; two mapping layers,
    batches of 32 and groups of 4 are what that rule ("auto") gives at 64x64. Smaller than in the paper: 32
    channels at the finest side and 128 at most (256 and 512), latents and styles of 128 (512). Both networks
    use the same fakes in an iteration, which saves one forward pass of the generator.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train stylegan2.dogs sets/dogs --out runs/stylegan2.dogs
    Cost: 2 million images at 64x64 in color; at 29 images/s per CPU core (measured on one, in
    bfloat16), about 10 hours on two.
    """
    return Recipe(
        name="stylegan2.dogs",
        paper="Karras et al. 2020, arXiv 2006.06676",
        image=ImageConfig(size=64, channels=3),
        latent_dim=128,
        generator=component("stylegan2", channel_base=2048, channel_max=128, mapping_layers=2, style=128),
        discriminator=component("stylegan2", channel_base=2048, channel_max=128),
        loss=component("bce"),
        techniques=(
            component("horizontal_flip"),
            component("style_mixing"),
            component("ada"),
            component("r1", weight=0.0256, interval=LAZY_R1),
            component("path_length", interval=LAZY_PATH_LENGTH),
            component("ema", half_life_images=10_000),
        ),
        generator_optimizer=lazy_adam(LAZY_PATH_LENGTH),
        discriminator_optimizer=lazy_adam(LAZY_R1),
        batch_size=32,
        steps=StepsConfig(reuse_fakes=True),
        budget=Budget(images=2_000_000),
        num_ticks=100,
    )


@RECIPES.register("stylegan2.original")
def stylegan2_original() -> Recipe:
    """StyleGAN2 with ADA at the authors' size, for square images of 64, 128 or 256 pixels.

    Paper: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data",
    arXiv 2006.06676; the released code's "paper256". It is for 256x256; at 128 and 64 pixels the finest
    layers are left out.

    Command: kennel train stylegan2.original sets/mine --out runs/stylegan2.original
    Cost: 25 million images; for GPUs. The networks have 24.8 and 24.0 million parameters at 256x256.
    """
    return Recipe(
        name="stylegan2.original",
        paper="Karras et al. 2020, arXiv 2006.06676",
        latent_dim=512,
        generator=component("stylegan2"),
        discriminator=component("stylegan2", group=8),
        loss=component("bce"),
        techniques=(
            component("horizontal_flip"),
            component("style_mixing"),
            component("ada"),
            component("r1", weight=1.0, interval=LAZY_R1),
            component("path_length", interval=LAZY_PATH_LENGTH),
            component("ema", half_life_images=20_000, ramp_up=1.0),
        ),
        generator_optimizer=lazy_adam(LAZY_PATH_LENGTH),
        discriminator_optimizer=lazy_adam(LAZY_R1),
        batch_size=64,
        budget=Budget(images=25_000_000),
        num_ticks=250,
    )
