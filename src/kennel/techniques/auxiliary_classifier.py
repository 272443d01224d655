"""Teaching the generator its classes by a classifier."""

from typing import ClassVar

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from kennel.errors import RecipeError
from kennel.networks import Discriminator
from kennel.networks.layers.init import init_linear
from kennel.shapes import Features, Labels, Scalar
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm, Networks


@TECHNIQUES.register("auxiliary_classifier")
class AuxiliaryClassifier(LossTerm):
    """The discriminator also names the class, of fakes too (ACGAN: Odena et al. 2017, arXiv 1610.09585).

    A linear layer on the last hidden layer. Either player minimises the cross-entropy L_C of its
    answer: the discriminator on real images and, with `fakes`, on generated ones; the generator on its own,
    where the term counts `generator_weight` times. ACGAN has 1 and 1; WGAN-GP's CIFAR-10 run 1 and 0.1.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"classes"})
    supplies_class_signal: ClassVar[bool] = True

    generator_weight: float = Field(1.0, ge=0)
    fakes: bool = True

    _right: dict[str, Tensor] = PrivateAttr(default_factory=dict)

    def modify_networks(self, networks: Networks, random: torch.Generator) -> None:
        """Gives the discriminator its `classifier`, which its optimizer moves and its checkpoint keeps."""
        discriminator = networks.discriminator
        if discriminator.features_read_labels:
            raise RecipeError(
                "auxiliary_classifier asks the discriminator for a class that it is told: add "
                "--set discriminator.conditioning=none, or --set techniques.auxiliary_classifier=off"
            )
        classes = discriminator.spec.num_classes
        discriminator.classifier = init_linear(discriminator.feature_width, classes, random)

    def discriminator_term(self, output: ForwardOutput) -> Scalar:
        """The cross-entropy on real images, and on fakes."""
        assert output.real_features is not None
        loss = self._cross_entropy(output, output.real_features, "real_accuracy")
        if self.fakes:
            loss = loss + self._cross_entropy(output, output.fake_features, None)
        return loss

    def generator_term(self, output: ForwardOutput) -> Scalar:
        """The cross-entropy on the generator's images, `generator_weight` times."""
        return self.generator_weight * self._cross_entropy(output, output.fake_features, "fake_accuracy")

    def _cross_entropy(self, output: ForwardOutput, features: Features, accuracy: str | None) -> Scalar:
        labels = output.labels
        assert labels is not None  # needs classes
        answers = self.answers(output.networks.discriminator, features)
        if accuracy:
            self._right[accuracy] = _accuracy(answers, labels)
        return cross_entropy(answers, labels)

    def answers(self, discriminator: Discriminator, features: Features) -> Tensor:
        """Raw logits of the classes (batch, classes), float32."""
        classifier = discriminator.classifier
        assert isinstance(classifier, nn.Module), "build comes before any turn"
        logits: Tensor = classifier(features.float())
        return logits

    def statistics(self) -> dict[str, Tensor]:
        """The share of real images whose class was named, and of the generator's, since the last asking.

        Said once, so that nothing of an earlier turn has to outlive a checkpoint.
        """
        said, self._right = self._right, {}
        return said


def _accuracy(answers: Tensor, labels: Labels) -> Scalar:
    return (answers.detach().argmax(1) == labels).float().mean()
