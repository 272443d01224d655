"""The auxiliary classifier is a cross-entropy for either player, and learns."""

import math

import pytest
import torch

from kennel.engine.optim import ScheduledOptimizer
from kennel.engine.step import GANStep
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks

CLASSES = 3
SETTING = NetworkSpec(8, 1, 4, CLASSES)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1])
# Images that are as bright as their class says.
REAL = (LABELS[:, None, None, None] - 1.0).expand(8, 1, 8, 8) * 0.9
LATENTS = torch.randn(8, 4, generator=torch.Generator().manual_seed(2))


def networks() -> Networks:
    torch.manual_seed(0)
    discriminator = DISCRIMINATORS["mlp"]
    return Networks(
        GENERATORS["mlp"](SETTING, GENERATORS["mlp"].Options(hidden=(16,))),
        discriminator(SETTING, discriminator.Options(hidden=(16,), dropout=0, conditioning="none")),
    )


def built(**options):
    pair, technique = networks(), TECHNIQUES["auxiliary_classifier"](**options)
    technique.modify_networks(pair, torch.Generator().manual_seed(0))
    return pair, technique


def step(**options) -> GANStep:
    pair, technique = built(**options)
    return GANStep(
        pair,
        LOSSES["bce"](),
        {"classifier": technique},
        ScheduledOptimizer(torch.optim.SGD(pair.discriminator.parameters(), 0.3), lambda progress: 0.3),
        ScheduledOptimizer(torch.optim.SGD(pair.generator.parameters(), 0.3), lambda progress: 0.3),
    )


def written_out(pair, images) -> float:
    """-E[log p(c|x)], in numbers."""
    logits = pair.discriminator.classifier(pair.discriminator.features(images))
    return -sum(row.log_softmax(0)[c].item() for row, c in zip(logits, LABELS, strict=True)) / len(LABELS)


@pytest.mark.parametrize("fakes", [True, False])
def test_the_discriminators_term_is_the_cross_entropy_of_both_sides(fakes, make_play):
    pair, technique = built(fakes=fakes)
    fake = pair.generator(LATENTS, LABELS).detach()
    term = technique.discriminator_term(make_play(pair, real=REAL, fake=fake, labels=LABELS))
    expected = written_out(pair, REAL) + (written_out(pair, fake) if fakes else 0)
    assert term.item() == pytest.approx(expected, rel=1e-5)


def test_the_generators_term_is_that_of_its_images_at_its_own_weight(make_play):
    pair, technique = built(generator_weight=0.1)
    fake = pair.generator(LATENTS, LABELS)
    term = technique.generator_term(make_play(pair, fake=fake, labels=LABELS))
    assert term.item() == pytest.approx(0.1 * written_out(pair, fake), rel=1e-5)


def test_a_classifier_that_knows_nothing_pays_the_logarithm_of_the_number_of_classes(make_play):
    pair, technique = built()
    torch.nn.init.zeros_(pair.discriminator.classifier.weight)
    torch.nn.init.zeros_(pair.discriminator.classifier.bias)
    output = make_play(pair, real=REAL, fake=-REAL, labels=LABELS)
    assert technique.discriminator_term(output).item() == pytest.approx(2 * math.log(CLASSES), rel=1e-6)


def test_the_pair_learns_the_classes(make_turn):
    playing = step()
    for number in range(100):
        statistics = playing.discriminator_step(REAL, LATENTS, LABELS, make_turn("discriminator", number))
        statistics |= playing.generator_step(None, LATENTS, LABELS, make_turn("generator", number))
    assert statistics["classifier_real_accuracy"] == 1
    assert statistics["classifier_fake_accuracy"] == 1


def test_the_discriminators_turn_moves_the_classifier_and_the_generators_does_not(make_turn):
    playing = step()
    classifier = playing.networks.discriminator.classifier
    before = classifier.weight.detach().clone()
    playing.generator_step(None, LATENTS, LABELS, make_turn("generator"))
    assert torch.equal(classifier.weight, before)
    playing.discriminator_step(REAL, LATENTS, LABELS, make_turn("discriminator"))
    assert not torch.equal(classifier.weight, before)


def test_accuracies_are_those_of_the_round_and_are_said_once(make_play):
    pair, technique = built()
    with torch.no_grad():  # everything is class 1
        pair.discriminator.classifier.weight.zero_()
        pair.discriminator.classifier.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
    technique.discriminator_term(make_play(pair, real=REAL, fake=REAL, labels=LABELS))
    technique.generator_term(make_play(pair, fake=REAL[:3], labels=torch.tensor([1, 1, 0])))
    said = technique.statistics()
    assert said["real_accuracy"].item() == pytest.approx(3 / 8)
    assert said["fake_accuracy"].item() == pytest.approx(2 / 3)
    assert technique.statistics() == {}


def test_the_classifiers_logits_are_float32_in_lower_precision(make_turn):
    pair, technique = built()
    features = torch.randn(4, 16).bfloat16()
    assert technique.class_logits(pair.discriminator, features).dtype == torch.float32


def test_it_reads_the_hidden_layer_whatever_the_head_sees_beside_it(make_play):
    pair, technique = networks(), TECHNIQUES["auxiliary_classifier"]()
    TECHNIQUES["minibatch_stddev"]().modify_networks(pair, torch.Generator().manual_seed(0))
    technique.modify_networks(pair, torch.Generator().manual_seed(0))
    assert pair.discriminator.classifier.in_features == 16
    assert technique.generator_term(make_play(pair, fake=REAL, labels=LABELS)) > 0
