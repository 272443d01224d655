"""How a known set opens: what its opener is given and gives back, and the openers of the simpler sets."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from kennel.data.arrays import cifar10_collection, digits_collection, idx_collection, idx_files
from kennel.data.collection import Collection, FileCollection
from kennel.data.containers import Container, open_container
from kennel.data.options import PrepareOptions
from kennel.errors import DataError


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


def idx_opener(classes: tuple[str, ...] | None = None) -> Opener:
    """The opener of a set in the four files of MNIST; `classes` are the numbers where None is given."""

    def open_idx(request: Request) -> Opened:
        folder = request.files[0].parent
        pairs = idx_files(folder, request.options.part)
        if not pairs:
            raise DataError(f"'{folder}' does not hold the {request.options.part} files of {request.name}")
        return Opened(idx_collection(pairs, classes, request.scratch), files_among(request.files))

    return open_idx


def open_cifar10(request: Request) -> Opened:
    """CIFAR-10 from its archive or the folder that holds what it unpacks to."""
    source = request.files[0] / "cifar-10-batches-bin" if request.files[0].is_dir() else request.files[0]
    collection = cifar10_collection(source, request.options.part, request.scratch)
    return Opened(collection, files_among(request.files))


def open_stanford_dogs(request: Request) -> Opened:
    """Stanford Dogs from its two archives or from what they unpack to."""
    containers = [request.container(file) for file in request.files]
    collection = FileCollection(containers, with_annotations=request.options.crop == "box")
    return Opened(collection, files_among(request.files))
