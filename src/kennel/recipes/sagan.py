"""Self-attention."""

from kennel.config.recipe import Budget, OptimizerConfig, Recipe
from kennel.recipes.registry import RECIPES, component


@RECIPES.register("sagan")
def sagan() -> Recipe:
    """SAGAN: residual networks with self-attention and classes, at 32, 64 or 128 pixels.

    Paper: Zhang et al. 2018, "Self-Attention Generative Adversarial Networks", arXiv 1805.08318; the
    attention block and the Xavier weights are those of the released code. The paper's batch is 256; here 64.

    Command: kennel train sagan sets/mine --out runs/sagan
    Cost: 10 million images at 64x64 in color; at the 4.4 images/s of 2 CPU cores (measured with batches of
    8), about 26 days.
    """
    return Recipe(
        name="sagan",
        paper="Zhang et al. 2018, arXiv 1805.08318",
        num_classes=None,
        latent_dim=128,
        generator=component("sagan"),
        discriminator=component("sagan"),
        loss=component("hinge"),
        techniques=(
            component("xavier_init", residual_gain=1.0),
            component("spectral_norm", networks="both"),
            component("ema"),
        ),
        generator_optimizer=OptimizerConfig(learning_rate=1e-4, betas=(0.0, 0.9)),
        discriminator_optimizer=OptimizerConfig(learning_rate=4e-4, betas=(0.0, 0.9)),
        batch_size=64,
        budget=Budget(images=10_000_000),
    )
