"""How far a run has come, from its recipe and its log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kennel.config.recipe import Recipe


@dataclass(frozen=True)
class Progress:
    """`images` of `total` (0: not known) are seen; `stopped_early` because validation did not improve."""

    images: int
    total: int
    stopped_early: bool = False

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.stopped_early or (0 < self.total <= self.images)

    @property
    def share(self) -> float:
        """Of the budget; 0 where it is not known."""
        return min(1.0, self.images / self.total) if self.total else 0.0

    @property
    def words(self) -> str:
        """ "finished", "stopped early", or the share of the budget that is done."""
        if self.stopped_early:
            return "stopped early"
        if not self.total:
            return "unknown"
        return "finished" if self.finished else f"{self.share:.0%} of its budget"


def progress_of(recipe: Recipe, about: Mapping[str, Any], log: Sequence[Mapping[str, Any]]) -> Progress:
    """The progress that `RunDir.log()` shows; `about` is `RunDir.about()`, with the count of the set."""
    last = log[-1] if log else {}
    count = about["data"].get("count") or 0
    total = recipe.budget.in_images(count) if count else 0
    patience = recipe.validation.patience
    waited = last.get("validations_since_best") or 0
    images = int(last.get("images", 0))
    early = patience is not None and waited >= patience and not 0 < total <= images
    return Progress(images, total, early)
