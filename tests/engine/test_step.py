"""The turns move the player whose turn it is, in the direction of the loss, and weigh every seam rightly."""

from typing import ClassVar

import pytest
import torch
from pydantic import Field

from kennel.engine.compute import ComputeContext, frozen
from kennel.engine.optim import ScheduledOptimizer
from kennel.engine.step import GANStep
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import LossTerm, Networks, StepContext, Technique

CPU = torch.device("cpu")
REAL = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
LATENTS = torch.randn(8, 4, generator=torch.Generator().manual_seed(2))


def make(techniques=(), rate: float = 0.1, precision=torch.float32, loss="bce") -> GANStep:
    torch.manual_seed(0)
    setting = NetworkSpec(8, 1, 4)
    networks = Networks(
        GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options(base_channels=4)),
        DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options(base_channels=4)),
    )
    return GANStep(
        networks,
        LOSSES[loss](),
        {f"technique {index}": technique for index, technique in enumerate(techniques)},
        ScheduledOptimizer(torch.optim.SGD(networks.discriminator.parameters(), rate), lambda progress: rate),
        ScheduledOptimizer(torch.optim.SGD(networks.generator.parameters(), rate), lambda progress: rate),
        compute=ComputeContext(precision),
    )


def context(player: str, number: int = 0) -> StepContext:
    return StepContext(0, 100, player, number, 0, CPU)


def parameters(network) -> list[torch.Tensor]:
    return [value.detach().clone() for value in network.parameters()]


def moved(before, network) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_discriminator_turn_moves_the_discriminator_alone():
    step = make()
    generator, discriminator = parameters(step.networks.generator), parameters(step.networks.discriminator)
    step.discriminator_step(REAL, LATENTS, None, context("discriminator"))
    assert moved(discriminator, step.networks.discriminator)
    assert not moved(generator, step.networks.generator)


def test_a_generator_turn_moves_the_generator_alone_and_spends_nothing_on_the_other():
    step = make()
    generator, discriminator = parameters(step.networks.generator), parameters(step.networks.discriminator)
    step.generator_step(None, LATENTS, None, context("generator"))
    assert moved(generator, step.networks.generator)
    assert not moved(discriminator, step.networks.discriminator)
    assert all(parameter.grad is None for parameter in step.networks.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in step.networks.discriminator.parameters())


def test_a_turn_is_one_step_of_gradient_descent_on_the_loss():
    step = make(rate=0.1)
    expected = make(rate=0.1)
    real_and_fake = torch.cat([REAL, expected.networks.generator(LATENTS).detach()])
    real_logits, fake_logits = expected.networks.discriminator(real_and_fake).chunk(2)
    loss = -(real_logits.sigmoid().log().mean() + (1 - fake_logits.sigmoid()).log().mean())
    wanted = list(expected.networks.discriminator.parameters())
    gradients = torch.autograd.grad(loss, wanted)
    statistics = step.discriminator_step(REAL, LATENTS, None, context("discriminator"))
    assert statistics["discriminator_loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    for got, before, gradient in zip(
        step.networks.discriminator.parameters(), wanted, gradients, strict=True
    ):
        assert torch.allclose(got, before - 0.1 * gradient, atol=1e-6)


def test_the_discriminator_learns_to_tell_and_the_generator_to_deceive():
    step = make()
    first = step.discriminator_step(REAL, LATENTS, None, context("discriminator"))
    for number in range(1, 20):
        last = step.discriminator_step(REAL, LATENTS, None, context("discriminator", number))
    assert last["discriminator_loss"] < first["discriminator_loss"]
    assert last["real_probability"] > last["fake_probability"]
    first = step.generator_step(None, LATENTS, None, context("generator"))
    for number in range(1, 20):
        last = step.generator_step(None, LATENTS, None, context("generator", number))
    assert last["generator_loss"] < first["generator_loss"]


def test_separate_batches_keep_the_statistics_of_real_and_fake_apart():
    class Separate(Technique):
        splits_batches: ClassVar[bool] = True

    seen: list[torch.Tensor] = []
    for techniques in ((), (Separate(),)):
        step = make(techniques)
        seen.clear()
        step.networks.discriminator.first.register_forward_pre_hook(
            lambda module, entry: seen.append(entry[0])
        )
        step.discriminator_step(REAL, LATENTS, None, context("discriminator"))
        sizes = [len(batch) for batch in seen]
        assert sizes == ([8, 8] if techniques else [16])


class Counting(LossTerm):
    """Adds 1 to either loss and notes when it is asked."""

    calls: list[str] = Field(default_factory=list)

    def discriminator_term(self, output):
        self.calls.append("discriminator")
        assert output.real is not None
        return output.fake_logits.new_ones(())

    def generator_term(self, output):
        self.calls.append("generator")
        return output.fake_logits.new_ones(())


