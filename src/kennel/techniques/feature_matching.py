"""The generator matches what the discriminator sees in real images."""

from typing import ClassVar, Literal

from pydantic import model_validator

from kennel.distributed import mean_over_ranks
from kennel.shapes import Scalar
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm


@TECHNIQUES.register("feature_matching")
class FeatureMatching(LossTerm):
    """The generator matches the mean of the last hidden layer f (Salimans et al. 2016, section 3.1).

        | E f(x) - E f(G(z)) |^2

    The paper's norm is the sum over features; the authors' code takes their mean, whose scale does not
    depend on the width of the layer, and so does the default. The term replaces the generator's adversarial
    loss, as in the paper, unless `adversarial`: then it is added to it.
    """

    generator_needs_real: ClassVar[bool] = True

    over_features: Literal["mean", "sum"] = "mean"
    adversarial: bool = False

    @model_validator(mode="after")
    def _on_every_turn(self) -> "FeatureMatching":
        if self.replaces_adversarial and self.interval != 1:
            raise ValueError(
                f"interval={self.interval} would leave the generator without any loss on the other turns: "
                "set interval=1, or adversarial=true"
            )
        return self

    @property
    def replaces_adversarial(self) -> bool:
        """True unless `adversarial`."""
        return not self.adversarial

    def generator_term(self, output: ForwardOutput) -> Scalar:
        """The squared distance of the two batches' mean features; the discriminator stands still."""
        assert output.real_features is not None  # generator_needs_real
        apart = mean_over_ranks(output.real_features.float().mean(0) - output.fake_features.float().mean(0))
        return apart.square().mean() if self.over_features == "mean" else apart.square().sum()
