"""What may be asked of `kennel data prepare`, checked once and told in one sentence where it cannot be."""

import re
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from kennel.data.sources.decode import MAX_PIXELS
from kennel.errors import DataError

WORDS = {
    "crop": ("none", "box"),
    "boxes": ("first", "all"),
    "fit": ("crop", "squash", "pad"),
    "resample": ("lanczos", "bicubic", "bilinear", "box", "nearest"),
    "colour": ("auto", "rgb", "grey"),
    "split": ("train", "val", "test", "all"),
    "classes": ("synset", "subset"),
}
"""What the options that are words may be."""

_NUMBER = r"[-+]?(?:\d{1,12}\.?\d{0,12}|\.\d{1,12})(?:[eE][-+]?\d{1,2})?"

_SPELLED = {"colour": "color", "centre_crop": "center-crop"}
"""Options whose name differs from that of the field, which `dataset.json` records."""

_LEAST = {
    "size": 1,
    "limit": 1,
    "workers": 1,
    "centre_crop": 1,
    "min_side": 0,
    "max_pixels": 1,
    "class_count": 1,
}
"""The least that numbers may be."""


def _option(name: str) -> str:
    return _SPELLED.get(name, name.replace("_", "-"))


@dataclass(frozen=True)
class PrepareOptions:
    """How a collection is cleaned and packed. Raises `DataError` on values that cannot be meant."""

    size: int | None = None
    """Side of the packed images in pixels; None is 64 for photographs, and for others what they have."""
    crop: str | None = None
    """"box" crops to annotated boxes; None is "none", except for known sets that say otherwise."""
    boxes: str = "first"
    """Which boxes of a photograph: the first, or each as an image of its own."""
    centre_crop: int | None = None
    """Cut out the centre square of this many pixels first; what is smaller is dropped."""
    aspect: tuple[Fraction, Fraction] | None = None
    """Least and greatest width / height of the crop, both included."""
    min_side: int | None = None
    """Least shorter side of the crop, in pixels of the source; None is half of `size`, where most of the
    pictures have that, and 0 otherwise."""
    fit: str = "crop"
    """How a picture becomes square: its centre, squashed, or padded with black."""
    resample: str = "lanczos"
    """The filter; all of them but "nearest" are antialiased."""
    colour: str = "auto"
    """"auto" packs grey where every image is grey, RGB otherwise."""
    limit: int | None = None
    """Keep this many images, drawn by `seed`; None keeps all."""
    seed: int = 0
    split: str | None = None
    """Of a set that comes in parts; None is "train" where there is such a part, and all otherwise."""
    labels: str = "auto"
    """Where classes come from: "auto" is a file of labels in the source, else its folders; "folders", "none",
    or the path of a table of names and labels."""
    levels: tuple[float, float] | None = None
    """The values that become black and white in pictures of more than 8 bits; None are those in use."""
    background: tuple[int, int, int] = (255, 255, 255)
    """What transparent pictures are composited on."""
    exclude: tuple[str, ...] = ()
    """Names to leave out: `class/file.jpg`, `file.jpg` or `file`."""
    keep_duplicates: bool | None = None
    """None drops images of equal pixels from photographs, and keeps them in idx, CIFAR and digits."""
    attribute: str | None = None
    """CelebA: the attribute that makes the two classes."""
    category: tuple[str, ...] = ()
    """LSUN: the categories; none given are all that are at hand."""
    subset: tuple[str, ...] = ()
    """ImageNet: names of WordNet, below which everything is taken; none given is everything."""
    classes: str = "synset"
    """ImageNet: a class for each synset, or for each name of `subset`."""
    class_count: int | None = None
    """ImageNet: keep so many of the synsets that are there, drawn by `seed`; None keeps all."""
    max_bad: float = 0.05
    """More than this fraction of broken files stops the run."""
    max_pixels: int = MAX_PIXELS
    """Files that announce more pixels are refused before they are decoded."""
    workers: int | None = None
    """Threads; None is one per core. It changes no result."""

    def __post_init__(self) -> None:
        for name, words in WORDS.items():
            word = getattr(self, name)
            if word not in words and not (name in ("crop", "split") and word is None):
                raise DataError(
                    f"--{_option(name)} is '{word}': it can be {', '.join(words[:-1])} or {words[-1]}"
                )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise DataError(f"--{_option(name)} is {value}: it must be at least {least}")
        if self.size is not None and self.size > 4096:
            raise DataError(f"--size is {self.size}: images of at most 4096 pixels a side can be packed")
        if self.aspect is not None and not 0 < self.aspect[0] <= self.aspect[1]:
            low, high = (float(end) for end in self.aspect)
            raise DataError(f"--aspect {low:g}:{high:g} holds nothing: give the smaller one first, above 0")
        if self.centre_crop is not None and self.crop == "box":
            raise DataError(
                "--center-crop and --crop box are two crops: give one, and --crop none with the first"
            )
        if self.levels is not None and not self.levels[0] < self.levels[1]:
            low, high = self.levels
            raise DataError(f"--range {low:g}:{high:g} holds nothing: give the value of black first")
        if self.classes == "subset" and not self.subset:
            raise DataError("--classes subset makes a class of each name of --subset: give names there")
        if self.classes == "subset" and self.class_count is not None:
            raise DataError(
                "--class-count draws synsets, and --classes subset makes no class of a synset: leave one out"
            )
        if not 0 <= self.max_bad <= 1:
            raise DataError(f"--max-bad is {self.max_bad:g}: give a share between 0% and 100%")

    @property
    def part(self) -> str:
        """The part of a published set: "train" where nothing is asked for."""
        return self.split or "train"

    def of_known_sets(self) -> tuple[str, ...]:
        """The names of the options given that only some known sets understand."""
        given = {
            "split": self.split is not None,
            "attribute": self.attribute is not None,
            "category": bool(self.category),
            "subset": bool(self.subset),
            "classes": self.classes != "synset",
            "class_count": self.class_count is not None,
        }
        return tuple(name for name, is_given in given.items() if is_given)

    def to_json(self) -> dict[str, Any]:
        """The options as they are recorded in `dataset.json`."""
        record = asdict(self)
        record["aspect"] = [str(end) for end in self.aspect] if self.aspect else None
        for name in ("exclude", "category", "subset", "background"):
            record[name] = list(record[name])
        record["levels"] = list(self.levels) if self.levels else None
        del record["workers"]  # it changes nothing in the result
        return record


