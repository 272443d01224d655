"""Folders, zips, tars and npz files of images, as they are, for evaluation.

Every image is used. All images must have one size, unless a `Resize` is given.
"""

import hashlib
import weakref
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from kennel.data.dataset import ImageDataset
from kennel.data.images import ArrayImages, ImageSource, PixelArray, batch_starts, channels_first
from kennel.data.resize import Resize, SizesError, resized
from kennel.data.sources.containers import Member, TarContainer, is_archive, open_container
from kennel.data.sources.decode import decode
from kennel.data.sources.formats import IMAGE_SUFFIXES
from kennel.data.sources.npy import NpzFile
from kennel.errors import DataError
from kennel.storage.untrusted import printable

TEACHER_TEXT = "kennel:teacher"
"""The PNG text that names the pretrained network which taught the generator of a sample."""
SOURCE_TYPE_TEXT = "DigitalSourceType"
SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""The PNG text, and its value, IPTC's term for media created by a trained algorithm, of generated images."""


def open_images(path: Path | str, resize: Resize | None = None) -> ImageSource:
    """The packed set, folder, zip, tar or npz at `path`, with its images resized by `resize`.

    Raises `DataError` if it is none of them, and `SizesError` if the sizes differ and `resize` is None.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"{path} does not exist: give a packed set, a folder, a zip, a tar or an npz of images"
        )
    if (path / "dataset.json").is_file():
        return resized(ImageDataset(path), resize)
    if path.is_dir() or is_archive(path):
        return FileSet(path, resize)
    if path.name.lower().endswith(".npz"):
        return resized(NpzSet(path), resize)
    raise DataError(
        f"{path} is not a collection of images: give a packed set, a folder, a zip, a tar or an npz"
    )


class FileSet:
    """The image files of one size in a folder, zip or tar; an `ImageSource`.

    The order is by name, in a tar as stored; links are not followed. Opening decodes every file once. The set
    has one channel if all files are gray, else three. Raises `DataError` with the file's name if one cannot
    be decoded, `SizesError` if sizes differ without `resize`.

    Attributes: `labels` int64 (N,) and `classes`, their names, if every file is in a folder and there are
    several folders, else None and (); `teacher`, the pretrained network named in the first file that names
    one (see `TEACHER_TEXT`), or None; `generated_count`, how many say that a generator drew them (see
    `SYNTHETIC`); `fit`, how images were resized, in words, or ""; `enlarged`, how many of them were smaller.
    """

    def __init__(self, path: Path | str, resize: Resize | None = None) -> None:
        self.path, self.name = Path(path), str(path)
        self._container = open_container(self.path)
        weakref.finalize(self, self._container.close)
        is_tar = isinstance(self._container, TarContainer)
        self._sorted = None if is_tar else sorted(self._members(), key=lambda member: member.name)
        self._resize = resize
        self.fit, self.enlarged, self.generated_count = "", 0, 0
        self.teacher: str | None = None
        self._count = 0
        shape: tuple[int, int, int] | None = None
        digest = hashlib.blake2b(digest_size=16)
        first_name = ""
        folders: list[str] = []
        for name, data, image in self._files():
            folders.append(PurePosixPath(name).parent.name)
            if self.teacher is None:
                self.teacher = _teacher_name(image.info.get(TEACHER_TEXT))
            self.generated_count += image.info.get(SOURCE_TYPE_TEXT) == SYNTHETIC
            channels, height, width = self._final_shape(image)
            if shape is None:
                shape, first_name = (channels, height, width), name
            elif shape[1:] != (height, width):
                raise SizesError(
                    f"{self.path} mixes sizes: {first_name} is {shape[2]}x{shape[1]}, {name} is "
                    f"{width}x{height}",
                    min(*shape[1:], height, width),
                )
            shape = (max(channels, shape[0]), height, width)
            digest.update(hashlib.blake2b(data, digest_size=16).digest())
            self._count += 1
        if shape is None:
            raise DataError(f"{self.path} holds no images: expected files such as .png or .jpg")
        self.shape = shape
        # A digest of the files: equal files in equal order give equal pixels.
        self.fingerprint = f"files-{digest.hexdigest()}" + (f"/{resize.key}" if resize and self.fit else "")
        # One class per folder, as in `kennel data prepare`.
        self.classes = tuple(sorted(set(folders))) if all(folders) and len(set(folders)) > 1 else ()
        label_of = {name: label for label, name in enumerate(self.classes)}
        self.labels = np.array([label_of[name] for name in folders], np.int64) if label_of else None

    def _members(self) -> Iterator[Member]:
        for member in self._container.members():
            if member.refusal is None and _is_image(member.name):
                yield member

    def _files(self, starts: range | None = None, size: int = 1) -> Iterator[tuple[str, bytes, Image.Image]]:
        """Name, content and image of each file, or of those in the batches of `size` at `starts`."""
        for index, member in enumerate(self._members() if self._sorted is None else self._sorted):
            if starts is None or index // size * size in starts:
                try:
                    data = self._container.read(member)
                    image = decode(data, name=member.name)
                except DataError as error:
                    raise DataError(
                        f"{member.name} in {self.path} cannot be judged ({error}): fix or remove it"
                    ) from error
                yield member.name, data, image

    def _final_shape(self, image: Image.Image) -> tuple[int, int, int]:
        """(channels, height, width) after the resize; records `fit` and `enlarged`."""
        channels = 1 if image.mode == "L" else 3
        if self._resize is None or not self._resize.changes(image.width, image.height):
            return channels, image.height, image.width
        self.fit = self._resize.description()
        self.enlarged += self._resize.enlarges(image.width, image.height)
        return channels, self._resize.size, self._resize.size

    def __len__(self) -> int:
        return self._count

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """See `ImageSource.batches`. Only the files of these batches are read."""
        batch: list[PixelArray] = []
        for _, _, image in self._files(batch_starts(len(self), size, first, step), size):
            pixels = (
                self._resize.image(image) if self._resize else channels_first(np.asarray(image, np.uint8))
            )
            batch.append(np.broadcast_to(pixels, self.shape))  # gray is repeated in a color set
            if len(batch) == size:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)


class NpzSet(ArrayImages):
    """The array `images` of an npz: uint8 (N, H, W, C) or (N, H, W), C 1 or 3; an `ImageSource` in memory.

    Also reads, if present, what `kennel sample` writes: `labels`, integers from 0 (N,), their names
    `classes`, and the generator's `teacher`. Raises `DataError` for a missing array, another dtype or shape,
    values that are not finite. Pickled content is never read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with NpzFile(self.path) as content:
            if "images" not in content.names:
                found = ", ".join(map(printable, content.names[:20])) or "none"
                raise DataError(
                    f"{self.path} has no array 'images' (it has: {found}): expected uint8 of N x H x W x C"
                )
            array = content.read("images")
            labels = content.read("labels") if "labels" in content.names else None
            names = content.read("classes") if "classes" in content.names else np.array([], str)
            teacher = content.read("teacher") if "teacher" in content.names else np.array([])
        classes = tuple(printable(str(name)) for name in names) if names.ndim == 1 else ()
        is_text = teacher.dtype.kind == "U" and not teacher.ndim
        self.teacher = _teacher_name(str(teacher)) if is_text else None
        if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
            raise DataError(f"{self.path} holds NaN or infinite pixels: fix them, and save uint8 in 0..255")
        if array.dtype != np.uint8:
            raise DataError(f"{self.path} holds {array.dtype} pixels: scale to 0..255 and save as uint8")
        if array.ndim == 3 and array.shape[-1] not in (1, 3):  # otherwise it may be a single image
            array = array[..., None]
        if array.ndim != 4 or array.shape[-1] not in (1, 3):
            raise DataError(
                f"{self.path} holds images of shape {array.shape}: expected N x H x W x C with C 1 or 3"
            )
        if not array.size:
            raise DataError(f"{self.path} holds no images")
        if labels is not None:
            # In other programs' files `labels` may be anything.
            valid = labels.ndim == 1 and labels.dtype.kind in "iu" and labels.min(initial=0) >= 0
            valid = valid and labels.max(initial=0) < 1 << 62
            labels = labels.astype(np.int64) if valid else None
        super().__init__(array.transpose(0, 3, 1, 2), str(self.path), labels, classes)


def _teacher_name(text: object) -> str | None:
    """A name from an untrusted file, cut to 60 characters."""
    return printable(text)[:60] if isinstance(text, str) and text else None


def _is_image(name: str) -> bool:
    """By the suffix; excludes macOS's shadow files (`._name`, `__MACOSX/`)."""
    path = PurePosixPath(name)
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden
