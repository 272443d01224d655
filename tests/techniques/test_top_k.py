"""The generator learns from the best of its fakes, of which fewer and fewer count."""

import pytest
import torch

from kennel.engine.optim import ScheduledOptimizer
from kennel.engine.step import GANStep
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks, StepContext

LOGITS = torch.tensor([0.1, -2.0, 3.0, 0.5, -0.5, 1.0, -1.0, 2.0])


@pytest.mark.parametrize(
    ("options", "progress", "expected"),
    [
        ({}, 0.0, 1.0),
        ({}, 0.25, 0.5**0.5),
        ({}, 0.5, 0.5),
        ({}, 1.0, 0.5),
        ({"fraction": 0.75, "until": 1.0}, 0.5, 0.75**0.5),
        ({"decay": "linear"}, 0.25, 0.75),
        ({"decay": "linear"}, 0.9, 0.5),
    ],
)
def test_the_share_falls_from_all_to_the_fraction_and_stays(options, progress, expected):
    assert TECHNIQUES["top_k"](**options).share_at(progress) == pytest.approx(expected)


def test_the_default_is_the_papers_factor_of_0_99_an_epoch_until_half_the_batch():
    technique = TECHNIQUES["top_k"](until=0.6)
    epochs_to_half = torch.log(torch.tensor(0.5)) / torch.log(torch.tensor(0.99))
    assert epochs_to_half.item() == pytest.approx(68.97, abs=0.01)
    total = epochs_to_half.item() / 0.6
    for epoch in (1, 10, 60):
        assert technique.share_at(epoch / total) == pytest.approx(0.99**epoch, rel=1e-6)


@pytest.mark.parametrize(("images_seen", "places"), [(500, {2, 7, 5, 3}), (250, {2, 7, 5, 3, 0, 4})])
def test_the_most_real_are_kept(images_seen, places, make_turn):
    kept = TECHNIQUES["top_k"]().select_fakes(LOGITS, make_turn("generator", images_seen=images_seen))
    assert set(kept.tolist()) == places


def test_at_the_start_all_are_kept_and_never_none(make_turn):
    assert TECHNIQUES["top_k"]().select_fakes(LOGITS, make_turn("generator")) is None
    least = TECHNIQUES["top_k"](fraction=0.01).select_fakes(LOGITS, make_turn("generator", images_seen=900))
    assert least.tolist() == [2]


@pytest.mark.parametrize("loss", ["bce", "hinge", "rahinge"])
def test_the_generators_loss_is_that_of_the_kept_alone(loss):
    torch.manual_seed(0)
    setting = NetworkSpec(8, 1, 4)
    networks = Networks(
        GENERATORS["mlp"](setting, GENERATORS["mlp"].Options(hidden=(8, 8))),
        DISCRIMINATORS["mlp"](setting, DISCRIMINATORS["mlp"].Options(hidden=(8, 8), dropout=0.0)),
    )
    still = ScheduledOptimizer(torch.optim.SGD(networks.generator.parameters(), 0.0), lambda progress: 0.0)
    step = GANStep(networks, LOSSES[loss](), {"top_k": TECHNIQUES["top_k"]()}, still, still)
    real, latents = torch.rand(8, 1, 8, 8) * 2 - 1, torch.randn(8, 4)
    context = StepContext(900, 1000, "generator", 0, 0, torch.device("cpu"))
    logged = step.generator_step(real if step.generator_needs_real else None, latents, None, context)
    fake_logits = networks.discriminator(networks.generator(latents))
    kept = fake_logits.topk(4).indices
    real_logits = networks.discriminator(real)[kept] if step.generator_needs_real else None
    expected = LOSSES[loss]().generator_loss(real_logits, fake_logits[kept])
    assert logged["generator_loss"].item() == pytest.approx(expected.item(), rel=1e-5)
