"""Plain collections of pictures as they lie on a disk, for judging: folders, zips, tars and npz files.

Nothing is left out here, and nothing is cropped or resized unless that is asked for: all pictures of a
collection have one size, or it is refused.
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
from kennel.data.images import ArrayImages, ImageSource, PixelArray, batch_starts
from kennel.data.resize import Resize, SizesError, resized
from kennel.data.sources.containers import open_container
from kennel.data.sources.decode import MAX_FILE_BYTES, decode
from kennel.data.sources.formats import IMAGE_SUFFIXES
from kennel.data.sources.npy import NpzFile
from kennel.errors import DataError
from kennel.storage.untrusted import UntrustedError, printable, read_bytes

T = TypeVar("T")
Wanted: TypeAlias = Callable[[int], bool]
"""Whether the file at this place, from 0, is wanted."""
TEACHER_TEXT = "kennel:teacher"
"""The text by which a sample's PNG names the pretrained network that taught its generator."""
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def open_images(path: Path | str, resize: Resize | None = None) -> ImageSource:
    """The packed set, folder, zip, tar or npz at `path`, its images brought to one size by `resize`.

    Raises `DataError` where it is none of them, and `SizesError` where its images differ in size and nothing
    is said about that.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(
            f"{path} does not exist: give a packed set, a folder, a zip, a tar or an npz of images"
        )
    if path.is_dir():
        return (
            resized(ImageDataset(path), resize)
            if (path / "dataset.json").is_file()
            else FolderSet(path, resize)
        )
    name = path.name.lower()
    if name.endswith(".npz"):
        return resized(NpzSet(path), resize)
    if name.endswith(".zip"):
        return ZipSet(path, resize)
    if name.endswith(TAR_SUFFIXES):
        return TarSet(path, resize)
    raise DataError(f"{path} is no collection of images: give a packed set, a folder, a zip, a tar or an npz")


class FileSet(ABC):
    """A collection of image files of one size; an `ImageSet`.

    Opening reads every file's header or content once: the size must be the same in all, unless a `Resize`
    brings them to one. A set whose files
    are all grey has one channel, any colour among them makes it three. A file that cannot be decoded, or
    has another size, raises `DataError` with its name.

    Attributes: `labels` int64 (N,) and `classes`, their names, where every file lies in a folder and these
    are more than one; else None and (). `teacher` is the pretrained network that taught the generator of the
    pictures, as the first that names one says, None where none does. `fit` says in words how images were
    resized, "" where none was, and `enlarged` how many were smaller.
    """

    def __init__(self, path: Path, resize: Resize | None = None) -> None:
        self.path = path
        self._resize = resize
        self.fit, self.enlarged = "", 0
        self.teacher: str | None = None
        self._shape: tuple[int, int, int] | None = None
        self._count = 0
        digest = hashlib.blake2b(digest_size=16)
        first_name = ""
        folders: list[str] = []
        for name, data in self._files():
            folders.append(PurePosixPath(name).parent.name)
            picture = self._decoded(name, data)
            if self.teacher is None:
                self.teacher = _name_of_teacher(picture.info.get(TEACHER_TEXT))
            channels, height, width = self._shape_of(picture)
            if self._shape is None:
                self._shape, first_name = (channels, height, width), name
            elif self._shape[1:] != (height, width):
                raise SizesError(
                    f"{self.path} mixes sizes: {first_name} is {self._shape[2]}x{self._shape[1]}, {name} is "
                    f"{width}x{height}",
                    min(*self._shape[1:], height, width),
                )
            elif channels > self._shape[0]:
                self._shape = (channels, height, width)
            digest.update(hashlib.blake2b(data, digest_size=16).digest())
            self._count += 1
        if self._shape is None:
            raise DataError(f"{self.path} holds no images: expected files such as .png or .jpg")
        # Bytes stand for pixels: equal files in equal order give equal pixels.
        self._fingerprint = f"files-{digest.hexdigest()}"
        if resize and self.fit:
            self._fingerprint += f"/{resize.key}"
        # A folder for each class, as `kennel data prepare` reads it too.
        self.classes = tuple(sorted(set(folders))) if all(folders) and len(set(folders)) > 1 else ()
        places = {name: place for place, name in enumerate(self.classes)}
        self.labels = np.array([places[name] for name in folders], np.int64) if places else None

    @abstractmethod
    def _files(self, wanted: Wanted = lambda _: True) -> Iterator[tuple[str, bytes]]:
        """Name and content of each image file whose place is wanted, always in the same order."""

    def _check_size(self, name: str, size: int) -> None:
        """Before a member is unpacked into memory."""
        if size > MAX_FILE_BYTES:
            raise DataError(
                f"{name} in {self.path} has {size:,} bytes, more than {MAX_FILE_BYTES:,}: remove it"
            )

    def _shape_of(self, image: Image.Image) -> tuple[int, int, int]:
        """(channels, height, width) of a picture as it is judged; what is resized is noted."""
        channels = 1 if image.mode == "L" else 3
        if self._resize is None or not self._resize.changes(image.width, image.height):
            return channels, image.height, image.width
        self.fit = self._resize.words()
        self.enlarged += self._resize.enlarges(image.width, image.height)
        return channels, self._resize.size, self._resize.size

    def _pixels(self, image: Image.Image) -> PixelArray:
        """(channels, height, width) of a picture as it is judged."""
        pixels = self._resize.image(image) if self._resize else _channels_first(np.asarray(image, np.uint8))
        # Grey is repeated in a set that has colour.
        return np.broadcast_to(pixels, self.shape)

    def _decoded(self, name: str, data: bytes) -> Image.Image:
        """The upright picture, of mode "L" or "RGB"."""
        try:
            return decode(data, name=name)
        except DataError as error:
            raise DataError(f"{name} in {self.path} cannot be judged ({error}): mend or remove it") from error

    @property
    def name(self) -> str:
        """The path as it was given."""
        return str(self.path)

    @property
    def fingerprint(self) -> str:
        """The digest of the files' contents in order."""
        return self._fingerprint

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        assert self._shape is not None
        return self._shape

    def __len__(self) -> int:
        return self._count

    def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[PixelArray]:
        """Images in order, `size` at a time, as (batch, channels, height, width); see `ImageSet.batches`.

        Files of other batches are not decoded, and but for a tar, which is one stream, not read.
        """
        starts = batch_starts(len(self), size, first, step)
        batch: list[PixelArray] = []
        for name, data in self._files(lambda place: place // size * size in starts):
            batch.append(self._pixels(self._decoded(name, data)))
            if len(batch) == size:
                yield np.stack(batch)
                batch = []
        if batch:
            yield np.stack(batch)


class FolderSet(FileSet):
    """The image files below a folder, in the order of their relative paths; links are not followed."""

    def __init__(self, path: Path | str, resize: Resize | None = None) -> None:
        """Opens the folder; raises `DataError` where it holds no images or not of one size."""
        folder = Path(path)
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder of images")
        found = (entry for entry in folder.rglob("*") if _is_image(entry.name) and not entry.is_symlink())
        self._paths = sorted(
            (entry for entry in found if entry.is_file()),
            key=lambda entry: entry.relative_to(folder).as_posix(),
        )
        super().__init__(folder, resize)

    def _files(self, wanted: Wanted = lambda _: True) -> Iterator[tuple[str, bytes]]:
        for path in _only(wanted, self._paths):
            name = path.relative_to(self.path).as_posix()
            try:
                yield name, read_bytes(path, MAX_FILE_BYTES)
            except UntrustedError as error:
                raise DataError(f"{name} in {self.path} cannot be judged ({error}): remove it") from None


class ZipSet(FileSet):
    """The image files in a zip, in the order of their names."""

    def __init__(self, path: Path | str, resize: Resize | None = None) -> None:
        """Opens the zip; raises `DataError` where it is damaged, holds no images, or not of one size."""
        super().__init__(Path(path), resize)

    def _files(self, wanted: Wanted = lambda _: True) -> Iterator[tuple[str, bytes]]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                for name in _only(wanted, sorted(name for name in archive.namelist() if _is_image(name))):
                    self._check_size(name, archive.getinfo(name).file_size)
                    yield name, archive.read(name)
        except DataError:
            raise
        except Exception as error:  # a hostile directory makes zipfile raise nearly anything
            reason = printable(str(error) or type(error).__name__)[:120]
            raise DataError(f"{self.path} cannot be read as a zip ({reason}): make it again") from error


class TarSet(FileSet):
    """The image files in a tar, compressed or not, in the order in which they are stored."""

    def __init__(self, path: Path | str, resize: Resize | None = None) -> None:
        """Opens the tar; raises `DataError` where it is damaged, holds no images, or not of one size."""
        self._container = open_container(Path(path))
        weakref.finalize(self, self._container.close)
        super().__init__(Path(path), resize)

    def _files(self, wanted: Wanted = lambda _: True) -> Iterator[tuple[str, bytes]]:
        images = (one for one in self._container.members() if one.refusal is None and _is_image(one.name))
        for member in _only(wanted, images):
            self._check_size(member.name, member.size)
            yield member.name, self._container.read(member)


class NpzSet(ArrayImages):
    """The array `images` of an npz, uint8 (N, H, W, C) or (N, H, W), C being 1 or 3; an `ImageSet`.

    `labels`, integers from 0 (N,), their names `classes`, and the `teacher` of the generator are read where
    the file has them, as `kennel sample` writes them. Raises `DataError` for a missing array, another dtype
    or shape, values that are not finite. The arrays are held in memory.
    """

    def __init__(self, path: Path | str) -> None:
        """Reads the array; pickled content is never read."""
        self.path = Path(path)
        with NpzFile(self.path) as content:
            if "images" not in content.names:
                there = ", ".join(map(printable, content.names[:20])) or "none"
                raise DataError(
                    f"{self.path} has no array 'images' (it has: {there}): expected uint8 of N x H x W x C"
                )
            array = content.read("images")
            labels = content.read("labels") if "labels" in content.names else None
            names = content.read("classes") if "classes" in content.names else np.array([], str)
            teacher = content.read("teacher") if "teacher" in content.names else np.array([])
        classes = tuple(printable(str(name)) for name in names) if names.ndim == 1 else ()
        self.teacher = (
            _name_of_teacher(str(teacher)) if teacher.dtype.kind == "U" and not teacher.ndim else None
        )
        if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
            raise DataError(f"{self.path} holds NaN or infinite pixels: mend them, and save uint8 in 0..255")
        if array.dtype != np.uint8:
            raise DataError(f"{self.path} holds {array.dtype} pixels: scale to 0..255 and save as uint8")
        if array.ndim == 3 and array.shape[-1] not in (1, 3):  # else it may be a single picture
            array = array[..., None]
        if array.ndim != 4 or array.shape[-1] not in (1, 3):
            raise DataError(
                f"{self.path} holds images of shape {array.shape}: expected N x H x W x C with C 1 or 3"
            )
        if not array.size:
            raise DataError(f"{self.path} holds no images")
        if labels is not None:
            # Other programs' arrays of that name may be anything: what is no class number is no label.
            numbers = labels.ndim == 1 and labels.dtype.kind in "iu" and labels.min(initial=0) >= 0
            numbers = numbers and labels.max(initial=0) < 1 << 62
            labels = labels.astype(np.int64) if numbers else None
        super().__init__(array.transpose(0, 3, 1, 2), str(self.path), labels, classes)


def _name_of_teacher(text: object) -> str | None:
    """A name out of a file that anybody may have written, cut to a name's length."""
    return printable(text)[:60] if isinstance(text, str) and text else None


def _only(wanted: Wanted, things: Iterable[T]) -> Iterator[T]:
    return (thing for place, thing in enumerate(things) if wanted(place))


def _is_image(name: str) -> bool:
    """By the suffix, and not one of the shadow files that macOS leaves (`._name`, `__MACOSX/`)."""
    path = PurePosixPath(name)
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden


def _channels_first(pixels: PixelArray) -> PixelArray:
    """(height, width[, 3]) to (channels, height, width)."""
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
