"""Options of optimizers and of their schedules."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from kennel.config.base import Config
from kennel.config.schedules import Decay, decayed

Beta = Annotated[float, Field(ge=0, lt=1)]


class ScheduleConfig(Config):
    """A factor on the learning rate, by the share of the budget that is used.

    It rises linearly from `warmup_factor` to 1 during the first `warmup` of the run, and decays from 1 to
    `final_factor` between `decay_start` and `decay_end`.
    """

    decay: Decay = "constant"
    decay_start: float = Field(0.0, ge=0, lt=1)
    decay_end: float = Field(1.0, gt=0, le=1)
    final_factor: float = Field(0.0, ge=0, allow_inf_nan=False)
    warmup: float = Field(0.0, ge=0, lt=1)
    warmup_factor: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> "ScheduleConfig":
        if self.decay_start >= self.decay_end:
            raise ValueError(
                f"decay_start is {self.decay_start} and decay_end is {self.decay_end}: set a later decay_end"
            )
        if self.final_factor and self.decay == "constant":
            raise ValueError("final_factor needs a decay: set decay=linear or decay=cosine")
        if self.warmup_factor and not self.warmup:
            raise ValueError("warmup_factor needs a warm-up: set warmup too")
        return self

    def factor(self, progress: float) -> float:
        position = (progress - self.decay_start) / (self.decay_end - self.decay_start)
        factor = decayed(self.decay, 1.0, self.final_factor, position)
        if progress < self.warmup:
            factor *= decayed("linear", self.warmup_factor, 1.0, progress / self.warmup)
        return factor


class SecondBeta(Config):
    """Moves Adam's second beta from its value in `betas` to `final` over the share `until` of the run.

    Huang et al. 2024 (arXiv 2501.05441) increase it from 0.9 to 0.99 along a cosine.
    """

    final: Beta = 0.99
    decay: Literal["linear", "cosine"] = "cosine"
    until: float = Field(1.0, gt=0, le=1)

    def at(self, start: float, progress: float) -> float:
        return decayed(self.decay, start, self.final, progress / self.until)


class OptimizerConfig(Config):
    """An optimizer, its learning rate and schedule, epsilon, and L2 weight decay.

    `betas` and `second_beta` (None: constant) are for adam, `alpha` (decay of the squared gradients) for
    rmsprop, `momentum` for rmsprop and sgd.
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
    def _check(self) -> "OptimizerConfig":
        if self.name == "adam" and self.momentum:
            raise ValueError("adam has betas: momentum is for rmsprop and sgd")
        if self.name != "adam" and self.second_beta is not None:
            raise ValueError(f"second_beta is for adam, not for {self.name}: leave it out, or set name=adam")
        return self

    def learning_rate_at(self, progress: float) -> float:
        return self.learning_rate * self.schedule.factor(progress)

    def betas_at(self, progress: float) -> tuple[float, float]:
        first, second = self.betas
        return first, second if self.second_beta is None else self.second_beta.at(second, progress)
