"""What a forecast says: plain frozen values, and how they are told."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from kennel.wiring.forecasting.counting import StateBytes
from kennel.wiring.forecasting.speed import Speed
from kennel.wiring.forecasting.ticks import Ticks, Validation, Writing


@dataclass(frozen=True)
class Memory:
    """Bytes on the device. `round` is the most that a round holds beyond what stays, `set` the resident data.

    `judging` is held for validation, `checkpoint` while one is written (0 on a GPU, where the copy is in
    main memory). `free` is what the device had free before, None where nobody can tell; `measured` is the
    peak that CUDA's allocator saw, None elsewhere.
    """

    state: StateBytes
    round: int
    set: int
    judging: int
    checkpoint: int
    free: int | None
    batch_that_fits: int | None = None
    measured: int | None = None

    @property
    def total(self) -> int:
        """The most at once: a round's, or a checkpoint's, which come at different times."""
        return self.state.total + self.set + self.judging + max(self.round, self.checkpoint)

    @property
    def fits(self) -> bool:
        """Whether the total is free; taken to be so where nobody can tell."""
        return self.free is None or self.total <= self.free


@dataclass(frozen=True)
class Disk:
    """Bytes of a run's folder at its end, one checkpoint that is being written included."""

    checkpoints: int
    checkpoint_bytes: int
    grids: int
    grid_bytes: int
    log_bytes: int
    spectra_bytes: int
    free: int

    @property
    def total(self) -> int:
        """The sum."""
        lines = self.log_bytes + self.spectra_bytes
        return self.checkpoints * self.checkpoint_bytes + self.grids * self.grid_bytes + lines


@dataclass(frozen=True)
class Times:
    """Seconds of what is left of the run, by what they go to."""

    training: float
    validations: int
    validation: float
    reference: float
    looks: float
    writing: float
    start: float

    @property
    def total(self) -> float:
        """The sum."""
        parts = (self.training, self.validation, self.reference, self.looks, self.writing, self.start)
        return sum(parts)

    def ends(self, now: datetime) -> datetime | None:
        """When a run that starts `now` would be over; None beyond the last year of the calendar."""
        try:
            return now + timedelta(seconds=self.total)
        except OverflowError:
            return None


@dataclass(frozen=True)
class Forecast:
    """What a run will take: see `forecast`.

    `flops` are those of a mean round; `products` the FLOP/s of a bare matrix product, by precision;
    `term_shares` which part of a round's operations goes to each term that works at every turn;
    `speed`, `times` and `writing` are None where memory does not suffice to play a round.
    """

    recipe: str
    data: str
    device: str
    precision: str
    batch: int
    set_size: int
    shape: tuple[int, int, int]
    parameters: Mapping[str, int]
    images_left: int
    images_seen: int
    rounds_left: int
    round_images: float
    flops: float
    kinds: int
    term_shares: Mapping[str, float]
    products: Mapping[str, float]
    speed: Speed | None
    memory: Memory
    writing: Writing
    disk: Disk
    ticks: Ticks
    validation: Validation | None
    validation_every: int
    times: Times | None
    notes: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def images_per_second(self) -> float | None:
        """Of training, over all rounds that are left."""
        if self.times is None or self.times.training == 0:
            return None
        return self.images_left / self.times.training

    @property
    def flops_per_second(self) -> float | None:
        """Operations of the rounds per second of training."""
        rate = self.images_per_second
        return None if rate is None else rate * self.flops / self.round_images

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, sums included."""
        content = asdict(self)
        content["memory"] |= {"total": self.memory.total, "fits": self.memory.fits}
        content["disk"]["total"] = self.disk.total
        content["images_per_second"] = self.images_per_second
        content["flops_per_second"] = self.flops_per_second
        content["flops_per_image"] = self.flops / self.round_images
        if self.times is not None:
            content["times"]["total"] = self.times.total
        return content


def clock(seconds: float) -> str:
    """Seconds as 3 d 4:05:06, 4:05:06 or 5:06."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size_words(count: int) -> str:
    """Bytes as 12 kB, 3.4 MB or 5.6 GB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.{0 if count >= 100 * size else 1}f} {unit}"
    return f"{count / 1e3:.0f} kB"
