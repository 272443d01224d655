"""DCGAN as it was published, and as Shangguan et al. train it on dogs."""

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, OptimizerConfig, Recipe
from kennel.recipes.registry import RECIPES


@RECIPES.register("dcgan")
def dcgan() -> Recipe:
    """DCGAN on any image set from 8 to 256 pixels (a power of two, or 28), grey or colour.

    Paper: Radford, Metz and Chintala 2015, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", arXiv 1511.06434: strided convolutions, batch norm in both networks,
    ReLU in the generator, LeakyReLU 0.2 in the discriminator, weights from N(0, 0.02), Adam 2e-4
    (0.5, 0.999), batches of 128, latents of 100 uniform numbers. Where the paper's code has 5x5
    kernels, 128 channels and an L2 penalty of 1e-5, this recipe has 4x4, 64 and none, as most of its heirs
    do; and it keeps an average of the generator (`ema`) to sample from.

    Command: kennel train dcgan sets/mine --out runs/dcgan
    Cost: at 64x64 in colour, one million images take about three and a half hours on 2 CPU cores.
    """
    optimiser = OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))
    return Recipe(
        name="dcgan",
        paper="Radford et al. 2015, arXiv 1511.06434",
        latent_dim=100,
        latent_distribution="uniform",
        generator=ComponentConfig(name="dcgan", activation="relu"),
        discriminator=ComponentConfig(name="dcgan", activation="leaky_relu"),
        loss=ComponentConfig(name="bce"),
        techniques=(
            ComponentConfig(name="normal_init"),
            ComponentConfig(name="separate_batches"),
            ComponentConfig(name="ema"),
        ),
        generator_optimizer=optimiser,
        discriminator_optimizer=optimiser,
        batch_size=128,
        budget=Budget(images=1_000_000),
    )


@RECIPES.register("dcgan.dogs")
def dcgan_dogs() -> Recipe:
    """The DCGAN of Shangguan et al. on Stanford Dogs at 64x64: Table I and III.B, number for number.

    Paper: Shangguan, Zhao, Fan and Cao 2020, "Dog Image Generation using Deep Convolutional Generative
    Adversarial Networks". Reports MiFID 95.85 (test) and 38.70 (validation), judged with Inception.
    Table I: Adam 5e-4 (0.5, 0.999) for both players, batch 32, latent 128 (Gaussian), 750 epochs.
    Section III.B: images in [-1, 1] and Tanh; Gaussian noise of variance 0.01 on what the discriminator
    sees, decaying; crops of 0.8-1.0 of the area with ratio 3/4-4/3, flips; batch norm over batches that are
    all real or all fake; strided (transposed) convolutions and LeakyReLU in both networks; the label of real
    images is 0.8; weights from N(0, 0.02) as in the DCGAN tutorial that the paper cites.
    Not in the paper: the width (64 channels, the tutorial's), the shape of the decay (linear to 0), and
    whether its "resize to (64, 64)" keeps the shape: a centre square below, `--fit squash` is the other
    reading.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64 \
          --exclude n02105855_2933
    Command: kennel train dcgan.dogs sets/dogs --out runs/dcgan.dogs
    Cost: 6.8 million images; at the 70 images/s of 2 CPU cores, about 27 hours.
    """
    optimiser = OptimizerConfig(learning_rate=5e-4, betas=(0.5, 0.999))
    return Recipe(
        name="dcgan.dogs",
        paper="Shangguan et al. 2020, Dog Image Generation using DCGAN, Table I and section III.B",
        image=ImageConfig(size=64, channels=3),
        latent_dim=128,
        generator=ComponentConfig(name="dcgan", activation="leaky_relu"),
        discriminator=ComponentConfig(name="dcgan", activation="leaky_relu"),
        loss=ComponentConfig(name="bce"),
        techniques=(
            ComponentConfig(name="normal_init"),
            ComponentConfig(name="separate_batches"),
            ComponentConfig(name="one_sided_smoothing", real=0.8),
            ComponentConfig(name="instance_noise", variance=0.01),
            ComponentConfig(name="random_resized_crop", scale=[0.8, 1.0], ratio=[3 / 4, 4 / 3]),
            ComponentConfig(name="horizontal_flip"),
        ),
        generator_optimizer=optimiser,
        discriminator_optimizer=optimiser,
        batch_size=32,
        budget=Budget(epochs=750),
        num_ticks=150,
    )