def test_terms_are_weighted_and_lazy_ones_come_seldom_but_count_for_the_turns_between():
    plain = make().discriminator_step(REAL, LATENTS, None, context("discriminator"))["discriminator_loss"]
    technique = Counting(weight=0.5, interval=4, calls=[])
    for number, extra in ((0, 2.0), (1, 0.0), (3, 0.0), (4, 2.0)):
        value = make((technique,)).discriminator_step(REAL, LATENTS, None, context("discriminator", number))
        assert value["discriminator_loss"].item() == pytest.approx(plain.item() + extra, rel=1e-5)
    plain = make().generator_step(None, LATENTS, None, context("generator"))["generator_loss"]
    for number, extra in ((0, 2.0), (1, 0.0), (7, 0.0), (8, 2.0)):
        value = make((technique,)).generator_step(None, LATENTS, None, context("generator", number))
        assert value["generator_loss"].item() == pytest.approx(plain.item() + extra, rel=1e-5)
    assert technique.calls == ["discriminator", "discriminator", "generator", "generator"]


def test_a_loss_that_looks_at_real_images_gets_their_logits_in_the_generators_turn():
    class Relative(LOSSES["bce"]):
        generator_needs_real = True

        def generator_loss(self, real_logits, fake_logits):
            return (real_logits - fake_logits).mean()

    step = make()
    step.loss = Relative()
    generator = parameters(step.networks.generator)
    step.generator_step(REAL, LATENTS, None, context("generator"))
    assert moved(generator, step.networks.generator)


def test_lower_precision_keeps_weights_and_losses_in_float32():
    step = make(precision=torch.bfloat16)
    statistics = step.discriminator_step(REAL, LATENTS, None, context("discriminator"))
    statistics |= step.generator_step(None, LATENTS, None, context("generator"))
    assert {value.dtype for value in statistics.values()} == {torch.float32}
    assert {value.dtype for value in step.networks.generator.parameters()} == {torch.float32}


def test_freezing_leaves_frozen_parameters_frozen():
    network = make().networks.discriminator
    network.head.weight.requires_grad_(False)
    with frozen(network):
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.head.weight.requires_grad
    assert network.head.bias.requires_grad


def test_the_generator_may_learn_from_the_fakes_that_the_discriminator_saw(monkeypatch):
    step = make()
    drawn = []
    step.networks.generator.register_forward_hook(lambda module, entry, images: drawn.append(images))
    begun = []
    monkeypatch.setattr(step.compute, "begin_step", lambda: begun.append(True))
    before = parameters(step.networks.generator)
    step.discriminator_step(REAL, LATENTS, None, context("discriminator"), True)
    assert not moved(before, step.networks.generator)
    step.generator_step(None, LATENTS, None, context("generator"))
    assert len(drawn) == 1
    assert len(begun) == 1  # memory that a CUDA graph may use anew is still looked at in the second turn
    assert moved(before, step.networks.generator)
    step.generator_step(None, LATENTS, None, context("generator", 1))
    assert len(drawn) == 2


def through_a_fixed_network(keep: bool):
    """Both turns of a round against the projected discriminator; how often its fixed network was asked."""
    torch.manual_seed(0)
    setting = NetworkSpec(32, 1, 4)
    kinds = GENERATORS["dcgan"], DISCRIMINATORS["projected"]
    options = {"features": "untrained", "base_channels": 2, "max_channels": 4, "batch_norm": False}
    networks = Networks(
        kinds[0](setting, kinds[0].Options(base_channels=2)), kinds[1](setting, kinds[1].Options(**options))
    )
    rate = 0.01
    movers = [
        ScheduledOptimizer(torch.optim.SGD(one.parameters(), rate), lambda _: rate) for one in networks.both()
    ]
    step = GANStep(networks, LOSSES["hinge"](), {}, movers[1], movers[0])
    asked = []
    networks.discriminator.fixed.register_forward_hook(
        lambda module, entry, maps: asked.append(len(entry[0]))
    )
    real = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    latents = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
    step.discriminator_step(real, latents, None, context("discriminator"), keep)
    step.generator_step(None, latents, None, context("generator"))
    return step, asked


def test_fakes_pass_the_fixed_network_once_for_both_turns_and_nothing_else_changes():
    shared, asked = through_a_fixed_network(keep=True)
    assert asked == [4, 4]  # the fakes, then the real images
    apart, asked = through_a_fixed_network(keep=False)
    assert asked == [4, 4, 4]
    for one, other in zip(shared.networks.both(), apart.networks.both(), strict=True):
        for name, value in one.state_dict().items():
            # Batch norm in the generator has met the batch once more where the fakes are drawn twice.
            if "running" not in name and "tracked" not in name:
                torch.testing.assert_close(value, other.state_dict()[name], msg=name)
