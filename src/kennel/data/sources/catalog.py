"""The known sets: their published files, terms and openers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kennel.data.sources.celeba import open_celeba, open_celeba_hq
from kennel.data.sources.cifar import FOLDERS, open_cifar10
from kennel.data.sources.containers import only_archive
from kennel.data.sources.download import PublishedFile, download, verify
from kennel.data.sources.imagenet import open_imagenet
from kennel.data.sources.lsun import open_lsun
from kennel.data.sources.mnist import STACKED_IMAGES, mnist_opener, stacked_opener, unpacked_names
from kennel.data.sources.openers import Opener, open_digits, open_stanford_dogs
from kennel.errors import DataError
from kennel.registry import Registry
from kennel.storage.cache import cache_folder

_MNIST_PARTS = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@dataclass(frozen=True)
class KnownSet:
    """A published set."""

    name: str
    title: str
    images: str
    """Their number, as text for tables."""
    pixels: str
    classes: int | str
    """Their number, or a description."""
    terms: str
    home: str
    open: Opener
    files: tuple[PublishedFile, ...] = ()
    """The files to download; empty if the set is embedded or fetched by hand."""
    by_hand: str = ""
    """How the user gets files that cannot be downloaded: the end of a sentence."""
    crop: str = "none"
    """The default of `--crop`."""
    other_files: tuple[PublishedFile, ...] = ()
    """Other published archives, each with the whole set."""
    loose: tuple[str, ...] = ()
    """Names of files and folders that identify an unpacked set, or Kaggle's version."""
    places: tuple[str, ...] = ()
    """Subfolders in which other programs keep the files, tried in order."""
    options: tuple[str, ...] = ()
    """Set-specific options that it supports."""


KNOWN_SETS: Registry[KnownSet] = Registry("known set")


def _mnist(
    name: str,
    title: str,
    terms: str,
    home: str,
    addresses: tuple[str, ...],
    md5s: tuple[str, ...],
    other_names: tuple[str, str],
    classes: tuple[str, ...] | None = None,
) -> KnownSet:
    """A set in the format of MNIST; `other_names` are those of Kaggle's tables and torchvision's folder."""
    table, folder = other_names
    files = tuple(
        PublishedFile(part, tuple(address + part for address in addresses), md5)
        for part, md5 in zip(_MNIST_PARTS, md5s, strict=True)
    )
    return KnownSet(
        *(name, title, "60,000 + 10,000", "28x28 gray", 10, terms, home, mnist_opener(table, classes), files),
        options=("split",),
        loose=unpacked_names(table),
        places=("raw", f"{folder}/raw"),
    )


_MNIST = _mnist(
    "mnist",
    "MNIST handwritten digits",
    "CC BY-SA 3.0",
    "http://yann.lecun.com/exdb/mnist/",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    ("mnist", "MNIST"),
)

_STACKED_MNIST = replace(
    _MNIST,
    name="stacked_mnist",
    title="Stacked MNIST: three digits as red, green and blue",
    images=" + ".join(f"{STACKED_IMAGES[part]:,}" for part in ("train", "test")),
    pixels="28x28 RGB",
    classes=1000,
    open=stacked_opener("mnist"),
)