def parse_aspect(text: str) -> tuple[Fraction, Fraction]:
    """`0.8:1.25` or `4/5:5/4` as exact fractions, so that a crop on the border is not lost to rounding."""
    try:
        low, high = (Fraction(end.strip()) for end in text.split(":"))
    except (ValueError, ZeroDivisionError) as error:
        raise DataError(
            f"--aspect is '{text}': give two numbers as width / height, such as 0.8:1.25"
        ) from error
    return low, high


def parse_levels(text: str) -> tuple[float, float]:
    """`0:4095` as the values of black and white."""
    match = re.fullmatch(rf"\s*({_NUMBER})\s*:\s*({_NUMBER})\s*", text)
    if not match:
        raise DataError(f"--range is '{text}': give the values of black and white, such as 0:4095")
    return float(match[1]), float(match[2])


def parse_colour(text: str) -> tuple[int, int, int]:
    """`white`, `black` or `#rrggbb` as red, green and blue."""
    named = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128), "gray": (128, 128, 128)}
    word = text.strip().lower()
    if word in named:
        return named[word]
    if not re.fullmatch(r"#[0-9a-f]{6}", word):
        raise DataError(f"--background is '{text}': give white, black, grey or a color such as #1e90ff")
    red, green, blue = bytes.fromhex(word[1:])
    return red, green, blue


def parse_names(text: str | None) -> tuple[str, ...]:
    """`dogs, cats` as its names, in order, without repetition."""
    names = [name.strip() for name in (text or "").split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def parse_share(text: str) -> float:
    """`50%`, `50` or `0.5` as a fraction of one: a number above 1 is a percentage, one below 1 a fraction.

    Raises `DataError` for anything else, and for a bare `1`, which could be either.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text)
    share = float(match[1]) if match else -1.0
    if match and not match[2] and share == 1:
        raise DataError(f"--max-bad is '{text}', which may mean either: give 1% or 100%")
    if match and (match[2] or share > 1):
        share /= 100
    if not 0 <= share <= 1:
        raise DataError(f"--max-bad is '{text}': give a share between 0% and 100%, such as 5%, 5 or 0.05")
    return share
