"""The discriminator's logits held near their own past."""

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PrivateAttr
from torch import Tensor
from torch.nn.functional import relu

from kennel.distributed import mean_over_ranks
from kennel.shapes import Scalar
from kennel.techniques.base import TECHNIQUES, ForwardOutput, LossTerm


@TECHNIQUES.register("lecam")
class LeCam(LossTerm):
    """LeCam regularisation for small sets (Tseng et al. 2021, arXiv 2104.03310).

    Averages of both sides' logits, in which a turn counts half after `half_life_images`, are the anchors
    that the other side's logits must not cross. They hold this turn's logits too, as in the authors' code,
    which bring the averages up to date before they look at the distance. The term sets in at `start_images`.
    """

    weight: float = Field(0.3, ge=0, allow_inf_nan=False)
    half_life_images: PositiveFloat = 4_400
    start_images: NonNegativeInt = 64_000

    # Decaying sums of the logits' means and of their weights: a young average is of what there has been.
    _sums: Tensor = PrivateAttr(default_factory=lambda: torch.zeros(2))
    _weights: Tensor = PrivateAttr(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def anchors(self) -> tuple[Tensor, Tensor]:
        """The averages of the real logits and of the fakes', of all turns so far; NaN before the first."""
        return _averages(self._sums, self._weights)

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        """E[max(0, D(x) - anchor of the fakes)^2] + E[max(0, anchor of the reals - D(G(z)))^2]."""
        if output.context.images_seen < self.start_images:
            return None
        assert output.real_logits is not None  # always there in the discriminator's turn
        real_anchor, fake_anchor = _averages(*self._with(output))
        return (
            relu(output.real_logits - fake_anchor).square().mean()
            + relu(real_anchor - output.fake_logits).square().mean()
        )

    def after_discriminator(self, output: ForwardOutput) -> None:
        """Takes this turn's logits into the averages."""
        self._sums, self._weights = self._with(output)

    @torch.no_grad()
    def _with(self, output: ForwardOutput) -> tuple[Tensor, Tensor]:
        """The sums and weights with this turn's logits; what is remembered stays as it is."""
        assert output.real_logits is not None
        means = mean_over_ranks(torch.stack([output.real_logits.mean(), output.fake_logits.mean()]))
        gain = 1 - 0.5 ** (output.context.images_in_step / self.half_life_images)
        sums = torch.lerp(self._sums.to(means), means, gain)
        return sums, self._weights + gain * (1 - self._weights)

    def statistics(self) -> dict[str, Tensor]:
        """The anchors, once there are some."""
        if self._weights == 0:
            return {}
        real, fake = self.anchors()
        return {"real_anchor": real, "fake_anchor": fake}

    def state_dict(self) -> dict[str, Tensor]:
        """The decaying sums and their weight."""
        return {"sums": self._sums, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes them back; the weight stays on the CPU, where nobody has to wait for it."""
        self._sums, self._weights = state["sums"], state["weights"].cpu()


def _averages(sums: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    real, fake = (sums / weights.to(sums)).unbind()
    return real, fake
