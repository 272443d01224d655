"""The pairs of a memorisation picture: each suspicious image with the training image that is like it."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kennel.data.sources.decode import pillow_at_ease
from kennel.reporting.format import known
from kennel.reporting.pictures import Embedded, PictureBudget, read_png

PAIRS_TEXT = "kennel:pairs"
"""The PNG text with the pairs and their places in the picture."""
MAX_SIDE, MAX_BYTES = 112, 16_000
"""Pixels and bytes of an image of a pair."""
Place = Annotated[int, Field(ge=0, lt=1 << 20)]


class Pair(BaseModel):
    """Indices of a judged image and a reference image, their cosine distance, the result of comparing their
    pixels in words, and their boxes (left, upper, right, lower) in the picture."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    image: Place
    reference: Place
    distance: float
    verdict: Annotated[str, Field(max_length=200)]
    copied: bool
    image_box: tuple[Place, Place, Place, Place]
    reference_box: tuple[Place, Place, Place, Place]


@dataclass(frozen=True)
class ShownPair:
    """A pair with its two images for the page."""

    pair: Pair
    image: Embedded
    reference: Embedded

    @property
    def distance(self) -> str:
        return known(self.pair.distance)


_PAIRS = TypeAdapter(Annotated[list[Pair], Field(max_length=64)])


def pairs_of(file: Path, budget: PictureBudget) -> list[ShownPair]:
    """Cuts the pairs out of a picture of `draw_memorisation`; empty for one without places, of an older
    version, and for one that is not valid."""
    png = read_png(file)
    if png is None:
        return []
    with pillow_at_ease(), Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        picture.load()
        text = picture.info.get(PAIRS_TEXT)
        try:
            pairs = _PAIRS.validate_json(text) if isinstance(text, str) else []
        except ValidationError:
            return []
        found = []
        for pair in pairs:
            sides = [_cut(picture, box, budget) for box in (pair.image_box, pair.reference_box)]
            if sides[0] is not None and sides[1] is not None:
                found.append(ShownPair(pair, sides[0], sides[1]))
        return found


def _cut(picture: Image.Image, box: tuple[int, int, int, int], budget: PictureBudget) -> Embedded | None:
    left, upper, right, lower = box
    if not (left < right <= picture.width and upper < lower <= picture.height):
        return None
    part = picture.convert("RGB").crop(box)
    part.thumbnail((MAX_SIDE, MAX_SIDE))
    content = io.BytesIO()
    part.save(content, "PNG")
    return budget.add(content.getvalue(), MAX_BYTES)
