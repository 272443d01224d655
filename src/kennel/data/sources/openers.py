"""How a known set opens: what its opener is given and gives back, and the openers of the simpler sets."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

from kennel.data.sources.arrays import digits_collection
from kennel.data.sources.containers import Container, Member, open_container
from kennel.data.sources.index import Collection, FileCollection
from kennel.data.sources.options import PrepareOptions


@dataclass(frozen=True)
class Request:
    """What is to be opened, and how."""

    name: str
    """Of the known set, for messages."""
    files: list[Path]
    """Its files; for a set that is fetched by hand the one thing that `--from` gave."""
    options: PrepareOptions
    scratch: Path | None
    """Where temporary files go."""
    stack: ExitStack
    """Closes, in the end, what the opener leaves in it."""

    def container(self, path: Path) -> Container:
        """The folder, zip or tar at `path`, closed in the end."""
        return self.keep(open_container(path, self.scratch))

    def folder(self) -> Path:
        """An empty folder for temporary files, removed in the end."""
        return Path(self.stack.enter_context(TemporaryDirectory(dir=self.scratch)))

    def keep(self, container: Container) -> Container:
        """The same container, closed in the end."""
        return self.stack.enter_context(closing(container))


@dataclass(frozen=True)
class Opened:
    """What an opener gives back."""

    collection: Collection
    archives: dict[str, Path] = field(default_factory=dict)
    """The files that it was read from, by the names they are recorded under; no folders."""


Opener: TypeAlias = Callable[[Request], Opened]


def files_among(paths: Iterable[Path]) -> dict[str, Path]:
    """Those that are files and not folders, by their names, for `Opened.archives`."""
    return {path.name: path for path in paths if path.is_file()}


def open_digits(request: Request) -> Opened:
    """The digits inside scikit-learn."""
    return Opened(digits_collection())


def open_stanford_dogs(request: Request) -> Opened:
    """Stanford Dogs from its two archives, from what they unpack to, or as Kaggle gives it."""
    containers = [Below(request.container(file), ("Images", "Annotation")) for file in request.files]
    collection = FileCollection(containers, with_annotations=request.options.crop == "box")
    return Opened(collection, files_among(request.files))


class Below:
    """A container without what its members' names have before some folders: `x/Images/a` is `Images/a`."""

    def __init__(self, container: Container, tops: tuple[str, ...]) -> None:
        """`tops` are the names of the folders."""
        self._container, self._tops = container, tops

    def members(self) -> Iterator[Member]:
        """Those of the container, each once."""
        for member in self._container.members():
            folders = member.name.split("/")[:-1]
            before = next((place for place, folder in enumerate(folders) if folder in self._tops), 0)
            yield member._replace(name="/".join(member.name.split("/")[before:])) if before else member

    def read(self, member: Member) -> bytes:
        """The member's content."""
        return self._container.read(member)

    def close(self) -> None:
        """The container is closed by what opened it."""
