"""The examples of docs/api.md run as they stand, but for the size of the first."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
SMALL = (
    'images="64", device="cpu", settings={"batch_size": 8, "num_ticks": 1, "validation.every_ticks": 0, '
    '"generator.base_channels": 4, "discriminator.base_channels": 4}'
)


def example(heading: str) -> str:
    """The first program below a heading."""
    _, _, rest = PAGE.partition(f"\n{heading}\n")
    found = re.search(r"^```python\n(.*?)^```", rest, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def run(code: str) -> None:
    exec(compile(code, "api.md", "exec"), {"__name__": "an example"})


def test_the_first_example_runs(capsys):
    random = np.random.default_rng(0)
    Path("photos").mkdir()
    for number in range(40):
        pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{number}.png")
    code = re.search(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]
    assert 'images="500k"' in code
    assert "size=64" in code
    run(code.replace('images="500k"', SMALL).replace("size=64", "size=16"))
    assert Path("runs/dcgan-photos/recipe.yaml").is_file()
    said = capsys.readouterr().out
    assert "FID" in said
    assert "Recall" in said
    assert list(Path("runs/dcgan-photos/judgements").glob("*.json"))


@pytest.mark.parametrize(
    ("heading", "said"),
    [
        ("## Main functions", "1024"),
        ("## Images in memory", "64 (3, 16, 16) ('0', '1')"),
        ("## Your own networks", "True (4, 1, 16, 16)"),
        ("## Your own loss, technique, recipe and metric", "."),
    ],
)
def test_an_example_runs(heading, said, capsys):
    run(example(heading))
    assert said in capsys.readouterr().out
