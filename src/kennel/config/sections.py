"""The sections of a recipe: components, images, the prior, validation, sampling, instances."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from kennel.config.base import Config

ClassSampling = Literal["data", "uniform"]
"""How the classes of samples are drawn: as often as the training set has them, or all alike."""


class ComponentConfig(BaseModel):
    """A thing asked for by its registered name, with its options beside the name.

    The options are checked by the thing itself when the recipe is wired.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """All but the name."""
        return dict(self.model_extra or {})


class ImageConfig(Config):
    """What the networks draw. `None` is filled in from the data set when training starts."""

    size: PositiveInt | None = None
    channels: Literal[1, 2, 3] | None = None
    """1 is grey, 3 is colour; 2 are the coordinates of points (images of one pixel)."""


class LatentConfig(Config):
    """The prior that the generator starts from; `uniform` is on [-1, 1]."""

    dim: PositiveInt = 128
    distribution: Literal["normal", "uniform"] = "normal"


class ValidationConfig(Config):
    """Judging during training: `count` samples against the training set, every so many ticks.

    `metric` decides which checkpoint is `best`, and the run stops when it has not improved for `patience`
    validations (`None`: never); those of `also` are measured and logged beside it. Names are those of
    `kennel judge`, and are checked where the run is built. `extractor` "auto" takes the best whose weights
    are at hand. `every_ticks` 0 turns validation off.
    """

    metric: str = "mifid"
    extra_metrics: tuple[str, ...] = ()
    patience: PositiveInt | None = None
    extractor: str = "auto"
    num_samples: int = Field(2048, ge=2)
    every_ticks: int = Field(1, ge=0)

    @field_validator("extra_metrics", mode="before")
    @classmethod
    def _from_a_line(cls, given: Any) -> Any:
        return [name.strip() for name in given.split(",")] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _patience_counts_something(self) -> "ValidationConfig":
        if self.patience is not None and self.every_ticks == 0:
            raise ValueError(
                "patience counts validations, and every_ticks 0 turns them off: give every_ticks of 1 or "
                "more, or patience=null"
            )
        return self


class SamplingConfig(Config):
    """How samples are drawn from the generator, during training and after.

    `standing_passes` > 0 measures batch norm's statistics anew, by so many batches of samples at the
    truncation that is asked for (standing statistics, Brock et al. 2019); 0 takes the running
    averages of training.

    `classes` says how often a sample of each class is drawn where none is asked for: "data" as often as the
    training set has it, as in training, "uniform" all alike.
    """

    standing_stats_batches: NonNegativeInt = 0
    classes: ClassSampling = "data"


class InstancesConfig(Config):
    """Conditioning on what a pretrained network sees in a training image (`networks.layers.instances`).

    Each time that an image is shown, its instance is drawn among its `neighbors` nearest training images, of
    which it is one itself; 0 turns this off. Images are near where their features by `extractor`, reduced to
    `dimension` principal components, point the same way. Of a larger set `most` images serve as instances.
    """

    neighbors: NonNegativeInt = 0
    extractor: str = "efficientnet_lite1"
    dim: PositiveInt = 128
    max_instances: Annotated[int, Field(ge=2)] = 10_000
    num_instances: PositiveInt | None = None
    """How many instances there are. Always filled in from the data set."""
