"""The interface of the openers of known sets, and the simpler openers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from kennel.data.sources.arrays import digits_collection
from kennel.data.sources.collection import Collection
from kennel.data.sources.containers import Container, Member, open_container
from kennel.data.sources.index import FileCollection
from kennel.data.sources.options import PrepareOptions


@dataclass(frozen=True)
class Request:
    """A known set to open.

    `files` are its files; for a set that is fetched by hand, only the path given with `--from`. Temporary
    files are written to `scratch`. `stack` closes resources after the run.
    """

    name: str
    files: list[Path]
    options: PrepareOptions
    scratch: Path | None
    stack: ExitStack

    def container(self, path: Path) -> Container:
        """The folder, zip or tar at `path`, closed after the run."""
        return self.keep(open_container(path, self.scratch))

    def folder(self) -> Path:
        """An empty temporary folder, removed after the run."""
        return Path(self.stack.enter_context(TemporaryDirectory(dir=self.scratch)))

    def keep(self, container: Container) -> Container:
        """The same container, closed after the run."""
        return self.stack.enter_context(closing(container))


@dataclass(frozen=True)
class Opened:
    """An opened set; `archives` are its files, without folders, by the names to record."""

    collection: Collection
    archives: dict[str, Path] = field(default_factory=dict)


Opener: TypeAlias = Callable[[Request], Opened]


def files_among(paths: Iterable[Path]) -> dict[str, Path]:
    """The paths that are files, by name, for `Opened.archives`."""
    return {path.name: path for path in paths if path.is_file()}


def open_digits(request: Request) -> Opened:
    return Opened(digits_collection())


def open_stanford_dogs(request: Request) -> Opened:
    """Stanford Dogs from its two archives, their unpacked folders, or Kaggle's archive."""
    containers = [StripTop(request.container(file), ("Images", "Annotation")) for file in request.files]
    collection = FileCollection(containers, with_annotations=request.options.crop == "box")
    return Opened(collection, files_among(request.files))


class StripTop(Container):
    """A container that removes the folders above some others: `x/Images/a` becomes `Images/a`."""

    def __init__(self, container: Container, tops: tuple[str, ...]) -> None:
        """`tops` are the names of the folders to keep."""
        self._container, self._tops = container, tops

    def members(self) -> Iterator[Member]:
        for member in self._container.members():
            parts = member.name.split("/")
            start = next((index for index, folder in enumerate(parts[:-1]) if folder in self._tops), 0)
            yield member._replace(name="/".join(parts[start:]))

    def read(self, member: Member) -> bytes:
        return self._container.read(member)
