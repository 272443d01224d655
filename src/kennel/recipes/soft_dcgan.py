"""A DCGAN on dogs with soft and noisy labels, and the same without them."""

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, OptimizerConfig, Recipe
from kennel.recipes.registry import RECIPES

PAPER = "Generate Dog Images with Generative Adversarial Networks (slides)"


def _dcgan(name: str, labels: tuple[ComponentConfig, ...]) -> Recipe:
    adam = OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))
    return Recipe(
        name=name,
        paper=PAPER,
        image=ImageConfig(size=64, channels=3),
        latent_dim=100,
        generator=ComponentConfig(name="dcgan", activation="leaky_relu"),
        discriminator=ComponentConfig(name="dcgan", activation="leaky_relu"),
        loss=ComponentConfig(name="bce"),
        techniques=(ComponentConfig(name="normal_init"), ComponentConfig(name="separate_batches"), *labels),
        generator_optimizer=adam,
        discriminator_optimizer=adam,
        batch_size=64,
        budget=Budget(epochs=60),
        num_ticks=60,
    )


@RECIPES.register("soft_dcgan.dogs")
def soft_dcgan_dogs() -> Recipe:
    """The tuned DCGAN of a set of slides on dogs: real labels of 0.9 to 1.0, and a few that are flipped.

    Paper: "Generate Dog Images with Generative Adversarial Networks (GAN)", slides: a DCGAN of strided and
    transposed convolutions with LeakyReLU on the 120 breeds of Stanford Dogs. Soft and noisy labels are its
    one trick: labels of real images within 0.9 and 1.0, those of fakes left at 0; "without such changes, our
    model cannot create a clear image". It shows pictures after 40 and 60 epochs and prints no scores. Size,
    width, latent, optimizer and batch are not given: here they are DCGAN's, with batches of 64. Nor is the
    share of noisy labels given: here it is 5%, the default of `noisy_labels`.

    Data: kennel data prepare stanford_dogs sets/dogs.box --crop box --size 64
    Command: kennel train soft_dcgan.dogs sets/dogs.box --out runs/soft_dcgan.dogs
    Cost: 1.2 million images at 64x64 in colour; at the 70 images/s that `dcgan.dogs` has with the same
    networks on 2 CPU cores, about 5 hours.
    """
    labels = (
        ComponentConfig(name="one_sided_smoothing", real=[0.9, 1.0]),
        ComponentConfig(name="noisy_labels", probability=0.05),
    )
    return _dcgan("soft_dcgan.dogs", labels)


@RECIPES.register("soft_dcgan.dogs.untuned")
def soft_dcgan_dogs_untuned() -> Recipe:
    """The DCGAN of the same slides before its trick: hard labels, 1 for real images and 0 for fakes.

    Paper: as `soft_dcgan.dogs`, "DCGAN - Not well-tuned": blocks in the pictures, pictures that look alike
    and not like dogs. What else was tuned between the two is not given, so only the labels differ here.

    Data: kennel data prepare stanford_dogs sets/dogs.box --crop box --size 64
    Command: kennel train soft_dcgan.dogs.untuned sets/dogs.box --out runs/soft_dcgan.untuned
    Cost: 1.2 million images at 64x64 in colour; at the 70 images/s that `dcgan.dogs` has with the same
    networks on 2 CPU cores, about 5 hours.
    """
    return _dcgan("soft_dcgan.dogs.untuned", ())
