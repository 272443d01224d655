import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.data.sources.bit_depth import range_in_use
from kennel.data.sources.decode import (
    CUT_SHORT,
    DEEP,
    TRANSPARENT,
    UPPER_BYTES,
    Reading,
    TooManyPixelsError,
    decode,
    read_header,
    read_picture,
    read_span,
)
from kennel.data.sources.truncated_jpeg import LEAST_DECODED, rescued
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
    stored = read_picture(content)
    assert (stored.image.size, stored.orientation) == ((40, 30), 6)
    assert read_header(content) == (40, 30, 6)


def test_a_single_pixel_is_a_picture() -> None:
    assert decode(encoded(Image.new("RGB", (1, 1), "red"), "PNG")).size == (1, 1)


def test_postscript_is_not_handed_to_an_interpreter() -> None:
    with pytest.raises(DataError):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


def values(low: int, high: int, side: int = 16) -> np.ndarray:
    return np.linspace(low, high, side * side).reshape(side, side)


def test_pictures_of_twelve_bits_are_scaled_by_the_range_that_is_given() -> None:
    content = encoded(Image.fromarray(values(0, 4095).astype(np.uint16)), "PNG")
    assert np.asarray(decode(content)).max() == 15  # the upper byte of 16 bits
    picture = read_picture(content, Reading(value_range=lambda: (0.0, 4095.0)))
    assert picture.remarks == (DEEP,)
    assert np.array_equal(np.asarray(picture.image), (values(0, 4095).astype(int) >> 4).astype(np.uint8))


@pytest.mark.parametrize(
    ("kind", "low", "high", "shown"),
    [
        (np.uint16, 0, 4095, (0.0, 4095.0)),
        (np.uint16, 0, 200, (0.0, 255.0)),
        (np.uint16, 3, 60_000, (0.0, 65_535.0)),
        (np.int32, 0, 100_000, (0.0, 131_071.0)),
        (np.int32, -50, 100, (-50.0, 100.0)),
        (np.float32, 0, 0.5, (0.0, 1.0)),
        (np.float32, 0, 200, (0.0, 255.0)),
        (np.float32, -2, 2, (-2.0, 2.0)),
        (np.float32, 7, 7, (0.0, 255.0)),
        (np.float32, -7, -7, (-7.0, -6.0)),
    ],
)
def test_the_range_in_use_is_whole_bits_or_what_there_is(
    kind: type, low: float, high: float, shown: tuple[float, float]
) -> None:
    content = encoded(Image.fromarray(np.array([[low, high]], kind)), "TIFF")
    span = read_span(content, Reading())
    assert span is not None
    assert range_in_use([span]) == shown
    found = np.asarray(read_picture(content, Reading(value_range=lambda: shown)).image)[0]
    share = (np.array([low, high]) - shown[0]) / (shown[1] - shown[0])
    assert np.abs(found - 255 * share).max() <= 1


def test_floats_that_are_not_finite_are_refused() -> None:
    content = encoded(Image.fromarray(np.array([[0, np.nan], [1, 2]], np.float32)), "TIFF")
    for read in (read_picture, read_span):
        with pytest.raises(DataError, match="NaN or infinite"):
            read(content, Reading(value_range=lambda: (0.0, 1.0)))


def test_colour_of_16_bits_a_channel_is_remarked() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = (4).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
    rows = b"".join(b"\0" + bytes([200, 7] * 12) for _ in range(4))
    content = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    picture = read_picture(content)
    assert picture.remarks == (UPPER_BYTES,)
    assert np.asarray(picture.image)[0, 0].tolist() == [200, 200, 200]


def test_transparent_pictures_lie_on_the_background_and_opaque_ones_are_not_remarked() -> None:
    clear = encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 0)), "PNG")
    blue = read_picture(clear, Reading(background=(30, 144, 255)))
    assert (blue.image.mode, blue.remarks) == ("RGB", (TRANSPARENT,))
    assert blue.image.getpixel((0, 0)) == (30, 144, 255)
    grey = read_picture(encoded(Image.new("LA", (4, 4), (9, 0)), "PNG"), Reading(background=(0, 0, 0)))
    assert (grey.image.mode, grey.image.getpixel((0, 0))) == ("L", 0)
    on_blue = read_picture(encoded(Image.new("LA", (4, 4), (9, 0)), "PNG"), Reading(background=(0, 0, 255)))
    assert on_blue.image.getpixel((0, 0)) == (0, 0, 255)
    assert read_picture(encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 255)), "PNG")).remarks == ()


