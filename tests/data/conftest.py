"""Where the real data of the tests is, and small pictures to test with."""

import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Files = dict[str, bytes]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: KENNEL_SHARED, or `shared` beside the repository; skips where it is absent."""
    root = Path(os.environ.get("KENNEL_SHARED") or Path(__file__).parents[3] / "shared")
    if not (root / "data").is_dir():
        pytest.skip(f"no real data at {root} (set KENNEL_SHARED)")
    return root / "data"


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """`picture(seed, width, height, kind)`: the content of a file with a random smooth picture."""

    def make(seed: int = 0, width: int = 20, height: int = 20, kind: str = "PNG", mode: str = "RGB") -> bytes:
        noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
        stream = io.BytesIO()
        image.save(stream, format=kind)
        return stream.getvalue()

    return make


@pytest.fixture
def as_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes files (name: content) below a folder."""

    def make(files: Files, name: str = "source") -> Path:
        for path, content in files.items():
            file = tmp_path / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return tmp_path / name

    return make


@pytest.fixture
def as_zip(tmp_path: Path) -> Callable[..., Path]:
    """Writes files into a zip, in the order given."""

    def make(files: Files, name: str = "source.zip") -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        return tmp_path / name

    return make


@pytest.fixture
def as_tar(tmp_path: Path) -> Callable[..., Path]:
    """Writes files into a tar, in the order given; the name's suffix says how it is compressed."""

    def make(files: Files, name: str = "source.tar") -> Path:
        kind = {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(Path(name).suffix, "w")
        with tarfile.open(tmp_path / name, kind) as archive:
            for path, content in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return tmp_path / name

    return make


@pytest.fixture
def png_header() -> Callable[[int, int], bytes]:
    """`png_header(width, height)`: a PNG that announces that size and holds next to nothing, a bomb."""

    def make(width: int, height: int) -> bytes:

        def chunk(kind: bytes, body: bytes) -> bytes:
            check = zlib.crc32(kind + body).to_bytes(4, "big")
            return len(body).to_bytes(4, "big") + kind + body + check

        header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
        return (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(bytes(1000)))
            + chunk(b"IEND", b"")
        )

    return make
