"""The options of `kennel sample`, and which of them go together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kennel.errors import RunError

_MOVING = ("--columns", "--count", "--fps", "--frames", "--no-loop", "--truncation")
_PLAIN = (
    *("--class", "--classes", "--columns", "--count", "--grid", "--keep", "--labels", "--per-class"),
    *("--seed", "--truncation"),
)
MODES: dict[str, tuple[str, ...]] = {
    "--interpolate": (*_MOVING, "--class", "--classes"),
    "--morph": (*_MOVING, "--seed"),
    "--sweep": (*_MOVING, "--class", "--classes", "--seed"),
    "--mix": ("--class", "--mix-from", "--truncation"),
    "--like": ("--class", "--seed", "--steps"),
}
"""The pictures that are not samples of single seeds, and the options that each one takes."""
_ALWAYS = ("batch", "checkpoint", "device", "out", "playing")


@dataclass(frozen=True)
class SampleOptions:
    """The options of `kennel sample` by name; None or False for one that is not given."""

    count: int | None
    seed: int | None
    keep: str | None
    truncation: float | None
    class_: str | None
    classes: str | None
    per_class: int | None
    grid: Path | None
    columns: int | None
    labels: bool
    out: Path | None
    interpolate: str | None
    morph: str | None
    sweep: str | None
    frames: int | None
    fps: int | None
    no_loop: bool
    mix: tuple[str, str] | None
    mix_from: str | None
    like: Path | None
    steps: int | None
    checkpoint: str
    playing: bool
    batch: int
    device: str

    @property
    def mode(self) -> str | None:
        """One of `MODES`, or None for samples."""
        return next((mode for mode in MODES if mode in self._given), None)

    @property
    def _given(self) -> list[str]:
        values: dict[str, Any] = vars(self)
        return [
            f"--{name.rstrip('_').replace('_', '-')}"
            for name, value in values.items()
            if name not in _ALWAYS and value is not None and value is not False
        ]

    def refuse_others(self) -> None:
        """Raises `RunError` for two pictures at once, and for an option that the picture does not take."""
        modes = [mode for mode in MODES if mode in self._given]
        if len(modes) > 1:
            raise RunError(f"{modes[0]} and {modes[1]} are two pictures: give one of the two")
        taken = MODES[modes[0]] if modes else _PLAIN
        for option in self._given:
            if option not in (*modes, *taken):
                takers = [mode for mode, options in MODES.items() if option in options]
                there = f"is for {', '.join(takers)}" if takers else "draws samples"
                here = f", not for {modes[0]}" if modes else ""
                raise RunError(f"{option} {there}{here}: leave it out")
        if self.sweep not in (None, "truncation"):
            raise RunError(f"--sweep {self.sweep} is not possible: write --sweep truncation")

    def refuse_contradictions(self) -> None:
        """Raises `RunError` for options of samples that contradict one another."""
        draws = {"--count": self.count, "--per-class": self.per_class, "--keep": self.keep}
        both = [option for option, value in draws.items() if value is not None]
        if len(both) > 1:
            raise RunError(f"{both[0]} and {both[1]} both set the number of images: give one of the two")
        if self.keep is not None and self.seed is not None:
            raise RunError("--keep and --seed both set the seeds: give one of the two")
        if self.columns is not None and self.per_class is not None:
            raise RunError("--per-class sets the columns, one row per class: leave --columns out")
        for option, given in (("--columns", self.columns is not None), ("--labels", self.labels)):
            if given and self.grid is None and self.out is not None:
                raise RunError(
                    f"{option} is for a grid, and --out writes images: give --grid too, or leave it out"
                )
        for option, value, what in (
            ("--class", self.class_, "one class"),
            ("--classes", self.classes, "a class per seed"),
        ):
            if self.per_class is not None and value is not None:
                raise RunError(f"{option} draws {what} and --per-class all of them: give one of the two")
