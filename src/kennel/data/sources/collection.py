"""The images of a source in a fixed order, numbered from 0."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from kennel.data.sources.annotations import Annotation
from kennel.data.sources.bit_depth import Span
from kennel.data.sources.compact_index import CompactStrings
from kennel.data.sources.decode import Picture, Reading, read_header, read_picture, read_span


class Refusal(NamedTuple):
    """A file that is not read."""

    name: str
    reason: str
    detail: str = ""


class Collection(ABC):
    """The images of a source. The defaults fit encoded image files without classes and boxes."""

    classes: tuple[str, ...] = ()
    """In the order of their labels."""
    native_size: int | None = None
    """The side of the images if all are squares of one size."""
    refusals: Sequence[Refusal] = ()
    ignored = CompactStrings()
    """Files whose names are not those of images."""
    has_annotations = False
    annotations_only = False
    keeps_duplicates = False
    """Whether equal images are kept by default."""
    notes: Sequence[str] = ()
    """Sentences for the user."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The image's name in reports, `class/file.jpg` if there are classes."""

    @abstractmethod
    def label(self, index: int) -> int:
        """The class's number, -1 without classes."""

    @abstractmethod
    def read(self, index: int) -> Any:
        """The content for `header`, `load` and `span`, from any thread. Raises `DataError` with a reason."""

    def annotation(self, index: int) -> Annotation | None:
        """The image's boxes. Raises `DataError` if they cannot be read."""
        return None

    def header(self, content: Any, max_pixels: int, name: str) -> tuple[int, int, int]:
        """(width, height) in stored pixels and the EXIF orientation, without decoding."""
        return read_header(content, max_pixels=max_pixels, name=name)

    def load(self, content: Any, reading: Reading, name: str) -> Picture:
        """The decoded image in stored pixels."""
        return read_picture(content, reading, name)

    def span(self, content: Any, reading: Reading, name: str) -> Span | None:
        """The lowest and highest value of an image of more than 8 bits, else None."""
        return read_span(content, reading, name)