@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 2}, {"progressive": True}, {"restart_marker_rows": 1}]
)
def test_a_jpeg_that_is_cut_short_is_measured_by_what_decodes_and_nothing_false_is_kept(
    options: dict[str, object],
) -> None:
    whole = encoded(gradient(256, 256).rotate(45), "JPEG", quality=95, **options)
    truth = np.asarray(decode(whole))
    shares = []
    for missing in (1, 2, 10, len(whole) // 50, len(whole) // 10, len(whole) // 2):
        image, share = rescued(whole[:-missing])
        pixels = np.asarray(image)
        if share:
            assert np.array_equal(pixels, truth[: len(pixels)])
        assert share <= 1
        shares.append(share)
    assert shares == sorted(shares, reverse=True)
    assert shares[:2] == [1.0, 1.0]
    assert shares[-1] < LEAST_DECODED


def test_a_jpeg_that_lacks_its_last_byte_is_taken_where_that_is_asked_for_and_half_of_one_never() -> None:
    whole = encoded(gradient(256, 256).rotate(45), "JPEG", quality=95)
    cut = read_picture(whole[:-1], Reading(rescue=True))
    assert (cut.remarks, cut.image.size) == ((CUT_SHORT,), (256, 256))
    with pytest.raises(DataError, match=r"cut short: .* of it could be decoded, at least 95% are needed"):
        read_picture(whole[: len(whole) // 2], Reading(rescue=True))
    with pytest.raises(DataError, match="truncated"):
        decode(whole[:-1])


def test_a_progressive_jpeg_that_lacks_a_pass_is_not_whole() -> None:
    whole = encoded(gradient(64, 64), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    assert rescued(whole[:last])[1] == 0


@pytest.mark.parametrize(
    ("kind", "name"), [("TGA", "a.tga"), ("PCX", "a.PCX"), ("ICO", "a.ico"), ("AVIF", "a.avif")]
)
def test_other_formats_of_pixels_are_read(kind: str, name: str) -> None:
    image = decode(encoded(gradient(32, 32), kind), name=name)
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - np.asarray(gradient(32, 32))).mean() < 5


def test_a_format_without_a_signature_needs_its_suffix() -> None:
    for kind in ("TGA", "PCX"):
        with pytest.raises(DataError, match="not an image of a known format"):
            decode(encoded(gradient(), kind), name="a.jpg")


def test_an_icon_whose_picture_is_larger_than_it_says_is_refused(png_header: Header) -> None:
    bomb = png_header(20_000, 20_000)
    content = b"\0\0\1\0\1\0" + bytes([16, 16, 0, 0, 1, 0, 32, 0]) + struct.pack("<II", len(bomb), 22) + bomb
    with pytest.raises(TooManyPixelsError, match="20,000 x 20,000"):
        read_header(content, name="a.ico")


def test_what_is_known_and_not_read_is_called_by_its_name() -> None:
    for start, words in (
        (b"<svg xmlns='x'/>", "SVG"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\xff\x0a12", "JPEG XL"),
    ):
        with pytest.raises(DataError, match=words):
            decode(start + bytes(20), name="a.jpg")


def test_heic_is_read_where_its_package_is_there(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(gradient(64, 64)).save(tmp_path / "a.heic", quality=95)
    content = (tmp_path / "a.heic").read_bytes()
    for name in ("a.heic", "a.jpg"):  # phones and chat programs write the second
        found = np.asarray(decode(content, name=name)).astype(int)
        assert np.abs(found - np.asarray(gradient(64, 64))).mean() < 5
    for cut in (20, len(content) // 2):
        with pytest.raises(DataError):
            decode(content[:cut])
