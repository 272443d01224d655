"""The settings of the study."""

from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from kennel.config.base import Config
from kennel.features.train_classifier import TARGET_IMAGES
from kennel.studies.config import KINDS, Name, count_in_words, count_of_seeds

ARMS: dict[str, str] = {
    "scarce": "the scarce classes stay small",
    "augmented": "filled up with copies, each turned, scaled and shifted at random",
    "generated": "filled up with generated images",
    "both": "filled up with augmented copies and generated images, half and half",
}
"""What a classifier is trained on, by the name of the arm."""


@KINDS.register("expand")
class ExpandConfig(Config):
    """A classifier is trained on a set with scarce classes, filled up in several ways (`ARMS`), and tested on
    real images.

    `data` is one set, from which `test_share` of each class is held out for the test, or two of the names
    `train` and `test`. Of each scarce class `keep` images are kept, drawn by the seed: `scarce` are their
    names, or their number, evenly spaced among the classes. They are filled up to `to` images, by default to
    those of the largest class. The generator is trained on the same set by `recipe` ("auto" chooses one) with
    `settings`, for `images` or `hours`. Each classifier takes `classifier_images` images over all its epochs.
    Every seed draws other kept images and trains another generator and other classifiers.
    """

    kind: Literal["expand"] = "expand"
    name: Name
    description: str = ""
    paper: str = ""
    data: dict[Name, str] = Field(default_factory=dict)
    scarce: Annotated[int, Field(ge=1)] | tuple[str, ...] = 5
    keep: Annotated[int, Field(ge=2)] = 50
    to: Annotated[int, Field(ge=2)] | None = None
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    recipe: str = "auto"
    settings: tuple[str, ...] = ()
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2)
    images: int | None = None
    hours: Annotated[float, Field(gt=0)] | None = None
    classifier_images: Annotated[int, Field(ge=1)] = TARGET_IMAGES
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.01
    max_rejected: Annotated[float, Field(ge=0, lt=1)] = 0.5

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_of_seeds(cls, value: Any) -> Any:
        return count_of_seeds(value)

    @field_validator("images", "classifier_images", mode="before")
    @classmethod
    def _count_in_words(cls, value: Any) -> Any:
        return count_in_words(value)

    @model_validator(mode="after")
    def _is_consistent(self) -> "ExpandConfig":
        if self.images is not None and self.hours is not None:
            raise ValueError("images and hours are both given: give one budget")
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ValueError("seeds must be different, and at least one")
        if self.to is not None and self.to <= self.keep:
            raise ValueError(f"to is {self.to} and keep {self.keep}: to must be larger")
        if len(self.data) > 1 and set(self.data) != {"train", "test"}:
            raise ValueError("data has several sets: give one, or two named train and test")
        return self

    @property
    def run_count(self) -> int:
        """The number of generators that are trained."""
        return len(self.seeds)

    def to_yaml(self) -> str:
        """The study as YAML that `load_study` reads back."""
        content = self.model_dump(mode="json", exclude_none=True)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
