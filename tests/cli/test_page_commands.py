"""The commands of a recipe's page run in their order from an empty folder, on sets and lengths made small."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kennel.data.dataset import ImageDataset

PAGES = Path(__file__).parents[2] / "docs" / "recipes"
WNIDS = ("n02085620", "n02123045", "n01443537", "n02279972", "n01530575", "n03126707")
"""A dog, a cat, a fish, a butterfly, a bird, and a crane that lifts."""
TINY = ("--set", "batch_size=8", "--set", "num_ticks=1", "--set", "validation.every_ticks=0")
NARROW = ("--set", "generator.base_channels=2", "--set", "discriminator.base_channels=2")


def commands(page: str, words: str) -> list[list[str]]:
    """The arguments of the kennel lines in the page's bash blocks that hold `words`, in their order."""
    text = (PAGES / page).read_text(encoding="utf-8")
    lines = [
        line
        for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("kennel ") and re.search(words, line)
    ]
    return [shlex.split(line)[1:] for line in lines]


def replaced(line: list[str], **values: str) -> list[str]:
    """The same line with other values after some of its options."""
    names = {f"--{name.replace('_', '-')}": value for name, value in values.items()}
    return [names.get(before, word) for before, word in zip(["", *line], line, strict=False)]


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A small ImageNet as it is unpacked: train/nXXXXXXXX/nXXXXXXXX_N.JPEG."""
    random = np.random.default_rng(0)
    for wnid in WNIDS:
        folder = tmp_path / "imagenet" / "train" / wnid
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 256, (140, 150, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{wnid}_{number}.JPEG")
    return tmp_path / "imagenet"


def test_sn_dcgan_128_and_the_choice_of_classes_work_on_an_imagenet_subset(
    kennel, imagenet, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lines = [
        *commands("sn_dcgan.md", r"animals\.100|by-class|sn_dcgan\.animals"),
        *commands("sn_dcgan.md", r"128\.animals|animals\.128"),
    ]
    assert [line[0] for line in lines] == [
        "data",
        "train",
        "train",
        "judge",
        "data",
        "train",
        "sample",
        "judge",
    ]
    for line in lines:
        # Inception's weights are no part of the tests, and its Score needs its classes.
        small = replaced(
            line, **{"from": str(imagenet)}, class_count="3", count="16", extractor="pixels", metrics="fid"
        )
        if line[0] == "train":
            small += ["--images", "16", *TINY, *NARROW]
        outcome = kennel(*small)
        assert outcome.code == 0, f"{line}: {outcome.err}"
    for name, side in (("100", 64), ("128", 128)):
        packed = ImageDataset(Path("sets") / f"animals.{name}")
        assert (len(packed.classes), packed.shape) == (3, (3, side, side))
        assert not any("n03126707" in one for one in packed.classes)
    with Image.open("animals.png") as picture:
        assert picture.size == (4 * 130 + 2, 4 * 130 + 2)


def test_the_improved_pair_is_judged_by_the_classifier_of_the_digits(kennel, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = commands("improved.md", r"sets/mnist\b")
    lines = [line for line in lines if "techniques" not in " ".join(line)]
    assert [line[0] for line in lines] == ["data", "train", "train", "extractor", "judge", "judge"]
    for line in lines:
        small = replaced(line, count="100")
        if line[:2] == ["data", "prepare"]:
            small = ["data", "prepare", "digits", line[3], "--size", "28"]  # MNIST is a download
        elif line[0] == "train":
            small += ["--images", "32", "--set", "discriminator.hidden=8", *TINY, *NARROW]
        elif line[0] == "extractor":
            small += ["--epochs", "1", "--device", "cpu"]
        outcome = kennel(*small)
        assert outcome.code == 0, f"{line}: {outcome.err}"
        if line[0] == "judge":
            for label in ("Inception Score", "FID", "Precision", "Recall", "F1"):
                assert f"│ {label} " in outcome.out
            assert "Extractor classifier" in outcome.out