for _known in (
    KnownSet(
        "digits",
        "handwritten digits of scikit-learn",
        "1,797",
        "8x8 gray",
        10,
        "CC BY 4.0 (UCI), embedded in scikit-learn",
        "https://archive.ics.uci.edu/dataset/80",
        open_digits,
    ),
    _MNIST,
    _STACKED_MNIST,
    _mnist(
        "fashion_mnist",
        "Fashion-MNIST, articles of clothing",
        "MIT",
        "https://github.com/zalandoresearch/fashion-mnist",
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
        ("fashion-mnist", "FashionMNIST"),
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    KnownSet(
        "cifar10",
        "CIFAR-10, small photographs",
        "50,000 + 10,000",
        "32x32 RGB",
        10,
        "for research; cite Krizhevsky 2009",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        open_cifar10,
        (
            PublishedFile(
                "cifar-10-binary.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                "c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        other_files=(
            PublishedFile(
                "cifar-10-python.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
                "c58f30108f718f92721af3b95e74349a",
            ),
        ),
        loose=(*FOLDERS, "data_batch_1.bin", "test_batch.bin", "data_batch_1", "test_batch"),
        options=("split",),
    ),
    KnownSet(
        "stanford_dogs",
        "Stanford Dogs, photographs with boxes",
        "20,580",
        "photographs",
        120,
        "from ImageNet: non-commercial research only",
        "http://vision.stanford.edu/aditya86/ImageNetDogs/",
        open_stanford_dogs,
        # No reliable checksum of these two is published; their SHA-256 is recorded in `dataset.json`.
        (
            PublishedFile("images.tar", ("http://vision.stanford.edu/aditya86/ImageNetDogs/images.tar",)),
            PublishedFile(
                "annotation.tar", ("http://vision.stanford.edu/aditya86/ImageNetDogs/annotation.tar",)
            ),
        ),
        crop="box",
        loose=("Images", "Annotation", "images", "annotations"),
    ),
    KnownSet(
        "celeba",
        "CelebA, faces of celebrities, aligned",
        "202,599",
        "178x218 RGB",
        "no classes, or two with --attribute",
        "non-commercial research only",
        "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        open_celeba,
        by_hand="its authors publish it on Google Drive; from "
        "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html get img_align_celeba.zip, "
        "list_eval_partition.txt and list_attr_celeba.txt",
        options=("split", "attribute"),
    ),
    KnownSet(
        "celeba_hq",
        "CelebA-HQ, 30,000 of these faces at high resolution",
        "30,000",
        "up to 1024x1024 RGB",
        "no classes",
        "non-commercial research only",
        "https://github.com/tkarras/progressive_growing_of_gans",
        open_celeba_hq,
        by_hand="it has no official address; get a folder or an archive of its images, for "
        "example CelebAMask-HQ.zip of https://github.com/switchablenorms/CelebAMask-HQ",
    ),
    KnownSet(
        "lsun",
        "LSUN, photographs of scenes",
        "church_outdoor 126,227, bridge 818,687, ...",
        "shorter side 256, RGB",
        "a class per category if there are several",
        "for research; cite Yu et al. 2015 (arXiv 1506.03365)",
        "https://www.yf.io/p/lsun",
        open_lsun,
        by_hand="fetch http://dl.yf.io/lsun/scenes/church_outdoor_train_lmdb.zip, "
        "http://dl.yf.io/lsun/scenes/bridge_train_lmdb.zip, and so on",
        options=("split", "category"),
    ),
    KnownSet(
        "imagenet",
        "ImageNet (ILSVRC2012), photographs; also the synsets below a name in WordNet",
        "1,281,167",
        "photographs",
        1000,
        "non-commercial research and education only",
        "https://image-net.org/download.php",
        open_imagenet,
        by_hand="sign in at https://image-net.org/download.php and get ILSVRC2012_img_train.tar",
        options=("split", "subset", "classes", "class_count"),
    ),
):
    KNOWN_SETS.register(_known.name)(_known)


def fetch(
    known: KnownSet, given: Path | None = None, on_progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """The files of a known set: from `given` (`--from`), else from the cache, downloaded if missing.

    `given` is a published file, a folder of them, their unpacked content, or Kaggle's folder or archive.
    Returns the published files, or the one folder or archive for the opener. A set that is fetched by hand
    needs `given`, which is returned. Files with a published name are verified by their checksums. Raises
    `DataError` if a file is missing or wrong.
    """
    if given is None and known.by_hand:
        raise DataError(
            f"{known.name} is not downloaded by kennel: {known.by_hand}, and give the folder with "
            "--from FOLDER"
        )
    if given is None:
        return [download(file, cache_folder() / known.name, on_progress) for file in known.files]
    if not known.files and not known.by_hand:
        return []  # it is embedded
    if not given.exists():
        raise DataError(f"--from is '{given}', which does not exist: give the folder that holds the files")
    if known.by_hand:
        return [given]
    if given.is_file():
        return _from_file(known, given)
    for place in ("", *known.places):
        if (given / place).is_dir() and (found := _from_folder(known, given / place)):
            return found
    if archive := only_archive(given):  # Kaggle's archive.zip
        return [archive]
    missing = [file.name for file in known.files if not (given / file.name).is_file()]
    addresses = {file.name: file.addresses[0] for file in known.files}
    raise DataError(
        f"'{given}' lacks {', '.join(missing)} of {known.name}: fetch it from {addresses[missing[0]]}"
    )


def set_with(name: str) -> str | None:
    """The known set with a file or folder of this name, published or unpacked; else None."""
    for known_name, known in KNOWN_SETS.items():
        published = (file.name for file in (*known.files, *known.other_files))
        if name in (*published, *known.loose):
            return known_name
    return None


def _from_file(known: KnownSet, given: Path) -> list[Path]:
    """The given file; or its folder if the set has several files."""
    for file in (*known.files, *known.other_files):
        if file.name == given.name:
            verify(given, file)
            alone = file in known.other_files or len(known.files) == 1
            return [given] if alone else _from_folder(known, given.parent)
    return [given.parent] if given.name in known.loose else [given]


def _from_folder(known: KnownSet, folder: Path) -> list[Path]:
    """The set's files in the folder, or the folder itself if it is unpacked; else empty."""
    found = [file for file in known.files if (folder / file.name).is_file()]
    for file in found:
        verify(folder / file.name, file)
    if len(found) == len(known.files):
        return [folder / file.name for file in found]
    for file in known.other_files:
        if (folder / file.name).is_file():
            verify(folder / file.name, file)
            return [folder / file.name]
    if folder.name in known.loose or any((folder / name).exists() for name in known.loose):
        return [folder]
    return []
