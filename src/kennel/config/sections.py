"""Sections of a recipe: components, images, latents, validation, sampling, instances."""

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
"""How classes of samples are drawn: with the frequencies of the training set, or uniformly."""


class ComponentConfig(BaseModel):
    """A registered component: its name, and its options as further keys.

    The options are validated when the recipe is built.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class ImageConfig(Config):
    """The images that the networks draw. `None` is filled in from the data set when training starts."""

    size: PositiveInt | None = None
    channels: Literal[1, 2, 3] | None = None
    """1 is gray, 3 is color; 2 are the coordinates of points (images of one pixel)."""


class LatentConfig(Config):
    """The generator's prior; `uniform` is on [-1, 1]."""

    dim: PositiveInt = 128
    distribution: Literal["normal", "uniform"] = "normal"


class ValidationConfig(Config):
    """Evaluation during training: `num_samples` samples against the training set, every `every_ticks` ticks.

    `metric` selects the `best` checkpoint. The run stops if it does not improve for `patience` validations
    (`None`: never). `extra_metrics` are measured and logged in addition. Names are those of `kennel judge`.
    `extractor` "auto" takes the best one with available weights. `every_ticks` 0 turns validation off.
    """

    metric: str = "mifid"
    extra_metrics: tuple[str, ...] = ()
    patience: PositiveInt | None = None
    extractor: str = "auto"
    num_samples: int = Field(2048, ge=2)
    every_ticks: int = Field(1, ge=0)

    @field_validator("extra_metrics", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        return [name.strip() for name in given.split(",")] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _check(self) -> "ValidationConfig":
        if self.patience is not None and self.every_ticks == 0:
            raise ValueError(
                "patience counts validations, and every_ticks=0 turns them off: set every_ticks=1 (or more), "
                "or patience=null"
            )
        return self


class SamplingConfig(Config):
    """How samples are drawn from the generator, during training and after.

    `standing_stats_batches` > 0 measures the batch norm statistics again with this number of batches, at the
    requested truncation (standing statistics, Brock et al. 2019); 0 takes the running averages of training.
    `classes` is the distribution of classes if none is requested: "data" as in the training set, "uniform"
    all equally often.
    """

    standing_stats_batches: NonNegativeInt = 0
    classes: ClassSampling = "data"


class InstancesConfig(Config):
    """Conditioning on features of training images (`networks.layers.instances`).

    Each time that an image is shown, its instance is drawn from its `neighbors` nearest training images,
    itself included; 0 turns this off. Nearest is by the cosine of the features of `extractor`, reduced to
    `dim` principal components. In a larger set, `max_instances` images serve as instances.
    """

    neighbors: NonNegativeInt = 0
    extractor: str = "efficientnet_lite1"
    dim: PositiveInt = 128
    max_instances: Annotated[int, Field(ge=2)] = 10_000
    num_instances: PositiveInt | None = None
    """The number of instances; always filled in from the data set."""
