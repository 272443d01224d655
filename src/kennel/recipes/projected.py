"""The projected GAN: recognizable pictures from small sets, within minutes."""

from kennel.config.recipe import (
    Budget,
    ComponentConfig,
    ImageConfig,
    InstancesConfig,
    OptimizerConfig,
    Recipe,
    ScheduleConfig,
    StepsConfig,
    ValidationConfig,
)
from kennel.recipes.registry import RECIPES


@RECIPES.register("projected")
def projected() -> Recipe:
    """A GAN for small sets: its discriminator looks through a fixed network that was trained on ImageNet.

    Images of 32 to 256 pixels (a power of two), grey or colour, from 100 images on.

    Paper: Sauer et al. 2021, "Projected GANs Converge Faster", arXiv 2111.01007: EfficientNet-Lite1 at four
    scales, random mixing across channels and scales, four spectral-normed discriminators, hinge loss,
    DiffAugment, an average of the generator. Where the paper has FastGAN's generator, batches of 64 and a
    rate of 2e-4, this recipe has the DCGAN's generator with FastGAN's skip-layer excitation, batches of 32
    and 1e-3, which a small budget of computation wants: steps decide. The rate falls in the last half.

    Against samples that are all alike both networks are conditioned on what EfficientNet-Lite1 sees in
    a training image (instances: Casanova et al. 2021, "Instance-Conditioned GAN", arXiv 2109.05070), and
    `moment_matching` helps. Each image is its own instance, so classes are not used.

    Command: kennel train projected sets/mine --out runs/projected
    Cost: 200,000 images; at 64x64, at the 50 to 100 images/s of 2 CPU cores, 35 to 70 minutes.
    """
    adam = OptimizerConfig(
        learning_rate=1e-3,
        betas=(0.0, 0.99),
        schedule=ScheduleConfig(decay="linear", decay_start=0.5, final_factor=0.05),
    )
    return Recipe(
        name="projected",
        paper="Sauer et al. 2021, arXiv 2111.01007",
        instances=InstancesConfig(neighbors=1),
        latent_dim=128,
        generator=ComponentConfig(
            name="dcgan",
            activation="leaky_relu",
            skip_excitation=True,
            shared_embedding=128,
            checkerboard_filter=True,
        ),
        discriminator=ComponentConfig(name="projected", patch=8, pixels=32),
        loss=ComponentConfig(name="hinge"),
        techniques=(
            ComponentConfig(name="normal_init"),
            ComponentConfig(name="spectral_norm"),
            ComponentConfig(name="separate_batches"),
            ComponentConfig(name="horizontal_flip"),
            ComponentConfig(name="diff_augment"),
            ComponentConfig(name="moment_matching"),
            ComponentConfig(name="ema", half_life_images=8_000, ramp_up=0.1),
        ),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        batch_size=32,
        steps=StepsConfig(reuse_fakes=True),
        budget=Budget(images=200_000),
        num_ticks=20,
        validation=ValidationConfig(metric="fid", extra_metrics=("recall", "precision")),
    )


@RECIPES.register("projected.dogs")
def projected_dogs() -> Recipe:
    """`projected` on Stanford Dogs at 64x64: dogs to the eye after six minutes of one CPU core.

    Paper: Sauer et al. 2021, "Projected GANs Converge Faster", arXiv 2111.01007, as in `projected`. Breeds
    are not used: conditioned on the breed in place of an instance, the generator drew one dog for each.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train projected.dogs sets/dogs --out runs/projected.dogs
    Cost: 200,000 images; at the 50 to 100 images/s of 2 CPU cores, 35 to 70 minutes.
    """
    return projected().model_copy(
        update={"name": "projected.dogs", "image": ImageConfig(size=64, channels=3)}
    )
