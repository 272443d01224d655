"""A DCGAN on dogs with soft and noisy labels, and without."""

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, Recipe
from kennel.recipes.registry import RECIPES, component, dcgan_recipe


def _dcgan(name: str, *labels: ComponentConfig) -> Recipe:
    return dcgan_recipe(
        *labels,
        name=name,
        paper="Generate Dog Images with Generative Adversarial Networks (slides)",
        image=ImageConfig(size=64, channels=3),
        latent_dim=100,
        generator=component("dcgan", activation="leaky_relu"),
        batch_size=64,
        budget=Budget(epochs=60),
        num_ticks=60,
    )


@RECIPES.register("soft_dcgan.dogs")
def soft_dcgan_dogs() -> Recipe:
    """The tuned DCGAN of a set of slides on dogs: real labels of 0.9 to 1.0, and a few flipped labels.

    Paper: "Generate Dog Images with Generative Adversarial Networks (GAN)", slides: a DCGAN with LeakyReLU on
    the 120 breeds of Stanford Dogs. Its one technique is soft and noisy labels: "without such changes, our
    model cannot create a clear image". It shows images after 40 and 60 epochs and prints no scores. Size,
    width, latent, optimizer and batch are not given: here they are DCGAN's, with batches of 64. The share of
    noisy labels is not given either: here it is 5%, the default of `noisy_labels`.

    Data: kennel data prepare stanford_dogs sets/dogs.box --crop box --size 64
    Command: kennel train soft_dcgan.dogs sets/dogs.box --out runs/soft_dcgan.dogs
    Cost: 1.2 million images at 64x64 in color; at the 70 images/s of `dcgan.dogs`, which has the same
    networks, on 2 CPU cores, about 5 hours.
    """
    smoothing = component("one_sided_smoothing", real=[0.9, 1.0])
    return _dcgan("soft_dcgan.dogs", smoothing, component("noisy_labels", probability=0.05))


@RECIPES.register("soft_dcgan.dogs.untuned")
def soft_dcgan_dogs_untuned() -> Recipe:
    """The untuned DCGAN of the same slides: hard labels, 1 for real images and 0 for fakes.

    Paper: as `soft_dcgan.dogs`, "DCGAN - Not well-tuned": blocky images that look alike and not like dogs.
    Other differences between the two are not given, so only the labels differ here.

    Data: kennel data prepare stanford_dogs sets/dogs.box --crop box --size 64
    Command: kennel train soft_dcgan.dogs.untuned sets/dogs.box --out runs/soft_dcgan.untuned
    Cost: 1.2 million images at 64x64 in color; at the 70 images/s of `dcgan.dogs`, which has the same
    networks, on 2 CPU cores, about 5 hours.
    """
    return _dcgan("soft_dcgan.dogs.untuned")
