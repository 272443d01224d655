import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.data.decoding import TooManyPixelsError, decode, decode_as_stored, read_header
from kennel.errors import DataError

Header = Callable[[int, int], bytes]


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


def test_a_colour_png_comes_back_bit_for_bit_from_bytes_and_from_a_path(tmp_path: Path) -> None:
    content = encoded(gradient(), "PNG")
    (tmp_path / "a.png").write_bytes(content)
    for data in (content, tmp_path / "a.png"):
        assert np.array_equal(np.asarray(decode(data)), np.asarray(gradient()))


@pytest.mark.parametrize("data", [b"", b"this is a letter, not a picture", b"\xff\xd8\xff\xe0"])
def test_what_is_not_an_image_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(DataError):
        decode(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused_and_nothing_else_is_raised(kind: str, keep: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = encoded(noise, kind)
    with pytest.raises(DataError):
        decode(content[: int(len(content) * keep)])


def test_random_damage_never_raises_anything_but_a_data_error() -> None:
    random = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF"):
        content = np.frombuffer(encoded(gradient(), kind), np.uint8)
        for _ in range(60):
            damaged = content.copy()
            places = random.integers(0, len(damaged), 8)
            damaged[places] = random.integers(0, 256, 8)
            with contextlib.suppress(DataError):
                assert decode(damaged.tobytes(), max_pixels=10**6).mode in ("L", "RGB")


def test_a_decompression_bomb_is_refused_from_its_header(png_header: Header) -> None:
    with pytest.raises(TooManyPixelsError, match="20,000 x 20,000"):
        decode(png_header(20_000, 20_000))
    with pytest.raises(TooManyPixelsError):
        read_header(png_header(20_000, 20_000))


def test_a_picture_between_the_limits_of_pillow_and_kennel_is_not_warned_about(png_header: Header) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    assert read_header(png_header(12_000, 12_000))[:2] == (12_000, 12_000)
    assert limit == Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(encoded(gradient(), "PNG"))


def test_a_limit_above_that_of_pillow_is_honoured(png_header: Header) -> None:
    assert read_header(png_header(20_000, 20_000), max_pixels=10**9)[0] == 20_000


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert np.asarray(decode(encoded(Image.fromarray(values), kind))).tolist() == [[0, 0, 1, 128, 255]]


def test_sixteen_bit_portable_grey_is_scaled() -> None:
    values = np.array([0, 256, 65535], ">u2")
    assert np.asarray(decode(b"P5 3 1 65535\n" + values.tobytes())).tolist() == [[0, 1, 255]]


def test_one_bit_pictures_become_black_and_white() -> None:
    picture = Image.new("1", (4, 4), 1)
    assert np.asarray(decode(encoded(picture, "PNG"))).tolist() == [[255] * 4] * 4


def test_alpha_is_composited_on_white() -> None:
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    half = Image.new("LA", (2, 2), (0, 128))
    assert np.asarray(decode(encoded(clear, "PNG"))).min() == 255
    grey = decode(encoded(half, "PNG"))
    assert grey.mode == "L"
    assert np.asarray(grey)[0, 0] == 127


def test_a_palette_gives_its_colours_and_its_transparent_entry_gives_white() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    assert np.asarray(decode(encoded(picture, "PNG"))).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    transparent = encoded(picture, "PNG", transparency=bytes([0, 255]))
    assert np.asarray(decode(transparent)).tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_cmyk_follows_the_adobe_marker() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # cyan 0, magenta and yellow full: red
    adobe = encoded(ink, "JPEG", quality=100)
    assert np.asarray(decode(adobe))[8, 8].tolist() == pytest.approx([255, 0, 0], abs=4)
    marker = adobe.index(b"\xff\xee")
    length = int.from_bytes(adobe[marker + 2 : marker + 4], "big")
    plain = adobe[:marker] + adobe[marker + 2 + length :]
    # The same samples without the marker are not inverted: what was stored as 255 - ink is now ink.
    assert np.asarray(decode(plain))[8, 8].tolist() == pytest.approx([0, 0, 0], abs=4)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.asarray(decode(content))[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_is_applied_and_the_stored_pixels_can_be_had() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(gradient(40, 30), "PNG", exif=exif)
    picture = decode(content)
    assert picture.size == (30, 40)
    assert np.array_equal(np.asarray(picture), np.rot90(np.asarray(gradient(40, 30)), -1))
    stored, orientation = decode_as_stored(content)
    assert (stored.size, orientation) == ((40, 30), 6)
    assert read_header(content) == (40, 30, 6)


def test_a_single_pixel_is_a_picture() -> None:
    assert decode(encoded(Image.new("RGB", (1, 1), "red"), "PNG")).size == (1, 1)


def test_postscript_is_not_handed_to_an_interpreter() -> None:
    with pytest.raises(DataError):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
