"""The projected GAN: recognizable images from small sets, within minutes."""

from kennel.config.recipe import (
    Budget,
    ImageConfig,
    InstancesConfig,
    OptimizerConfig,
    Recipe,
    ScheduleConfig,
    StepsConfig,
    ValidationConfig,
)
from kennel.recipes.registry import RECIPES, component


@RECIPES.register("projected")
def projected() -> Recipe:
    """A GAN for small sets: its discriminator sees features of a fixed network pretrained on ImageNet.

    Images of 32 to 256 pixels (a power of two), gray or color; at least 100 images.

    Paper: Sauer et al. 2021, "Projected GANs Converge Faster", arXiv 2111.01007. The paper has FastGAN's
    generator, batches of 64 and a learning rate of 2e-4. This recipe is for small compute budgets, where the
    number of steps counts: DCGAN's generator with FastGAN's skip-layer excitation, batches of 32 and 1e-3,
    with a decay in the last 30%.

    Against mode collapse both networks are conditioned on the EfficientNet-Lite1 features of a training image
    (instances: Casanova et al. 2021, "Instance-Conditioned GAN", arXiv 2109.05070), and `moment_matching`
    helps. Each image is its own instance; classes are not used.

    Command: kennel train projected sets/mine --out runs/projected
    Cost: 200,000 images; at 64x64, at the 50 to 100 images/s of 2 CPU cores, 35 to 70 minutes.
    """
    adam = OptimizerConfig(
        learning_rate=1e-3,
        betas=(0.0, 0.99),
        schedule=ScheduleConfig(decay="linear", decay_start=0.7, final_factor=0.05),
    )
    return Recipe(
        name="projected",
        paper="Sauer et al. 2021, arXiv 2111.01007",
        instances=InstancesConfig(neighbors=1),
        latent_dim=128,
        generator=component(
            "dcgan",
            activation="leaky_relu",
            skip_excitation=True,
            shared_embedding=128,
            checkerboard_filter=True,
        ),
        discriminator=component("projected", patch=8, pixels=32),
        loss=component("hinge"),
        techniques=(
            component("normal_init"),
            component("spectral_norm"),
            component("separate_batches"),
            component("horizontal_flip"),
            component("diff_augment"),
            component("moment_matching"),
            component("ema", half_life_images=20_000, ramp_up=0.1),
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
    """`projected` on Stanford Dogs at 64x64: recognizable dogs after six minutes on one CPU core.

    Paper: Sauer et al. 2021, "Projected GANs Converge Faster", arXiv 2111.01007, as in `projected`. Breeds
    are not used: conditioned on the breed instead of an instance, the generator drew one dog per breed.

    Data: kennel data prepare stanford_dogs sets/dogs --crop box --aspect 0.8:1.25 --min-side 64 --size 64
    Command: kennel train projected.dogs sets/dogs --out runs/projected.dogs
    Cost: 200,000 images; at the 50 to 100 images/s of 2 CPU cores, 35 to 70 minutes.
    """
    return projected().model_copy(
        update={"name": "projected.dogs", "image": ImageConfig(size=64, channels=3)}
    )
