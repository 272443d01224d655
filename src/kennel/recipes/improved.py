"""The improved GAN of Bek and Aljanabi on MNIST and Fashion-MNIST, and its baseline."""

from kennel.config.recipe import Budget, ComponentConfig, ImageConfig, Recipe
from kennel.recipes.registry import ADAM, RECIPES, component

PAPER = "Bek and Aljanabi, Improved Techniques for Training GANs Implementation, after Salimans et al. 2016"


def _recipe(name: str, techniques: tuple[ComponentConfig, ...]) -> Recipe:
    return Recipe(
        name=name,
        paper=PAPER,
        image=ImageConfig(size=28, channels=1),
        latent_dim=100,
        generator=component("improved"),
        discriminator=component("improved"),
        loss=component("bce"),
        techniques=(component("separate_batches"), *techniques),
        generator_optimizer=ADAM,
        discriminator_optimizer=ADAM,
        batch_size=100,
        budget=Budget(epochs=600),
        num_ticks=60,
    )


IMPROVEMENTS = (
    component("virtual_batch_norm", reference=100),
    component("minibatch_discrimination"),
    component("feature_matching", adversarial=True),
    component("parameter_averaging"),
    component("one_sided_smoothing", real=0.9),
)


@RECIPES.register("improved.mnist")
def improved_mnist() -> Recipe:
    """The improved GAN on MNIST: five techniques of Salimans et al. with a pair of small networks.

    Paper: Bek and Aljanabi, "Improved Techniques for Training GANs Implementation", section 2, after Salimans
    et al. 2016, arXiv 1606.03498. The report gives neither Adam's numbers nor the weights of the techniques:
    here they are DCGAN's and the techniques' defaults. Each technique can be left out, for example with
    `--set techniques.feature_matching=off`.

    Data: kennel data prepare mnist sets/mnist
    Command: kennel train improved.mnist sets/mnist --out runs/improved.mnist
    Cost: 36 million images at 28x28 in gray; at the 267 images/s of 2 CPU cores, about 37 hours.
    """
    return _recipe("improved.mnist", IMPROVEMENTS)


@RECIPES.register("improved.mnist.baseline")
def improved_mnist_baseline() -> Recipe:
    """The baseline of the improved GAN on MNIST: the same networks without its techniques.

    Paper: as `improved.mnist`. The report trains its baseline for 9,000 epochs, and its digits are still
    poor. This recipe has 600 epochs, as the improved GAN, for a direct comparison (`--epochs 9000` for the
    report's).

    Data: kennel data prepare mnist sets/mnist
    Command: kennel train improved.mnist.baseline sets/mnist --out runs/improved.mnist.baseline
    Cost: 36 million images at 28x28 in gray; at the 476 images/s of 2 CPU cores, about 21 hours.
    """
    return _recipe("improved.mnist.baseline", ())


@RECIPES.register("improved.fashion_mnist")
def improved_fashion_mnist() -> Recipe:
    """The improved GAN on Fashion-MNIST, the report's second data set.

    Paper: as `improved.mnist`; the report gives no other settings for this set.

    Data: kennel data prepare fashion_mnist sets/fashion_mnist
    Command: kennel train improved.fashion_mnist sets/fashion_mnist --out runs/improved.fashion_mnist
    Cost: 36 million images at 28x28 in gray; at the 281 images/s of 2 CPU cores, about 36 hours.
    """
    return _recipe("improved.fashion_mnist", IMPROVEMENTS)


@RECIPES.register("improved.fashion_mnist.baseline")
def improved_fashion_mnist_baseline() -> Recipe:
    """The baseline of the improved GAN on Fashion-MNIST: the same networks without its techniques.

    Paper: as `improved.mnist.baseline`.

    Data: kennel data prepare fashion_mnist sets/fashion_mnist
    Command: kennel train improved.fashion_mnist.baseline sets/fashion_mnist --out runs/baseline
    Cost: 36 million images at 28x28 in gray; at the 468 images/s of 2 CPU cores, about 21 hours.
    """
    return _recipe("improved.fashion_mnist.baseline", ())
