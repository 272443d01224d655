"""The collections that kennel knows by name: where they are published, in what terms, and how they open."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kennel.data.arrays import cifar10_collection, digits_collection, idx_collection, idx_files
from kennel.data.collection import Collection, FileCollection
from kennel.data.containers import Container, open_container
from kennel.data.downloading import PublishedFile, cache_folder, download, verify
from kennel.errors import DataError
from kennel.registry import Registry

_MNIST_PARTS = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@dataclass(frozen=True)
class KnownSet:
    """A published collection."""

    name: str
    title: str
    images: str
    """How many, in words for the table."""
    pixels: str
    classes: int
    terms: str
    home: str
    files: tuple[PublishedFile, ...] = ()
    class_names: tuple[str, ...] | None = None
    crop: str = "none"
    """What `--crop` is where it is not given."""
    loose: tuple[str, ...] = ()
    """Names of folders, one of which says that a folder holds the unpacked files instead."""


KNOWN_SETS: Registry[KnownSet] = Registry("known set")


def _add(known: KnownSet) -> KnownSet:
    return KNOWN_SETS.register(known.name)(known)


def _published(
    bases: tuple[str, ...], names: tuple[str, ...], md5s: tuple[str, ...]
) -> tuple[PublishedFile, ...]:
    return tuple(
        PublishedFile(name, tuple(base + name for base in bases), md5)
        for name, md5 in zip(names, md5s, strict=True)
    )


_add(
    KnownSet(
        "digits",
        "handwritten digits of scikit-learn",
        "1,797",
        "8x8 grey",
        10,
        "CC BY 4.0 (UCI), embedded in scikit-learn",
        "https://archive.ics.uci.edu/dataset/80",
    )
)
_add(
    KnownSet(
        "mnist",
        "MNIST handwritten digits",
        "60,000 + 10,000",
        "28x28 grey",
        10,
        "CC BY-SA 3.0",
        "http://yann.lecun.com/exdb/mnist/",
        _published(
            ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
            _MNIST_PARTS,
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
    )
)
_add(
    KnownSet(
        "fashion_mnist",
        "Fashion-MNIST, articles of clothing",
        "60,000 + 10,000",
        "28x28 grey",
        10,
        "MIT",
        "https://github.com/zalandoresearch/fashion-mnist",
        _published(
            (
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            ),
            _MNIST_PARTS,
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    )
)
_add(
    KnownSet(
        "cifar10",
        "CIFAR-10, small photographs",
        "50,000 + 10,000",
        "32x32 RGB",
        10,
        "for research; cite Krizhevsky 2009",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (
            PublishedFile(
                "cifar-10-binary.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                "c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        loose=("cifar-10-batches-bin",),
    )
)
_add(
    KnownSet(
        "stanford_dogs",
        "Stanford Dogs, photographs with boxes",
        "20,580",
        "photographs",
        120,
        "from ImageNet: non-commercial research only",
        "http://vision.stanford.edu/aditya86/ImageNetDogs/",
        # No checksum of these two is published that we know for certain; their SHA-256 is recorded instead.
        (
            PublishedFile("images.tar", ("http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",)),
            PublishedFile(
                "annotation.tar", ("http://vision.stanford.edu/aditya86/ImageNetDogs/annotation.tar",)
            ),
        ),
        crop="box",
        loose=("Images", "Annotation"),
    )
)


def fetch(
    known: KnownSet,
    given: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """The files of a known set: in `given` (`--from`), else in the cache, downloaded where they are missing.

    `given` may hold the unpacked folders instead (`Images` and `Annotation`), or be one archive of them:
    the answer is then that. Published checksums are verified. Raises `DataError` where a file is missing or
    wrong.
    """
    if given is None:
        return [download(file, cache_folder() / known.name, on_progress) for file in known.files]
    if not given.exists():
        raise DataError(f"--from is '{given}', and nothing is there: give the folder that holds the files")
    if given.is_file():
        return [given]
    missing = [file.name for file in known.files if not (given / file.name).is_file()]
    if missing and any((given / name).is_dir() for name in known.loose):
        return [given]
    if missing:
        plain = [name.removesuffix(".gz") for name in missing]
        if all((given / name).is_file() for name in plain):  # unpacked: the checksums are of the packed files
            return [given / file.name.removesuffix(".gz") for file in known.files]
        addresses = {file.name: file.addresses[0] for file in known.files}
        raise DataError(
            f"'{given}' lacks {', '.join(missing)} of {known.name}: fetch it from {addresses[missing[0]]}"
        )
    for file in known.files:
        verify(given / file.name, file)
    return [given / file.name for file in known.files]


def open_known(
    known: KnownSet, files: list[Path], split: str, *, with_annotations: bool, scratch: Path | None
) -> tuple[Collection, list[Container]]:
    """The collection of a known set from what `fetch` returned, and the containers to close afterwards."""
    if known.name == "digits":
        return digits_collection(), []
    if known.name == "cifar10":
        source = files[0] / known.loose[0] if files[0].is_dir() else files[0]
        return cifar10_collection(source, split, scratch), []
    if known.name == "stanford_dogs":
        containers: list[Container] = [open_container(file, scratch) for file in files]
        return FileCollection(containers, with_annotations=with_annotations), containers
    pairs = idx_files(files[0].parent, split)
    if not pairs:
        raise DataError(f"'{files[0].parent}' does not hold the {split} files of {known.name}")
    return idx_collection(pairs, known.class_names, scratch), []
