"""Image formats that are read, and formats that are recognized but not read."""

import struct
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import PurePosixPath

from PIL import Image

_BY_CONTENT = (
    *("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF"),
    *("ICO", "QOI", "SGI", "PSD", "DDS", "HEIF"),
)
"""Formats that Pillow recognizes by a signature. Not PostScript, which Pillow gives to an interpreter."""

_BY_SUFFIX = {".tga": "TGA", ".icb": "TGA", ".vda": "TGA", ".pcx": "PCX"}
"""Formats without a reliable signature, which need the right suffix too."""

_HEIF_SUFFIXES = (".heic", ".heif", ".hif")
HEIF_REMEDY = "pip install 'kennel[heif]'"

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf", ".jpc"),
        *(".avif", ".ico", ".qoi", ".sgi", ".psd", ".dds"),
        *_BY_SUFFIX,
        *(_HEIF_SUFFIXES if find_spec("pillow_heif") else ()),
    )
)
"""Lower-case suffixes of image files; the format itself is read from the content."""

_RAW = (".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw")
_UNREAD = {
    "HEIC": (_HEIF_SUFFIXES, f"{HEIF_REMEDY} reads it"),
    "JPEG XL": ((".jxl",), "convert it to PNG"),
    "SVG": ((".svg", ".svgz"), "it has no pixels: render it to PNG"),
    "camera raw": (_RAW, "develop it to TIFF, PNG or JPEG"),
    "PostScript or PDF": ((".eps", ".ps", ".ai", ".pdf"), "it may hold a program: render it to PNG"),
    "editor's file": ((".xcf", ".kra", ".ora", ".clip"), "export it as PNG"),
    "OpenEXR or HDR": ((".exr", ".hdr"), "tone-map it to PNG"),
    "medical or scientific": ((".dcm", ".nii", ".fits", ".fit", ".mha", ".mhd"), "export it as PNG or TIFF"),
    "video": ((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"), "save its frames as images"),
    "icon": ((".icns", ".cur"), "export it as PNG"),
    "archive": ((".zip", ".tar", ".tgz", ".rar", ".7z", ".lmdb"), "unpack it, or give it as SOURCE"),
    "table or array": (
        (".parquet", ".arrow", ".npy", ".npz", ".h5", ".hdf5", ".mat", ".tfrecord", ".tfrecords"),
        "save its images as files, one each",
    ),
}
UNREAD_SUFFIXES = {
    suffix: (kind, f"{kind}: {remedy}") for kind, (suffixes, remedy) in _UNREAD.items() for suffix in suffixes
}
"""Lower-case suffixes of files with images that are not read: the kind and a remedy."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def suffix_of(name: str) -> str:
    """The suffix in lower case with its dot; empty without one (`.hidden` has none)."""
    stem, _, suffix = name.rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if stem else ""


def formats_for(name: str) -> tuple[str, ...]:
    """The formats that Pillow may try on a file of this name."""
    weak = _BY_SUFFIX.get(PurePosixPath(name).suffix.lower())
    return (*_formats(), weak) if weak else _formats()


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    if find_spec("pillow_heif"):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return tuple(name for name in _BY_CONTENT if name in Image.OPEN)


def unread_content(start: bytes) -> str | None:
    """The kind and remedy of an unsupported file by its first bytes; None if unknown.

    Phones and chat programs often write HEIC under the name `.jpg`.
    """
    if ".heic" not in IMAGE_SUFFIXES and start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return UNREAD_SUFFIXES[".heic"][1]
    if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return UNREAD_SUFFIXES[".jxl"][1]
    if start.lstrip().lower().startswith((b"<svg", b"<?xml")):
        return UNREAD_SUFFIXES[".svg"][1]
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page (HTML), perhaps of a failed download: fetch it again"
    return None


def sizes_inside(data: bytes) -> Iterator[tuple[int, int]]:
    """(width, height) in the headers of the images inside an ICO; nothing for other formats.

    Pillow decodes one of them when it opens the file, and the ICO's directory may announce smaller ones.
    """
    if not data.startswith(b"\0\0\1\0"):
        return
    count = int.from_bytes(data[4:6], "little")
    for place in range(6, min(6 + 16 * count, len(data) - 15), 16):
        offset = int.from_bytes(data[place + 12 : place + 16], "little")
        start = data[offset : offset + 24]
        if start.startswith(b"\x89PNG\r\n\x1a\n") and len(start) == 24:
            yield struct.unpack(">II", start[16:24])
        elif len(start) >= 12:
            width, height = struct.unpack("<ii", start[4:12])
            yield abs(width), abs(height)
