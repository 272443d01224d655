"""The generator matches the discriminator's features of real images."""

from typing import ClassVar, Literal

from pydantic import model_validator
from torch import Generator

from kennel.distributed import mean_over_ranks
from kennel.shapes import Scalar
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks


@TECHNIQUES.register("feature_matching")
class FeatureMatching(LossTerm):
    """The generator matches the mean of the last hidden layer f (Salimans et al. 2016, section 3.1).

        | E f(x) - E f(G(z)) |^2

    The paper sums over features; the authors' code averages, which does not depend on the width of the layer,
    and so does the default. The term replaces the generator's adversarial loss, as in the paper, unless
    `adversarial` is set: then it is added to it.
    """

    generator_needs_real: ClassVar[bool] = True

    over_features: Literal["mean", "sum"] = "mean"
    adversarial: bool = False

    @model_validator(mode="after")
    def _check(self) -> "FeatureMatching":
        if self.replaces_adversarial and self.interval != 1:
            raise ValueError(
                f"interval={self.interval} leaves the generator without a loss in the other steps: set "
                "interval=1, or adversarial=true"
            )
        return self

    def modify_networks(self, networks: Networks, random: Generator) -> None:
        networks.discriminator.require_hidden_features()

    @property
    def replaces_adversarial(self) -> bool:
        return not self.adversarial

    def generator_term(self, output: ForwardOutput) -> Scalar:
        assert output.real_features is not None
        apart = mean_over_ranks(output.real_features.float().mean(0) - output.fake_features.float().mean(0))
        return apart.square().mean() if self.over_features == "mean" else apart.square().sum()
