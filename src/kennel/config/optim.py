"""Optimizers, their learning rates, and the schedules of both."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kennel.config.base import Config
from kennel.config.schedules import Decay, decayed

Beta = Annotated[float, Field(ge=0, lt=1)]


class ScheduleConfig(Config):
    """How a learning rate moves over the run: a factor of it, by the share of the budget that is spent.

    It rises linearly from `initial` to 1 during the first `warm_up` of the run, and goes from 1 to `final`
    between `begins` and `ends`.
    """

    decay: Decay = "constant"
    decay_start: float = Field(0.0, ge=0, lt=1)
    decay_end: float = Field(1.0, gt=0, le=1)
    final_factor: float = Field(0.0, ge=0, allow_inf_nan=False)
    warmup: float = Field(0.0, ge=0, lt=1)
    warmup_factor: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> "ScheduleConfig":
        if self.decay_start >= self.decay_end:
            raise ValueError(
                f"the schedule begins at {self.decay_start} and ends at {self.decay_end}: end later"
            )
        if self.final_factor and self.decay == "constant":
            raise ValueError("final is where a decay arrives: give decay=linear or cosine with it")
        if self.warmup_factor and not self.warmup:
            raise ValueError("initial is where a warm-up begins: give warm_up with it")
        return self

    def factor(self, progress: float) -> float:
        """The factor at this share of the run."""
        factor = decayed(
            self.decay,
            1.0,
            self.final_factor,
            (progress - self.decay_start) / (self.decay_end - self.decay_start),
        )
        if progress < self.warmup:
            factor *= decayed("linear", self.warmup_factor, 1.0, progress / self.warmup)
        return factor


class SecondBeta(Config):
    """Where Adam's second beta goes: from that of `betas` to `final` while the run goes to `until`.

    Huang et al. 2024 (arXiv 2501.05441) let it grow from 0.9 to 0.99 along a cosine: early gradients are
    forgotten sooner.
    """

    final: Beta = 0.99
    decay: Literal["linear", "cosine"] = "cosine"
    until: float = Field(1.0, gt=0, le=1)

    def at(self, start: float, progress: float) -> float:
        """Its value at this share of the run, from `start` on."""
        return decayed(self.decay, start, self.final, progress / self.until)


class OptimizerConfig(Config):
    """An optimizer with its published names: learning rate, its schedule, epsilon, L2 weight decay.

    `betas` and `second_beta`, the schedule of the second of them (`None`: it stays), belong to adam,
    `smoothing` (of the squares) to rmsprop, `momentum` to rmsprop and sgd.
    """

    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    learning_rate: float = Field(2e-4, gt=0, allow_inf_nan=False)
    schedule: ScheduleConfig = ScheduleConfig()
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    second_beta: SecondBeta | None = None
    alpha: Beta = 0.99
    momentum: Beta = 0.0
    eps: float = Field(1e-8, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _read(self) -> "OptimizerConfig":
        if self.name == "adam" and self.momentum:
            raise ValueError("adam has betas: momentum belongs to rmsprop and sgd")
        if self.name != "adam" and self.second_beta is not None:
            raise ValueError(
                f"second_beta is adam's, and this is {self.name}: leave it out, or give name=adam"
            )
        return self

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate at this share of the run."""
        return self.learning_rate * self.schedule.factor(progress)

    def betas_at(self, progress: float) -> tuple[float, float]:
        """Adam's betas at this share of the run."""
        first, second = self.betas
        return first, second if self.second_beta is None else self.second_beta.at(second, progress)
