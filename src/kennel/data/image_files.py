"""Folders, zips, tars and npz files of images, as they are, for evaluation.

Every image is used. All images must have one size, unless a `Resize` is given.
"""

import hashlib
import weakref
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TypeAlias, TypeVar

import numpy as np
from PIL import Image

from kennel.data.dataset import ImageDataset
from kennel.data.images import ArrayImages, ImageSource, PixelArray, batch_starts, channels_first
from kennel.data.resize import Resize, SizesError, resized
from kennel.data.sources.containers import open_container
from kennel.data.sources.decode import MAX_FILE_BYTES, decode
from kennel.data.sources.formats import IMAGE_SUFFIXES
from kennel.data.sources.npy import NpzFile
from kennel.errors import DataError
from kennel.storage.untrusted import UntrustedError, printable, read_bytes, reason_of

T = TypeVar("T")
IndexFilter: TypeAlias = Callable[[int], bool]
"""Whether the file at this index is needed."""
TEACHER_TEXT = "kennel:teacher"
"""The PNG text that names the pretrained network which taught the generator of a sample."""
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def open_images(path: Path | str, resize: Resize | None = None) -> ImageSource:
    """The packed set, folder, zip, tar or npz at `path`, with its images resized by `resize`.

    Raises `DataError` if it is none of them, and `SizesError` if the sizes differ and `resize` is None.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"{path} does not exist: give a packed set, a folder, a zip, a tar or an npz of images"
        )
    name = path.name.lower()
    if (path / "dataset.json").is_file():
        return resized(ImageDataset(path), resize)
    if path.is_dir():
        return FolderSet(path, resize)
    if name.endswith(".npz"):
        return resized(NpzSet(path), resize)
    if name.endswith(".zip"):
        return ZipSet(path, resize)
    if name.endswith(TAR_SUFFIXES):
        return TarSet(path, resize)
    raise DataError(
        f"{path} is not a collection of images: give a packed set, a folder, a zip, a tar or an npz"
    )


class FileSet(ABC):
    """A collection of image files of one size; an `ImageSource`.

    Opening decodes every file once. The set has one channel if all files are gray, else three. Raises
    `DataError` with the file's name if one cannot be decoded, `SizesError` if sizes differ without `resize`.

    Attributes: `labels` int64 (N,) and `classes`, their names, if every file is in a folder and there are
    several folders, else None and (); `teacher`, the pretrained network named in the first file that names
    one (see `TEACHER_TEXT`), or None; `fit`, how images were resized, in words, or ""; `enlarged`, how many
    of them were smaller.
    """

    def __init__(self, path: Path, resize: Resize | None = None) -> None:
        self.path, self.name = path, str(path)
        self._resize = resize
        self.fit, self.enlarged = "", 0
        self.teacher: str | None = None
        self._count = 0
        shape: tuple[int, int, int] | None = None
        digest = hashlib.blake2b(digest_size=16)
        first_name = ""
        folders: list[str] = []
        for name, data in self._files():
            folders.append(PurePosixPath(name).parent.name)
            image = self._decode(name, data)
            if self.teacher is None:
                self.teacher = _teacher_name(image.info.get(TEACHER_TEXT))
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

    @abstractmethod
    def _files(self, needed: IndexFilter = lambda _: True) -> Iterator[tuple[str, bytes]]:
        """Name and content of each needed image file, always in the same order."""

    def _check_size(self, name: str, size: int) -> None:
        """Called before a member is unpacked into memory."""
        if size > MAX_FILE_BYTES:
            raise DataError(
                f"{name} in {self.path} has {size:,} bytes, more than {MAX_FILE_BYTES:,}: remove it"
            )

    def _final_shape(self, image: Image.Image) -> tuple[int, int, int]:
        """(channels, height, width) after the resize; records `fit` and `enlarged`."""
        channels = 1 if image.mode == "L" else 3
        if self._resize is None or not self._resize.changes(image.width, image.height):
            return channels, image.height, image.width
        self.fit = self._resize.description()
        self.enlarged += self._resize.enlarges(image.width, image.height)
        return channels, self._resize.size, self._resize.size

    def _pixels(self, image: Image.Image) -> PixelArray:
        """The resized image as (channels, height, width); gray is repeated in a color set."""
        pixels = self._resize.image(image) if self._resize else channels_first(np.asarray(image, np.uint8))
        return np.broadcast_to(pixels, self.shape)

    def _decode(self, name: str, data: bytes) -> Image.Image:
        """The upright image, of mode "L" or "RGB"."""
        try:
            return decode(data, name=name)
        except DataError as error:
            raise DataError(f"{name} in {self.path} cannot be judged ({error}): fix or remove it") from error

    def __len__(self) -> int:
        return self._count

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """See `ImageSource.batches`. Files of other batches are not decoded, and not read except in a tar."""
        starts = batch_starts(len(self), size, first, step)
        batch: list[PixelArray] = []
        for name, data in self._files(lambda index: index // size * size in starts):
            batch.append(self._pixels(self._decode(name, data)))
            if len(batch) == size:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)


class FolderSet(FileSet):
    """The image files below a folder, sorted by relative path; links are not followed."""

    def __init__(self, path: Path | str, resize: Resize | None = None) -> None:
        folder = Path(path)
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder of images")
        found = (entry for entry in folder.rglob("*") if _is_image(entry.name) and not entry.is_symlink())
        self._paths = sorted(
            (entry for entry in found if entry.is_file()),
            key=lambda entry: entry.relative_to(folder).as_posix(),
        )
        super().__init__(folder, resize)

    def _files(self, needed: IndexFilter = lambda _: True) -> Iterator[tuple[str, bytes]]:
        for path in _select(needed, self._paths):
            name = path.relative_to(self.path).as_posix()
            try:
                yield name, read_bytes(path, MAX_FILE_BYTES)
            except UntrustedError as error:
                raise DataError(f"{name} in {self.path} cannot be judged ({error}): remove it") from None


class ZipSet(FileSet):
    """The image files in a zip, sorted by name."""

    def __init__(self, path: Path | str, resize: Resize | None = None) -> None:
        super().__init__(Path(path), resize)

    def _files(self, needed: IndexFilter = lambda _: True) -> Iterator[tuple[str, bytes]]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                for name in _select(needed, sorted(name for name in archive.namelist() if _is_image(name))):
                    self._check_size(name, archive.getinfo(name).file_size)
                    yield name, archive.read(name)
        except DataError:
            raise
        except Exception as error:  # a hostile directory makes zipfile raise nearly anything
            raise DataError(
                f"{self.path} cannot be read as a zip ({reason_of(error)}): make it again"
            ) from error


class TarSet(FileSet):
    """The image files in a tar, compressed or not, in stored order."""

    def __init__(self, path: Path | str, resize: Resize | None = None) -> None:
        self._container = open_container(Path(path))
        weakref.finalize(self, self._container.close)
        super().__init__(Path(path), resize)

    def _files(self, needed: IndexFilter = lambda _: True) -> Iterator[tuple[str, bytes]]:
        members = self._container.members()
        images = (member for member in members if member.refusal is None and _is_image(member.name))
        for member in _select(needed, images):
            self._check_size(member.name, member.size)
            yield member.name, self._container.read(member)


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


def _select(needed: IndexFilter, items: Iterable[T]) -> Iterator[T]:
    return (item for index, item in enumerate(items) if needed(index))


def _is_image(name: str) -> bool:
    """By the suffix; excludes macOS's shadow files (`._name`, `__MACOSX/`)."""
    path = PurePosixPath(name)
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden
