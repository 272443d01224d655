"""LeCam regularization of the discriminator's logits."""

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PrivateAttr
from torch import Tensor
from torch.nn.functional import relu

from kennel.distributed import mean_over_ranks
from kennel.shapes import Scalar
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm


@TECHNIQUES.register("lecam")
class LeCam(LossTerm):
    """LeCam regularization for small sets (Tseng et al. 2021, arXiv 2104.03310).

    The anchors are moving averages of the mean logits of both sides, with a half-life of `half_life_images`;
    logits beyond the anchor of the other side are penalized. As in the authors' code, the averages include
    the current step. The term is added from `start_images` on.
    """

    weight: float = Field(0.3, ge=0, allow_inf_nan=False)
    half_life_images: PositiveFloat = 4_400
    start_images: NonNegativeInt = 64_000

    # Decaying sums of the mean logits and of their weights: the quotient is unbiased from the first step.
    _sums: Tensor = PrivateAttr(default_factory=lambda: torch.zeros(2))
    _weights: Tensor = PrivateAttr(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def anchors(self) -> tuple[Tensor, Tensor]:
        """The averages of the real and of the fake logits; NaN before the first step."""
        return _averages(self._sums, self._weights)

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        """E[max(0, D(x) - anchor of the fakes)^2] + E[max(0, anchor of the reals - D(G(z)))^2]."""
        if output.context.images_seen < self.start_images:
            return None
        assert output.real_logits is not None
        real_anchor, fake_anchor = _averages(*self._updated(output))
        return (
            relu(output.real_logits - fake_anchor).square().mean()
            + relu(real_anchor - output.fake_logits).square().mean()
        )

    def after_discriminator(self, output: ForwardOutput) -> None:
        self._sums, self._weights = self._updated(output)

    @torch.no_grad()
    def _updated(self, output: ForwardOutput) -> tuple[Tensor, Tensor]:
        assert output.real_logits is not None
        means = mean_over_ranks(torch.stack([output.real_logits.mean(), output.fake_logits.mean()]))
        gain = 1 - 0.5 ** (output.context.images_in_step / self.half_life_images)
        sums = torch.lerp(self._sums.to(means), means, gain)
        return sums, self._weights + gain * (1 - self._weights)

    def statistics(self) -> dict[str, Tensor]:
        if self._weights == 0:
            return {}
        real, fake = self.anchors()
        return {"real_anchor": real, "fake_anchor": fake}

    def state_dict(self) -> dict[str, Tensor]:
        return {"sums": self._sums, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        # The weight stays on the CPU, so that reading it does not wait for the device.
        self._sums, self._weights = state["sums"], state["weights"].cpu()


def _averages(sums: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    real, fake = (sums / weights.to(sums)).unbind()
    return real, fake
