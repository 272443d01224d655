"""DCGAN as published, and for dogs."""

from kennel.config.recipe import Budget, ImageConfig, OptimizerConfig, Recipe
from kennel.recipes.registry import RECIPES, component, dcgan_recipe


@RECIPES.register("dcgan")
def dcgan() -> Recipe:
    """DCGAN on any image set from 8 to 256 pixels (a power of two, or 28), gray or color.

    Paper: Radford, Metz and Chintala 2015, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", arXiv 1511.06434. The paper's code has 5x5 kernels, 128 channels and an
    L2 penalty of 1e-5; this recipe has 4x4, 64 and none, as most implementations do, and an average of the
    generator (`ema`) to sample from.

    Command: kennel train dcgan sets/mine --out runs/dcgan
    Cost: at 64x64 in color, one million images take about three and a half hours on 2 CPU cores.
    """
    return dcgan_recipe(
        component("ema"),
        name="dcgan",
        paper="Radford et al. 2015, arXiv 1511.06434",
        latent_dim=100,
        latent_distribution="uniform",
        batch_size=128,
        budget=Budget(images=1_000_000),
    )


@RECIPES.register("dcgan.dogs")
def dcgan_dogs() -> Recipe:
    """The DCGAN of Shangguan et al. on Stanford Dogs at 64x64, with the numbers of Table I and III.B.

    Paper: Shangguan, Zhao, Fan and Cao 2020, "Dog Image Generation using Deep Convolutional Generative
    Adversarial Networks". Reports MiFID 95.85 (test) and 38.70 (validation), measured with Inception.
    Not in the paper: the width (64 channels) and the weights from N(0, 0.02), from the DCGAN tutorial that it
    cites; the shape of the noise's decay (linear to 0); and whether its "resize to (64, 64)" keeps the aspect
    ratio: the command below takes a center square, `--fit squash` is the alternative.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64 \
          --exclude n02105855_2933
    Command: kennel train dcgan.dogs sets/dogs --out runs/dcgan.dogs
    Cost: 6.8 million images; at the 70 images/s of 2 CPU cores, about 27 hours.
    """
    return dcgan_recipe(
        component("one_sided_smoothing", real=0.8),
        component("instance_noise", variance=0.01),
        component("random_resized_crop", scale=[0.8, 1.0], ratio=[3 / 4, 4 / 3]),
        component("horizontal_flip"),
        optimizer=OptimizerConfig(learning_rate=5e-4, betas=(0.5, 0.999)),
        name="dcgan.dogs",
        paper="Shangguan et al. 2020, Dog Image Generation using DCGAN, Table I and section III.B",
        image=ImageConfig(size=64, channels=3),
        latent_dim=128,
        generator=component("dcgan", activation="leaky_relu"),
        batch_size=32,
        budget=Budget(epochs=750),
        num_ticks=150,
    )
