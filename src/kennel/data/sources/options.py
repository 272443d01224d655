"""The options of `kennel data prepare`."""

import re
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from kennel.data.sources.decode import MAX_PIXELS
from kennel.errors import DataError

_CHOICES = {
    "crop": ("none", "box"),
    "boxes": ("first", "all"),
    "fit": ("crop", "squash", "pad"),
    "resample": ("lanczos", "bicubic", "bilinear", "box", "nearest"),
    "color": ("auto", "rgb", "grey"),
    "split": ("train", "val", "test", "all"),
    "classes": ("synset", "subset"),
}
_NUMBER = r"[-+]?(?:\d{1,12}\.?\d{0,12}|\.\d{1,12})(?:[eE][-+]?\d{1,2})?"

_MINIMA = dict.fromkeys(("size", "limit", "workers", "center_crop", "max_pixels", "class_count"), 1)
_MINIMA["min_side"] = 0
_RECORDED = {"color": "colour", "center_crop": "centre_crop"}
"""Options that have another key in `dataset.json`."""


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class PrepareOptions:
    """How a collection is cleaned and packed. Raises `DataError` for invalid values."""

    size: int | None = None
    """Side of the packed images in pixels; None is 64 for photographs; other sets keep their size."""
    crop: str | None = None
    """"box" crops to annotated boxes; None is "none", or the known set's default."""
    boxes: str = "first"
    """Use the first box of an image, or "all" as separate images."""
    center_crop: int | None = None
    """First crop the center square of this many pixels; smaller images are dropped."""
    aspect: tuple[Fraction, Fraction] | None = None
    """Lowest and highest width / height of the crop, inclusive."""
    min_side: int | None = None
    """Shortest side of the crop in source pixels; None is half of `size` if most images have that, else 0."""
    fit: str = "crop"
    """How an image becomes square: crop the center, squash it, or pad it with black."""
    resample: str = "lanczos"
    """The filter; all but "nearest" are antialiased."""
    color: str = "auto"
    """"auto" packs one channel if every image is gray, else RGB."""
    limit: int | None = None
    """Keep this many images, drawn by `seed`; None keeps all."""
    seed: int = 0
    split: str | None = None
    """The part of a set; None is "train" if there is one, else all."""
    labels: str = "auto"
    """Where classes come from: "auto" is a label file in the source, else its folders; "folders"; "none"; or
    the path of a table of names and labels."""
    levels: tuple[float, float] | None = None
    """The values that become black and white in images of more than 8 bits; None is the range in use."""
    background: tuple[int, int, int] = (255, 255, 255)
    """The color behind transparent images."""
    exclude: tuple[str, ...] = ()
    """Names to leave out: `class/file.jpg`, `file.jpg` or `file`."""
    keep_duplicates: bool | None = None
    """None drops images of equal pixels from photographs, and keeps them in idx, CIFAR and digits."""
    attribute: str | None = None
    """CelebA: the attribute for two classes."""
    category: tuple[str, ...] = ()
    """LSUN: the categories; empty for all that are found."""
    subset: tuple[str, ...] = ()
    """ImageNet: names of WordNet whose synsets and those below are taken; empty for all."""
    classes: str = "synset"
    """ImageNet: a class for each synset, or for each name of `subset`."""
    class_count: int | None = None
    """ImageNet: keep this many of the synsets found, drawn by `seed`; None keeps all."""
    max_bad: float = 0.05
    """Stop if more than this fraction of the files are broken."""
    max_pixels: int = MAX_PIXELS
    """Files with more pixels are refused before decoding."""
    workers: int | None = None
    """Threads; None is one per core. The result does not depend on it."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            choice = getattr(self, name)
            if choice not in choices and not (name in ("crop", "split") and choice is None):
                raise DataError(
                    f"{_option(name)} is '{choice}': it can be {', '.join(choices[:-1])} or {choices[-1]}"
                )
        for name, least in _MINIMA.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise DataError(f"{_option(name)} is {value}: it must be at least {least}")
        if self.size is not None and self.size > 4096:
            raise DataError(f"--size is {self.size}: images of at most 4096 pixels a side can be packed")
        if self.aspect is not None and not 0 < self.aspect[0] <= self.aspect[1]:
            low, high = (float(end) for end in self.aspect)
            raise DataError(f"--aspect {low:g}:{high:g} is empty: give the smaller one first, above 0")
        if self.center_crop is not None and self.crop == "box":
            raise DataError(
                "--center-crop excludes --crop box: give one of them, --center-crop with --crop none"
            )
        if self.levels is not None and not self.levels[0] < self.levels[1]:
            low, high = self.levels
            raise DataError(f"--range {low:g}:{high:g} is empty: give the value of black first")
        if self.classes == "subset" and not self.subset:
            raise DataError("--classes subset makes a class of each name of --subset: give names there")
        if self.classes == "subset" and self.class_count is not None:
            raise DataError(
                "--class-count draws synsets, but with --classes subset these are not classes: leave one out"
            )
        if not 0 <= self.max_bad <= 1:
            raise DataError(f"--max-bad is {self.max_bad:g}: give a share between 0% and 100%")

    @property
    def part(self) -> str:
        """The split of a published set, by default "train"."""
        return self.split or "train"

    def set_specific(self) -> tuple[str, ...]:
        """The names of the given options that only some known sets support."""
        names = ("split", "attribute", "category", "subset", "classes", "class_count")
        return tuple(name for name in names if getattr(self, name) not in (None, (), "synset"))

    def to_json(self) -> dict[str, Any]:
        """The options as recorded in `dataset.json`."""
        record = {_RECORDED.get(name, name): value for name, value in asdict(self).items()}
        record["aspect"] = [str(end) for end in self.aspect] if self.aspect else None
        for name in ("exclude", "category", "subset", "background"):
            record[name] = list(record[name])
        record["levels"] = list(self.levels) if self.levels else None
        del record["workers"]  # the result does not depend on it
        return record


def parse_aspect(text: str) -> tuple[Fraction, Fraction]:
    """Parses `0.8:1.25` or `4/5:5/4` to exact fractions, so that rounding drops no crop on the border."""
    try:
        low, high = (Fraction(end.strip()) for end in text.split(":"))
    except (ValueError, ZeroDivisionError) as error:
        raise DataError(
            f"--aspect is '{text}': give two numbers as width / height, such as 0.8:1.25"
        ) from error
    return low, high


def parse_levels(text: str) -> tuple[float, float]:
    """Parses `0:4095` to the values of black and white."""
    match = re.fullmatch(rf"\s*({_NUMBER})\s*:\s*({_NUMBER})\s*", text)
    if not match:
        raise DataError(f"--range is '{text}': give the values of black and white, such as 0:4095")
    return float(match[1]), float(match[2])


def parse_color(text: str) -> tuple[int, int, int]:
    """Parses `white`, `black`, `gray` or `#rrggbb` to red, green and blue."""
    named = {"white": (255, 255, 255), "black": (0, 0, 0), "gray": (128, 128, 128)}
    word = text.strip().lower().replace("grey", "gray")
    if word in named:
        return named[word]
    if not re.fullmatch(r"#[0-9a-f]{6}", word):
        raise DataError(f"--background is '{text}': give white, black, gray or a color such as #1e90ff")
    red, green, blue = bytes.fromhex(word[1:])
    return red, green, blue


def parse_names(text: str | None) -> tuple[str, ...]:
    """Parses `dogs, cats` to its names, in order, without repetition."""
    names = [name.strip() for name in (text or "").split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def parse_share(text: str) -> float:
    """Parses `50%`, `50` or `0.5` to a fraction; above 1 is a percentage, a bare `1` is ambiguous."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text)
    share = float(match[1]) if match else -1.0
    if match and not match[2] and share == 1:
        raise DataError(f"--max-bad is '{text}', which is ambiguous: give 1% or 100%")
    if match and (match[2] or share > 1):
        share /= 100
    if not 0 <= share <= 1:
        raise DataError(f"--max-bad is '{text}': give a share between 0% and 100%, such as 5%, 5 or 0.05")
    return share
