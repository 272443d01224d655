"""A classifier that teaches the generator its classes."""

from typing import ClassVar, cast

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kennel.errors import RecipeError
from kennel.networks import Discriminator
from kennel.networks.layers.init import init_linear
from kennel.shapes import Features, Scalar
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks


@TECHNIQUES.register("auxiliary_classifier")
class AuxiliaryClassifier(LossTerm):
    """The discriminator also predicts the class (ACGAN: Odena et al. 2017, arXiv 1610.09585).

    A linear layer on the last hidden layer. Both networks minimize its cross-entropy: the discriminator on
    real images and, with `fakes`, on generated ones; the generator on generated ones, with the weight
    `generator_weight`. ACGAN has weights 1 and 1; WGAN-GP's CIFAR-10 run 1 and 0.1.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"classes"})
    supplies_class_signal: ClassVar[bool] = True

    generator_weight: float = Field(1.0, ge=0)
    fakes: bool = True

    _accuracies: dict[str, Tensor] = PrivateAttr(default_factory=dict)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Adds `classifier` to the discriminator, so that it is optimized and saved with it."""
        discriminator = networks.discriminator
        if discriminator.features_read_labels:
            raise RecipeError(
                "auxiliary_classifier predicts the class, and this discriminator reads it: add "
                "--set discriminator.conditioning=none, or --set techniques.auxiliary_classifier=off"
            )
        classes = discriminator.spec.num_classes
        discriminator.classifier = init_linear(discriminator.feature_width, classes, random)

    def discriminator_term(self, output: ForwardOutput) -> Scalar:
        assert output.real_features is not None
        loss = self._cross_entropy(output, output.real_features, "real_accuracy")
        if self.fakes:
            loss = loss + self._cross_entropy(output, output.fake_features, None)
        return loss

    def generator_term(self, output: ForwardOutput) -> Scalar:
        return self.generator_weight * self._cross_entropy(output, output.fake_features, "fake_accuracy")

    def _cross_entropy(self, output: ForwardOutput, features: Features, accuracy: str | None) -> Scalar:
        labels = output.labels
        assert labels is not None  # needs classes
        logits = self.class_logits(output.networks.discriminator, features)
        if accuracy:
            self._accuracies[accuracy] = (logits.detach().argmax(1) == labels).float().mean()
        return cross_entropy(logits, labels)

    def class_logits(self, discriminator: Discriminator, features: Features) -> Tensor:
        classifier = discriminator.classifier
        assert isinstance(classifier, nn.Module)
        return cast(Tensor, classifier(features.float()))

    def statistics(self) -> dict[str, Tensor]:
        """The accuracies on real and on generated images since the last call.

        They are returned once, so that a checkpoint need not store them.
        """
        accuracies, self._accuracies = self._accuracies, {}
        return accuracies
