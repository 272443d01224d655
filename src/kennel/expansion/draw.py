"""Draws images of one class, without copies of training images and without repetitions."""

import hashlib
from collections.abc import Iterator

from kennel.cancellation import raise_if_cancelled
from kennel.data.images import PixelArray
from kennel.errors import RunError
from kennel.evaluation.copy_guard import CopyGuard
from kennel.expansion.gaps import ClassGap
from kennel.sampling.loaded_generator import LoadedGenerator
from kennel.sampling.sampler import DEFAULT_BATCH

MAX_REJECTED = 0.5
"""The largest share of the drawn images that may be rejected."""
SPARE = 16
"""Rejections that are always allowed, so that the share of a few images does not decide."""


class AcceptedImages:
    """An iterable over (seed, image) of a class, in the order of seeds: as many as the class lacks.

    Images that `guard` takes for copies, and those with the same pixels as an earlier one, are rejected and
    drawn again with the next seed. Attributes, complete after iteration: `rejected`, the number of these;
    `next_seed`, the first seed that was not used.
    """

    def __init__(
        self,
        loaded: LoadedGenerator,
        gap: ClassGap,
        guard: CopyGuard,
        first_seed: int,
        *,
        max_rejected: float = MAX_REJECTED,
        truncation: float | None = None,
        batch: int = DEFAULT_BATCH,
    ) -> None:
        """Draws nothing yet. Iteration raises `RunError` once more than `max_rejected` of the images that
        would be drawn in all, and more than 16, are rejected."""
        self._gap, self._guard, self._name = gap, guard, loaded.name
        self._allowed = SPARE + int(gap.missing * max_rejected / (1 - max_rejected))
        # A batch beyond what is allowed, so that the error comes before the seeds end.
        most = gap.missing + self._allowed + batch
        self._samples = loaded.samples(most, first_seed, truncation, gap.label, batch)
        self.rejected, self.next_seed = 0, first_seed

    def __iter__(self) -> Iterator[tuple[int, PixelArray]]:
        accepted = 0
        seen: set[bytes] = set()
        for batch in self._samples:
            raise_if_cancelled()
            copies = self._guard.copies(batch.pixels)
            for seed, pixels, is_copy in zip(batch.seeds, batch.pixels, copies, strict=True):
                self.next_seed = seed + 1
                digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
                if is_copy or digest in seen:
                    self._reject(accepted)
                    continue
                seen.add(digest)
                accepted += 1
                yield seed, pixels
                if accepted == self._gap.missing:
                    return

    def _reject(self, accepted: int) -> None:
        self.rejected += 1
        if self.rejected > self._allowed:
            raise RunError(
                f"{self.rejected:,} of {self.rejected + accepted:,} images that {self._name} drew of the "
                f"class '{self._gap.name}' were copies of its {self._gap.real:,} training images or "
                "repetitions: it has memorized them or draws blurs; look at its samples, take another "
                "--checkpoint, add real images, or allow more with --max-rejected"
            )
