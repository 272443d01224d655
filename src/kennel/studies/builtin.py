"""The built-in studies: tables of papers, and comparisons that a user wants before choosing."""

from kennel.studies.config import STUDIES, JudgeConfig, RowConfig, StudyConfig
from kennel.studies.expand.config import ExpandConfig

_DIGITS = JudgeConfig(
    extractor="classifier",
    metrics=("inception_score", "fid", "precision", "recall", "f1"),
    count=10_000,
    checkpoint="newest",
)
"""For MNIST and the like, which networks trained on photographs do not know."""
_QUICK_CURVES = ("num_ticks=10", "validation.metric=fid", "validation.extractor=pixels")
"""Curves of short runs: features of 60,000 images by a larger network take longer than the training."""
_SMALL = JudgeConfig(metrics=("fid", "kid", "precision", "recall"), count=2048)


@STUDIES.register("digits")
def digits() -> StudyConfig:
    """Four losses on the bundled digits, three seeds each: a study of some minutes, to try the command."""
    return StudyConfig(
        name="digits",
        description="Four losses on 16x16 digits, three seeds each.",
        data={"digits": "digits"},
        recipes={
            loss: RowConfig(recipe="digits", settings=(f"loss.name={loss}",))
            for loss in ("bce", "hinge", "lsgan", "ragan")
        },
        seeds=(0, 1, 2),
        images=20_000,
        settings=("num_ticks=5", "techniques.one_sided_smoothing=off"),
        judge=JudgeConfig(extractor="pixels", metrics=("fid", "precision", "recall"), count=1_000),
    )


@STUDIES.register("dogs")
def dogs() -> StudyConfig:
    """Six architectures on Stanford Dogs at 64x64 at one budget of time (Generative Dog Images, Table 1)."""
    return StudyConfig(
        name="dogs",
        description="GAN, CGAN, DCGAN, RaLSGAN, WGAN and BigGAN on cleaned crops of Stanford Dogs.",
        paper="Generative Dog Images with BigGAN, Table 1",
        data={"stanford_dogs": "stanford_dogs"},
        recipes={
            name: RowConfig(recipe=f"{name}.dogs")
            for name in ("gan", "cgan", "dcgan", "ralsgan", "wgan", "biggan")
        },
        hours=0.4,
        judge=JudgeConfig(metrics=("fid", "mifid", "kid", "precision", "recall"), count=2048),
    )


@STUDIES.register("dogs.tricks")
def dogs_tricks() -> StudyConfig:
    """The DCGAN of Shangguan et al. 2020 on Stanford Dogs, and without each of its techniques."""
    tricks = {
        "full": (),
        "no_noise": ("techniques.instance_noise=off",),
        "no_crops": ("techniques.random_resized_crop=off",),
        "no_flips": ("techniques.horizontal_flip=off",),
        "no_smoothing": ("techniques.one_sided_smoothing=off",),
        "no_separate_batches": ("techniques.separate_batches=off",),
    }
    return StudyConfig(
        name="dogs.tricks",
        description="The full recipe, and without each technique.",
        paper="Shangguan et al. 2020, Dog Image Generation using DCGAN, section III.B",
        data={"stanford_dogs": "stanford_dogs"},
        recipes={
            name: RowConfig(recipe="dcgan.dogs", settings=settings) for name, settings in tricks.items()
        },
        images=100_000,
        judge=JudgeConfig(metrics=("fid", "mifid", "precision", "recall"), count=2048),
    )


@STUDIES.register("sn_dcgan")
def sn_dcgan() -> StudyConfig:
    """DCGAN and SN-DCGAN with batches of 32 and 64 on Stanford Dogs (Iyengar, Pandey and Mehta, Table 1)."""
    rows = {}
    for batch in (32, 64):
        rows[f"dcgan.{batch}"] = RowConfig(recipe="dcgan", settings=("image.size=64", f"batch_size={batch}"))
        rows[f"sn_dcgan.{batch}"] = RowConfig(recipe="sn_dcgan", settings=(f"batch_size={batch}",))
    return StudyConfig(
        name="sn_dcgan",
        description="DCGAN against SN-DCGAN, by batch size.",
        paper="Iyengar, Pandey and Mehta, GANs for dog images, Tables 1 and 2",
        data={"stanford_dogs": "stanford_dogs"},
        recipes=rows,
        images=100_000,
        judge=_SMALL,
    )


@STUDIES.register("improved")
def improved() -> StudyConfig:
    """Baseline against improved techniques on MNIST (Bek and Aljanabi, after Salimans et al. 2016)."""
    return StudyConfig(
        name="improved",
        description="The baseline and the improved GAN, three seeds each; another set by --data.",
        paper="Bek and Aljanabi, Improved techniques for training GANs",
        data={"mnist": "mnist"},
        recipes={
            "baseline": RowConfig(recipe="improved.mnist.baseline"),
            "improved": RowConfig(recipe="improved.mnist"),
        },
        seeds=(0, 1, 2),
        images=100_000,
        settings=_QUICK_CURVES,
        judge=_DIGITS,
    )


