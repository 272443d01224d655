"""A moving picture, and its files: GIF, WebP, APNG and MP4."""

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from kennel.errors import RunError
from kennel.images import png_text, to_pillow
from kennel.sampling.pictures import show
from kennel.sampling.png_metadata import comment, xmp
from kennel.storage.atomic_io import atomic_file

Array = npt.NDArray[np.uint8]
OnProgress = Callable[[int, int], None]
FORMATS = {".gif": "GIF", ".webp": "WEBP", ".apng": "PNG", ".png": "PNG", ".mp4": "MP4"}
MAX_FPS = 120
MAX_GIF_FPS = 50
"""GIF counts time in hundredths of a second, and browsers slow down images that are shown for less than 2."""


class Animation:
    """A moving picture of samples; a notebook plays it.

    A sized iterable over its frames, uint8 (H, W) or (H, W, 3), which are drawn in each iteration. Its files
    say that a GAN made it. Attributes: `fps`, frames per second; `loop`, whether GIF, WebP and APNG are
    repeated forever (otherwise played once).
    """

    def __init__(
        self,
        draw: Callable[[], Iterable[Array]],
        count: int,
        text: Mapping[str, str],
        *,
        fps: int = 30,
        loop: bool = True,
    ) -> None:
        """`draw` returns the `count` frames; `text` is the text of files."""
        if not 1 <= fps <= MAX_FPS:
            raise RunError(f"{fps} frames per second are not possible: give 1 to {MAX_FPS}")
        self._draw, self._count, self._text = draw, count, text
        self.fps, self.loop = fps, loop

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Array]:
        return iter(self._draw())

    def __repr__(self) -> str:
        return f"<{len(self)} frames, {len(self) / self.fps:.1f} s>"

    def show(self) -> None:
        """Plays it in a notebook or, outside of one, opens the first frame in the system's image viewer."""
        show(self, to_pillow(next(iter(self))))

    def save(self, file: str | Path, on_progress: OnProgress = lambda done, total: None) -> Path:
        """Writes a .gif, .webp, .apng or .mp4 and returns its path.

        All but the GIF (256 colors per frame) and the MP4 (H.264) are lossless. `on_progress(done, total)` is
        called per frame. Raises `RunError` for another name, or if the MP4 needs a library that is missing.
        """
        file = Path(file)
        format_ = refuse_format(file, self.fps)
        with atomic_file(file) as temporary:
            if format_ == "MP4":
                _write_mp4(temporary, self._counted(on_progress), self.fps, self._text)
            else:
                self._write(temporary, format_, self._counted(on_progress))
        return file

    def _counted(self, on_progress: OnProgress) -> Iterator[Array]:
        for number, frame in enumerate(self, 1):
            yield frame
            on_progress(number, len(self))

    def _write(self, file: Path | io.BytesIO, format_: str, frames: Iterator[Array]) -> None:
        repeats = {"loop": 0} if self.loop else {} if format_ == "GIF" else {"loop": 1}
        options: dict[str, Any] = {"duration": round(1000 / self.fps), **repeats}
        images: Iterator[Image.Image] = map(to_pillow, frames)
        if format_ == "GIF":
            options |= {"duration": 10 * round(100 / self.fps), "comment": comment(self._text).encode()}
            images = map(_with_palette, images)
        elif format_ == "WEBP":
            options |= {"lossless": True, "quality": 50, "xmp": xmp(self._text)}
            images = (image.convert("RGB") for image in images)
        else:
            options |= {"pnginfo": png_text(self._text)}
        first, *others = images  # Pillow iterates over them twice
        first.save(file, format=format_, save_all=True, append_images=others, **options)

    def _repr_html_(self) -> str:
        buffer = io.BytesIO()
        self._write(buffer, "PNG", iter(self))
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img src="data:image/png;base64,{data}" alt="{len(self)} frames made by a GAN">'


def refuse_format(file: Path, fps: int) -> str:
    """Returns the format of a file by its suffix; raises `RunError` if it cannot be written."""
    format_ = FORMATS.get(file.suffix.lower())
    if format_ is None:
        raise RunError(
            f"{file} is no moving picture's name: give one that ends in .gif, .webp, .apng or .mp4"
        )
    if format_ == "GIF" and fps > MAX_GIF_FPS:
        raise RunError(f"a GIF has at most {MAX_GIF_FPS} frames per second, not {fps}: write a .webp or .mp4")
    if format_ == "WEBP" and not features.check("webp"):
        raise RunError("this Pillow was built without WebP: write a .gif or .apng")
    if format_ == "MP4":
        _import_av()
    return format_


def _with_palette(image: Image.Image) -> Image.Image:
    """At most 256 colors, chosen for this frame; without dithering, whose pattern would flicker."""
    if image.mode == "L":
        return image
    return image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def _import_av() -> Any:
    try:
        import av
    except ImportError:
        raise RunError('an .mp4 needs PyAV: pip install "kennel[video]", or write a .webp or .gif') from None
    return av


ENCODING = {
    "crf": "16",
    "preset": "medium",
    "x264-params": "threads=1:lookahead-threads=1:sync-lookahead=0",
}
"""Near to lossless; without threads, with which the bytes may differ on a busy machine."""


def _write_mp4(file: Path, frames: Iterator[Array], fps: int, text: Mapping[str, str]) -> None:
    """H.264 in an MP4 that all browsers play; sides are made even by repeating the last row or column."""
    av = _import_av()
    with _encoding_errors(av), av.open(str(file), "w", format="mp4") as container:
        said = {"comment": comment(text), "description": text.get("Description", "")}
        container.metadata.update(said)
        stream = container.add_stream("libx264", rate=fps, options=ENCODING)
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(frames):
            even = np.pad(
                _in_color(frame), [(0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)], "edge"
            )
            if number == 0:
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode(None))


def _in_color(frame: Array) -> Array:
    return frame if frame.ndim == 3 else frame[:, :, None].repeat(3, axis=2)


@contextmanager
def _encoding_errors(av: Any) -> Iterator[None]:
    """Turns errors of the encoder, such as a missing H.264, into a `RunError`."""
    try:
        yield
    except (av.error.FFmpegError, ValueError) as error:
        raise RunError(f"the .mp4 cannot be written ({error}): write a .webp or .gif") from error


def there_and_back(frames: Iterable[Array]) -> Iterator[Array]:
    """The frames forward and then backward, without the two ends, so that a loop is continuous."""
    kept = []
    for frame in frames:
        kept.append(frame)
        yield frame
    yield from kept[-2:0:-1]


def length_there_and_back(count: int) -> int:
    """The number of frames of `there_and_back`."""
    return count + max(0, count - 2)


def held(frames: Iterable[Array], times: int) -> Iterator[Array]:
    """The frames, the last one repeated `times` more."""
    last: Array | None = None
    for last in frames:
        yield last
    if last is not None:
        for _ in range(times):
            yield last
