"""One discriminator step and one generator step, with the only training `backward()` of kennel.

Techniques take part through their methods; no technique is treated by name.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from kennel.distributed import all_gather
from kennel.engine.compute import ComputeContext, frozen
from kennel.engine.forward import DiscriminatorForward, DiscriminatorInput
from kennel.engine.nonfinite import NonFiniteGuard
from kennel.engine.optim import ScheduledOptimizer, add_clipped_gradient, average_gradients
from kennel.losses import Loss, Targets, of_all_ranks
from kennel.shapes import Images, Labels, Latents, Scalar
from kennel.techniques import (
    KINDS,
    AuxiliaryNetwork,
    ForwardOutput,
    LossTerm,
    Networks,
    StepContext,
    Technique,
)

Statistics = dict[str, Tensor]
"""Detached scalars on the device by log key; no step waits for their values."""


class GANStep:
    """The two training steps of a pair of networks with a loss and techniques."""

    def __init__(
        self,
        networks: Networks,
        loss: Loss,
        techniques: Mapping[str, Technique],
        discriminator_optimizer: ScheduledOptimizer,
        generator_optimizer: ScheduledOptimizer,
        auxiliary_optimizers: Mapping[str, ScheduledOptimizer] | None = None,
        compute: ComputeContext | None = None,
    ) -> None:
        """`compute` sets how the networks are computed; losses and weights are always float32."""
        self.networks = networks
        self.loss = loss
        self.named_techniques = techniques
        self.techniques = tuple(techniques.values())
        self.terms = {name: one for name, one in techniques.items() if isinstance(one, LossTerm)}
        self.auxiliary_networks = {
            name: one for name, one in techniques.items() if isinstance(one, AuxiliaryNetwork)
        }
        self.discriminator_optimizer = discriminator_optimizer
        self.generator_optimizer = generator_optimizer
        self.auxiliary_optimizers = auxiliary_optimizers or {}
        both = {"discriminator": discriminator_optimizer, "generator": generator_optimizer}
        self.nonfinite_guard = NonFiniteGuard(both | dict(self.auxiliary_optimizers))
        self.compute = compute or ComputeContext()
        self.forward = DiscriminatorForward(networks, self.techniques, self.compute)
        self._reused_fakes: Images | DiscriminatorInput | None = None
        need_real = [one.generator_needs_real for one in self.techniques]
        self.generator_needs_real = loss.generator_needs_real or any(need_real)
        self.adversarial = not any(one.replaces_adversarial for one in self.terms.values())

    def discriminator_step(
        self, real: Images, latents: Latents, labels: Labels | None, context: StepContext, keep: bool = False
    ) -> Statistics:
        """Trains the discriminator on `real` and fakes; with `keep` the next generator step reuses these."""
        due = {name: one for name, one in self.terms.items() if context.is_due(one.interval)}
        self.compute.begin_step()
        with torch.set_grad_enabled(keep):
            generated = self.forward.generate(latents, labels, context)
        of_real, of_fake = (any(kind in one.gradients_of for one in due.values()) for kind in KINDS)
        real, fake = real.detach().requires_grad_(of_real), generated.detach().requires_grad_(of_fake)
        reused = self.forward.reusable_fakes(generated, context, whole=not of_fake) if keep else None
        self._reused_fakes = reused
        fakes = reused.detached() if isinstance(reused, DiscriminatorInput) else fake
        output = self.forward.forward(context, latents, labels, real, fakes, of_real or of_fake)
        assert output.real_logits is not None
        targets = Targets.for_logits(output.real_logits, output.fake_logits)
        if self.loss.compares_images:
            targets = targets._replace(distances=(real - fake).detach().abs().flatten(1).mean(1))
        for technique in self.techniques:
            targets = technique.modify_targets(targets, context)
        of_all = of_all_ranks(output.real_logits, output.fake_logits, targets)
        loss = adversarial = self.loss.discriminator_loss(*of_all)
        logged = {
            "real_probability": output.real_logits.detach().sigmoid().mean(),
            "fake_probability": output.fake_logits.detach().sigmoid().mean(),
        }
        for name, one in due.items():
            if (term := one.discriminator_term(output)) is not None:
                loss = loss + one.weight * one.interval * term
                logged[f"{name}_discriminator_term"] = term.detach()
                logged["adversarial_discriminator_loss"] = adversarial.detach()
        logged = {"discriminator_loss": loss.detach(), **logged}
        norm = self._update(self.discriminator_optimizer.at(context.progress), loss, logged)
        for technique in self.techniques:
            technique.after_discriminator(output)
        return {**logged, "discriminator_gradient_norm": norm}

    def generator_step(
        self, real: Images | None, latents: Latents, labels: Labels | None, context: StepContext
    ) -> Statistics:
        """Trains the generator; `real` is given only if `generator_needs_real`."""
        reused, self._reused_fakes = self._reused_fakes, None
        if reused is None:  # a new step would overwrite the CUDA-graph outputs that reused fakes hold
            self.compute.begin_step()
        logged: Statistics = {}
        clipped: list[Scalar] = []
        with frozen(self.networks.discriminator):
            fake = self.forward.generate(latents, labels, context) if reused is None else reused
            output = self.forward.forward(context, latents, labels, real, fake)
            loss = self._adversarial_loss(output) if self.adversarial else output.fake.new_zeros(())
            for name, one in self.terms.items():
                if context.is_due(one.interval) and (term := one.generator_term(output)) is not None:
                    weighted = one.weight * one.interval * term
                    clipped += [weighted] if one.clipped else []
                    loss = loss if one.clipped else loss + weighted
                    logged[f"{name}_generator_term"] = term.detach()
            logged = {"generator_loss": loss.detach(), **logged}
            optimizer = self.generator_optimizer.at(context.progress)
            logged["generator_gradient_norm"] = self._update(optimizer, loss, logged, clipped)
        for name, auxiliary in self.auxiliary_networks.items():
            own_loss = auxiliary.auxiliary_loss(output)
            own = {f"{name}_loss": own_loss.detach()}
            self._update(self.auxiliary_optimizers[name].at(context.progress), own_loss, own)
            logged |= own
        for name, technique in self.named_techniques.items():
            technique.after_generator(output)
            logged |= {f"{name}_{key}": value.detach() for key, value in technique.statistics().items()}
        return logged

    def _adversarial_loss(self, output: ForwardOutput) -> Scalar:
        fake_logits = all_gather(output.fake_logits)
        real_logits = None if output.real_logits is None else all_gather(output.real_logits)
        for technique in self.techniques:
            if (selected := technique.select_fakes(fake_logits, output.context)) is not None:
                fake_logits = fake_logits[selected]
                real_logits = None if real_logits is None else real_logits[selected]
        return self.loss.generator_loss(real_logits, fake_logits)

    def _update(
        self, optimizer: Optimizer, loss: Scalar, logged: Statistics, clipped: Sequence[Scalar] = ()
    ) -> Scalar:
        """Updates by the gradient of `loss` and of each `clipped` term, whose gradient is made no longer.

        Returns the gradient's norm. A non-finite gradient or value in `logged` stops all updates.
        """
        optimizer.zero_grad(set_to_none=True)
        loss.backward(retain_graph=bool(clipped))  # type: ignore[no-untyped-call]
        average_gradients(optimizer)
        for term in clipped:
            add_clipped_gradient(optimizer, term)
        norm = self.nonfinite_guard.examine(optimizer, logged)
        optimizer.step()
        return norm
