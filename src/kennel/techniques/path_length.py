"""StyleGAN's style mixing and path length regularization."""

from collections.abc import Callable

import torch
from pydantic import Field, PositiveInt, PrivateAttr
from torch import Tensor

from kennel.distributed import mean_over_ranks
from kennel.errors import RecipeError
from kennel.networks import GENERATORS, NetworkSpec, StyleGenerator
from kennel.shapes import Latents, Scalar, Styles
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks, StepContext, Technique


def style_generator(networks: Networks, name: str) -> StyleGenerator:
    """The generator. Raises `RecipeError` if it has no mapping network."""
    if not isinstance(networks.generator, StyleGenerator):
        suitable = ", ".join(one for one in GENERATORS if issubclass(GENERATORS[one], StyleGenerator))
        raise RecipeError(
            f"the technique {name} needs a generator with a mapping network, and the recipe's has none: "
            f"--set generator.name={suitable}, or --set techniques.{name}=off"
        )
    return networks.generator


@TECHNIQUES.register("style_mixing")
class StyleMixing(Technique):
    """Mixes the styles of two latents: the layers from a random one on get the styles of another latent.

    Karras et al. 2019 (arXiv 1812.04948, section 3.1). Applied to each image with this probability, in the
    steps of both networks.
    """

    probability: float = Field(0.9, ge=0, le=1)

    _spec: NetworkSpec | None = PrivateAttr(None)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        self._spec = style_generator(networks, "style_mixing").spec

    def transform_styles(
        self, styles: Styles, mapped: Callable[[Latents], Styles], context: StepContext
    ) -> Styles:
        """Mixes them; the first layer keeps its own style, and the last layer of a mixed image never does."""
        spec = self._spec
        assert spec is not None
        count, layers, _ = styles.shape
        random = context.random("style_mixing")
        first = random.integers(1, layers, count)
        unmixed = random.uniform(count) >= self.probability
        if spec.latent_distribution == "uniform":
            others = random.uniform(count, spec.latent_dim) * 2 - 1
        else:
            others = random.normal(count, spec.latent_dim)
        own = unmixed[:, None] | (torch.arange(layers, device=first.device) < first[:, None])
        return torch.where(own[:, :, None], styles, mapped(others))


@TECHNIQUES.register("path_length")
class PathLength(LossTerm):
    """Equal changes of a style change images equally (Karras et al. 2020, arXiv 1912.04958, eq. 4).

        E( |J^T y| - a )^2,     J = d image / d styles,   y ~ N(0, 1) / sqrt(pixels)

    |J^T y| is the norm over a layer's styles, and the root mean square over layers. a is a moving average of
    these lengths, updated by the share `decay` each time. Computed in every `interval`-th generator step, on
    every `shrink`-th image of its batch.
    """

    weight: float = Field(2.0, ge=0, allow_inf_nan=False)
    interval: PositiveInt = 4
    decay: float = Field(0.01, gt=0, le=1)
    shrink: PositiveInt = 2

    _mean: Tensor = PrivateAttr(default_factory=lambda: torch.zeros(()))

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        style_generator(networks, "path_length")

    def generator_term(self, output: ForwardOutput) -> Scalar:
        """E(|J^T y| - a)^2 over new, unmixed images of the step's latents; updates a first."""
        generator = output.networks.generator
        assert isinstance(generator, StyleGenerator)
        labels = None if output.labels is None else output.labels[:: self.shrink]
        styles = generator.map_latents(output.latents[:: self.shrink], labels)
        lengths = self.lengths(styles, output)
        mean = torch.lerp(self._mean.to(lengths), mean_over_ranks(lengths.detach().mean()), self.decay)
        self._mean = mean
        return (lengths - mean).square().mean()

    def lengths(self, styles: Styles, output: ForwardOutput) -> Tensor:
        """|J^T y| of each image, (batch,), differentiable."""
        images = output.generate(styles)
        noise = output.context.random("path_length").normal(*images.shape)
        projected = (images * noise).sum() / (images.shape[2] * images.shape[3]) ** 0.5
        (gradient,) = torch.autograd.grad(projected, styles, create_graph=True)
        # PyTorch takes 0 as the derivative of the norm at 0.
        lengths: Tensor = torch.linalg.vector_norm(gradient, dim=(1, 2)) / gradient.shape[1] ** 0.5
        return lengths

    def statistics(self) -> dict[str, Tensor]:
        return {"mean": self._mean}

    def state_dict(self) -> dict[str, Tensor]:
        return {"mean": self._mean}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._mean = state["mean"]
