"""Spectral normalization: residual networks, and a DCGAN."""

from kennel.config.recipe import Budget, ImageConfig, OptimizerConfig, Recipe, ScheduleConfig, StepsConfig
from kennel.recipes.registry import RECIPES, component, dcgan_recipe


@RECIPES.register("sngan")
def sngan() -> Recipe:
    """SNGAN: residual networks with a spectrally normalized discriminator, at 32, 64 or 128 pixels.

    Paper: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", arXiv 1802.05957,
    with the released code's 50,000 iterations on CIFAR-10 (16 million images) and Xavier weights. Add
    `--set num_classes=null` for class-conditional batch norm and the projection discriminator (Miyato and
    Koyama 2018, arXiv 1802.05637). The paper's generator batch is twice the discriminator's; here they are
    equal.

    Data: kennel data prepare cifar10 sets/cifar10
    Command: kennel train sngan sets/cifar10 --out runs/sngan
    Cost: 16 million images at 32x32 in color; at the 22 images/s of 2 CPU cores, about 8 days.
    """
    adam = OptimizerConfig(learning_rate=2e-4, betas=(0.0, 0.9), schedule=ScheduleConfig(decay="linear"))
    return Recipe(
        name="sngan",
        paper="Miyato et al. 2018, arXiv 1802.05957",
        latent_dim=128,
        generator=component("sngan"),
        discriminator=component("sngan"),
        loss=component("hinge"),
        techniques=(
            component("xavier_init"),
            component("spectral_norm", networks="discriminator"),
            component("ema", half_life_images=50_000),
        ),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        batch_size=64,
        steps=StepsConfig(discriminator=5),
        budget=Budget(images=16_000_000),
    )


@RECIPES.register("sn_dcgan")
def sn_dcgan() -> Recipe:
    """The SN-DCGAN of Iyengar, Pandey and Mehta, on any image set up to 64 pixels.

    Paper: Iyengar, Pandey and Mehta, "Exploring Generative Adversarial Networks: Improving training
    techniques", sections 2.2 and 3.2: a DCGAN with spectral normalization in every convolution,
    batches of 64 and 32. Their Tables 1 and 2: Inception Score 4.41 and FID 95.07 on CIFAR-10 at 64, IS 3.22
    and FID 59.1 on CelebA-HQ; without spectral normalization 4.65 and 79.24, 3.47 and 58.77.
    `--set techniques.spectral_norm=off` gives their plain DCGAN.

    Data: kennel data prepare celeba sets/celeba --from FOLDER --size 64
    Command: kennel train sn_dcgan sets/celeba --out runs/sn_dcgan
    Cost: 2 million images at 64x64 in color; at the 61 images/s of 2 CPU cores, about 9 hours.
    """
    return dcgan_recipe(
        component("spectral_norm", networks="discriminator"),
        name="sn_dcgan",
        paper="Iyengar, Pandey and Mehta, Exploring Generative Adversarial Networks, Tables 1 and 2",
        latent_dim=100,
        batch_size=64,
        budget=Budget(images=2_000_000),
    )


@RECIPES.register("sn_dcgan.128")
def sn_dcgan_128() -> Recipe:
    """The SN-DCGAN of Iyengar, Pandey and Mehta at 128x128, with dropout against collapse.

    Paper: as `sn_dcgan`; section 3.2, "Dropout": at 128x128 training collapses immediately, also with
    spectral normalization, unless dropout of 0.5 follows every convolution of the discriminator except the
    first and the last. Their Figure 13 compares the two; `--set discriminator.dropout=0` collapses.

    Data: kennel data prepare celeba_hq sets/celeba_hq --from FOLDER --size 128
    Command: kennel train sn_dcgan.128 sets/celeba_hq --out runs/sn_dcgan.128
    Cost: 2 million images at 128x128 in color; at the 7.0 images/s of 2 CPU cores (measured with batches of
    8), about 3 days.
    """
    changes = {
        "name": "sn_dcgan.128",
        "paper": "Iyengar, Pandey and Mehta, Exploring Generative Adversarial Networks, section 3.2",
        "image": ImageConfig(size=128),
        "discriminator": component("dcgan", activation="leaky_relu", dropout=0.5),
    }
    return sn_dcgan().model_copy(update=changes)
