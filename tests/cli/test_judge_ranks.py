"""`kennel judge` under torchrun: two processes on the CPU with a tiny random network."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

SCRIPT = str(Path(__file__).with_name("one_judging_rank.py"))
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")


@pytest.fixture
def sides(tmp_path: Path) -> tuple[str, str]:
    """A folder of 50 images of 16x16, the fakes, and an npz of 75."""
    random = np.random.default_rng(0)
    (tmp_path / "fakes").mkdir()
    for index, pixels in enumerate(random.integers(0, 230, (50, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "fakes" / f"{index:02d}.png")
    np.savez(tmp_path / "reals.npz", images=random.integers(0, 256, (75, 16, 16, 3), dtype=np.uint8))
    return str(tmp_path / "fakes"), str(tmp_path / "reals.npz")


def start(*command: str, cache: Path, **environment: str) -> "subprocess.Popen[str]":
    names = dict(os.environ) | {"OMP_NUM_THREADS": "1", "KENNEL_CACHE": str(cache)} | environment
    return subprocess.Popen(
        [sys.executable, *command], env=names, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def judging(sides: tuple[str, str], *more: str) -> tuple[str, ...]:
    fakes, reals = sides
    options = ("--extractor", "tiny", "--device", "cpu", "--batch", "16")
    return SCRIPT, "judge", fakes, "--reference", reals, *options, *more


def test_two_ranks_share_the_images_and_give_the_numbers_of_one_bit_for_bit(
    sides: tuple[str, str], tmp_path: Path
) -> None:
    asked = ("--metrics", "fid,mifid,precision,recall,is", "--count", "45", "--splits", "5")
    one = start(*judging(sides, *asked, "--json", str(tmp_path / "one.json")), cache=tmp_path / "one")
    two = start(
        *TORCHRUN, *judging(sides, *asked, "--json", str(tmp_path / "two.json")), cache=tmp_path / "two"
    )
    printed = [process.communicate(timeout=100) for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), printed
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert [entry["metric"] for entry in json.loads((tmp_path / "two.json").read_text())] == [
        *("fid", "mifid", "precision", "recall", "inception_score")
    ]
    # The table is printed once; 75 and 45 images are in 5 and 4 batches, of which a rank has 3 and 2.
    assert printed[0][0].replace("one.json", "") == printed[1][0].replace("two.json", "")
    assert Counter(re.findall(r"rank (\d) extracts", printed[1][1])) == {"0": 5, "1": 4}
    kept = [sorted((tmp_path / name / "features").iterdir()) for name in ("one", "two")]
    assert [path.name for path in kept[0]] == [path.name for path in kept[1]]
    assert kept[0][0].read_bytes() == kept[1][0].read_bytes()
    statistics, shared = load_file(kept[0][1]), load_file(kept[1][1])
    assert {name: array.tobytes() for name, array in statistics.items()} == {
        name: array.tobytes() for name, array in shared.items()
    }


def test_what_fails_on_one_rank_is_one_sentence_of_rank_0_and_the_end_of_all(
    sides: tuple[str, str], two_ranks: Callable[..., Any], tmp_path: Path
) -> None:
    told = {"KENNEL_CACHE": str(tmp_path / "cache"), "TINY_FAULT": "not finite"}
    codes, said = two_ranks(*judging(sides), **told)
    assert codes == [2, 2], said
    errors = [re.sub(r"rank \d extracts \d+\n", "", error) for _, error in said]
    assert errors[0].startswith("Error: the tiny extractor gave features that are not finite for ")
    assert errors[0].count("\n") == 1
    assert (errors[1], said[0][0], said[1][0]) == ("", "", "")
    assert not list((tmp_path / "cache").rglob("*.npy"))
