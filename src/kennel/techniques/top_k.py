"""Top-k training of the generator."""

from typing import Literal

from pydantic import Field

from kennel.losses import per_image
from kennel.shapes import Indices, Logits
from kennel.techniques.base import TECHNIQUES, StepContext, Technique


@TECHNIQUES.register("top_k")
class TopK(Technique):
    """The generator's adversarial loss uses the k fakes with the highest logits only (Sinha et al. 2020,
    arXiv 2002.06224).

    k decreases from the whole batch to `fraction` of it over the share `until` of the run, by the same factor
    in each epoch ("exponential", the paper's) or by the same number ("linear"), and is then constant.
    """

    fraction: float = Field(0.5, gt=0, lt=1)
    until: float = Field(0.5, gt=0, le=1)
    decay: Literal["exponential", "linear"] = "exponential"

    def share_at(self, progress: float) -> float:
        """k / batch at this share of the run."""
        passed = min(progress / self.until, 1.0)
        return self.fraction**passed if self.decay == "exponential" else 1 - (1 - self.fraction) * passed

    def select_fakes(self, fake_logits: Logits, context: StepContext) -> Indices | None:
        """The indices of the k largest logits (means over an image's outputs)."""
        batch = len(fake_logits)
        k = max(1, round(self.share_at(context.progress) * batch))
        return per_image(fake_logits.detach()).topk(k).indices if k < batch else None