@STUDIES.register("improved.techniques")
def improved_techniques() -> StudyConfig:
    """The baseline of `improved` and each of its techniques alone, three seeds each."""
    alone = {
        name: RowConfig(recipe="improved.mnist.baseline", settings=(f"techniques.{name}=on",))
        for name in (
            "feature_matching",
            "minibatch_discrimination",
            "historical_averaging",
            "one_sided_smoothing",
            "virtual_batch_norm",
        )
    }
    both: StudyConfig = improved()
    return both.model_copy(
        update={
            "name": "improved.techniques",
            "description": "The baseline and each of the five techniques alone; another set by --data.",
            "recipes": {"baseline": RowConfig(recipe="improved.mnist.baseline"), **alone},
        }
    )


@STUDIES.register("slides")
def slides() -> StudyConfig:
    """MLP GAN, conditional GAN and DCGAN, tuned and untuned, with steps per network varied, on MNIST."""
    adam = tuple(f"{network}_optimizer.betas=[0.9, 0.999]" for network in ("generator", "discriminator"))
    changed = {
        "dcgan.untuned": (*adam, "techniques.normal_init=off"),
        "dcgan.soft_labels": ("techniques.one_sided_smoothing=on",),
        "dcgan.noisy_labels": ("techniques.noisy_labels=on",),
        "dcgan.two_d_steps": ("steps.discriminator=2",),
        "dcgan.two_g_steps": ("steps.generator=2",),
    }
    rows = {
        "mlp": RowConfig(recipe="gan"),
        "cgan": RowConfig(recipe="cgan"),
        "dcgan": RowConfig(recipe="dcgan"),
    }
    rows |= {name: RowConfig(recipe="dcgan", settings=settings) for name, settings in changed.items()}
    return StudyConfig(
        name="slides",
        description="What the talk compares: networks, labels, steps of each network.",
        paper="Generative adversarial networks: an introduction with dogs (talk)",
        data={"mnist": "mnist"},
        recipes=rows,
        images=100_000,
        settings=("image.size=32", *_QUICK_CURVES),
        judge=_DIGITS,
    )


@STUDIES.register("slides.seeds")
def slides_seeds() -> StudyConfig:
    """Five seeds of one DCGAN on MNIST: how much of a difference is chance."""
    return StudyConfig(
        name="slides.seeds",
        description="One recipe, five seeds.",
        data={"mnist": "mnist"},
        recipes={"dcgan": RowConfig(recipe="dcgan")},
        seeds=(0, 1, 2, 3, 4),
        images=100_000,
        settings=("image.size=32", *_QUICK_CURVES),
        judge=_DIGITS,
    )


@STUDIES.register("modes")
def modes() -> StudyConfig:
    """How many of the 1,000 modes of Stacked MNIST each recipe family covers; give --weights."""
    size, unmirrored = "image.size=32", "techniques.horizontal_flip=off"
    rows = {
        name: RowConfig(recipe=name, settings=(size,))
        for name in ("gan", "dcgan", "lsgan", "ralsgan", "wgan", "wgan_gp", "mine", "sngan", "sagan")
    }
    rows["r3gan"] = RowConfig(recipe="r3gan.mnist", settings=(size, "image.channels=3"))
    rows["stylegan2"] = RowConfig(recipe="stylegan2.dogs", settings=(size, unmirrored))
    rows["projected"] = RowConfig(recipe="projected", settings=(size, unmirrored))
    narrow = ("generator.base_channels=16", "discriminator.base_channels=16", "num_classes=0")
    rows["biggan"] = RowConfig(recipe="biggan.dogs", settings=(size, unmirrored, *narrow))
    return StudyConfig(
        name="modes",
        description="Modes of Stacked MNIST, by a classifier of digits on each channel.",
        paper="Metz et al. 2017, Unrolled GANs, section 3.3.1; Lin et al. 2018, PacGAN, section 4.2",
        data={"stacked_mnist": "stacked_mnist"},
        recipes=rows,
        images=100_000,
        settings=_QUICK_CURVES,
        judge=JudgeConfig(
            extractor="stacked_classifier",
            metrics=("modes", "fid", "precision", "recall"),
            count=26_000,
            checkpoint="newest",
        ),
    )


@STUDIES.register("zoo")
def zoo() -> StudyConfig:
    """Every unconditional recipe family at equal time on one set of 32x32 images: what to choose."""
    size = "image.size=32"
    families = ("gan", "dcgan", "lsgan", "wgan", "wgan_gp", "ralsgan", "sngan", "sagan", "projected")
    return StudyConfig(
        name="zoo",
        description="Recipe families at equal training time; give --data.",
        recipes={name: RowConfig(recipe=name, settings=(size,)) for name in families},
        hours=0.25,
        judge=_SMALL,
    )


@STUDIES.register("expand")
def expand() -> ExpandConfig:
    """A classifier of scarce classes with and without generated images, three seeds; give --data."""
    return ExpandConfig(
        name="expand",
        description="Five scarce classes of 50 images, filled up in three ways; accuracy on real images.",
        images=250_000,
    )
