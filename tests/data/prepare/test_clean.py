from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.data.prepare.clean import to_square, within
from kennel.data.prepare.pipeline import prepare
from kennel.data.sources.annotations import Annotation, clip, parse_annotation
from kennel.data.sources.options import PrepareOptions, parse_aspect, parse_names, parse_share
from kennel.errors import DataError


def test_aspects_on_the_border_are_inside_and_the_next_ones_are_not() -> None:
    aspect = parse_aspect("0.8:1.25")
    assert aspect == (Fraction(4, 5), Fraction(5, 4))
    for width, height in ((80, 100), (100, 80), (4, 5), (5, 4), (400_000_004, 500_000_005)):
        assert within(width, height, aspect)
    for width, height in ((79, 100), (100, 79), (399_999_999, 500_000_000), (500_000_001, 400_000_000)):
        assert not within(width, height, aspect)


@pytest.mark.parametrize("text", ["", "0.8", "a:b", "1:0.8", "0:1", "-1:2", "1/0:2", "0.8:1.25:2"])
def test_an_aspect_that_holds_nothing_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="--aspect"):
        PrepareOptions(aspect=parse_aspect(text))


def test_shares_are_read_with_and_without_a_percent_sign() -> None:
    assert (parse_share("5%"), parse_share("0.05"), parse_share("100 %")) == (0.05, 0.05, 1.0)
    assert parse_share("50") == parse_share("50%") == parse_share("0.5") == parse_share(".5") == 0.5
    assert (parse_share("0"), parse_share("100"), parse_share("2.5"), parse_share("0.5%")) == (
        0,
        1,
        0.025,
        0.005,
    )
    for text in ("", "five", "-1%", "5%%", "1", "1.0", "101", "100.5%", "9" * 400):
        with pytest.raises(DataError, match="--max-bad"):
            parse_share(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fit": "stretch"},
        {"crop": "boxes"},
        {"resample": "cubic"},
        {"color": "blue"},
        {"size": 0},
        {"size": 100_000},
        {"limit": 0},
        {"min_side": -1},
        {"max_bad": 1.5},
        {"workers": 0},
        {"center_crop": 0},
        {"center_crop": 8, "crop": "box"},
        {"classes": "breed"},
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_by_its_name(wrong: dict[str, object]) -> None:
    option = next(iter(wrong)).replace("_", "-")
    with pytest.raises(DataError, match=f"--{option} "):
        PrepareOptions(**wrong)  # type: ignore[arg-type]


def test_names_are_read_in_order_without_repetition() -> None:
    assert parse_names(" dogs,cats , dogs,,persian cat") == ("dogs", "cats", "persian cat")
    assert parse_names(None) == parse_names(" , ") == ()


def test_the_centre_square_is_of_the_upright_picture_and_what_is_smaller_is_dropped(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (17, 30, 3), dtype=np.uint8)
    (tmp_path / "source").mkdir()
    image = Image.fromarray(pixels)
    image.save(tmp_path / "source" / "a.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "source" / "b.png", exif=turned)
    image.resize((30, 11)).save(tmp_path / "source" / "c.png")
    packed = prepare(tmp_path / "source", tmp_path / "set", PrepareOptions(size=12, center_crop=12))
    assert np.array_equal(packed.images[0].transpose(1, 2, 0), pixels[2:14, 9:21])
    upright = np.rot90(pixels, -1)
    assert np.array_equal(packed.images[1].transpose(1, 2, 0), upright[9:21, 2:14])
    assert packed.about["report"]["dropped"] == {"too small": 1}
    assert packed.about["report"]["examples"]["too small"][0] == {"name": "c.png", "detail": "30 x 11"}


def halves(width: int, height: int) -> Image.Image:
    """Left half black, right half white."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, width // 2 :] = 255
    return Image.fromarray(pixels)


def test_fit_crop_takes_the_centre() -> None:
    pixels = np.zeros((32, 96), np.uint8)
    pixels[:, 32:64] = 200
    assert (to_square(Image.fromarray(pixels), 16, PrepareOptions(resample="box")) == 200).all()


def test_fit_squash_takes_everything() -> None:
    square = to_square(halves(96, 32), 16, PrepareOptions(fit="squash", resample="box"))
    assert square.shape == (1, 16, 16)
    assert (square[0, :, :8] == 0).all()
    assert (square[0, :, 8:] == 255).all()


def test_fit_pad_keeps_the_shape_between_black_bars() -> None:
    square = to_square(Image.new("RGB", (64, 32), "white"), 16, PrepareOptions(fit="pad"))
    assert (square[:, 4:12] == 255).all()
    assert (square[:, :4] == 0).all()
    assert (square[:, 12:] == 0).all()


@pytest.mark.parametrize("resample", ["lanczos", "bicubic", "bilinear", "box"])
def test_making_a_picture_smaller_is_antialiased(resample: str) -> None:
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    square = to_square(Image.fromarray(stripes), 16, PrepareOptions(resample=resample))
    assert np.abs(square - 127.5).max() < 4


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (64, 64), (65, 63)])
def test_every_shape_of_picture_becomes_a_square(fit: str, size: tuple[int, int]) -> None:
    assert to_square(Image.new("RGB", size), 64, PrepareOptions(fit=fit)).shape == (3, 64, 64)


def test_a_box_is_clipped_to_the_image_and_nothing_is_left_of_one_outside() -> None:
    assert clip((-5, -5, 20, 300), 100, 80) == (0, 0, 20, 80)
    assert clip((100, 0, 120, 10), 100, 80) is None
    assert clip((10, 10, 10, 20), 100, 80) is None


def test_boxes_are_read_in_the_order_of_the_file() -> None:
    text = (
        b"<annotation><size><width>500</width><height>375</height></size>"
        b"<object><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>"
        b"<object><bndbox><ymax>8.4</ymax><xmin>5</xmin><ymin>6</ymin><xmax>7</xmax></bndbox></object></annotation>"
    )
    assert parse_annotation(text) == Annotation(500, 375, ((1, 2, 30, 40), (5, 6, 7, 8)))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<annotation>",
        b"<annotation><object><bndbox><xmin>1</xmin></bndbox></object></annotation>",
        b"<annotation><size><width>inf</width></size></annotation>",
        b'<!DOCTYPE a [<!ENTITY b "boom">]><annotation>&b;</annotation>',
        b"<annotation>" + b" " * (2 << 20) + b"</annotation>",
    ],
)
def test_an_annotation_that_cannot_be_read_is_refused(text: bytes) -> None:
    with pytest.raises(DataError, match="annotation"):
        parse_annotation(text)
