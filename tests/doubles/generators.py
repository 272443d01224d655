"""Generators whose images are known."""

from collections.abc import Callable

import numpy as np

from kennel.config.recipe import override
from kennel.engine.builder import build_generator
from kennel.recipes import get_recipe
from kennel.sampling.loaded_generator import LoadedGenerator
from kennel.sampling.sampler import SampleBatch


class Fixed(LoadedGenerator):
    """Stands for a loaded generator: `draw(seed, label)` is the image of a seed."""

    def __init__(self, draw: Callable[[int, int], np.ndarray], *settings: str, **changes: object) -> None:
        small = ["image.size=8", "image.channels=1", "num_classes=3", "generator.base_channels=2", *settings]
        recipe = override(get_recipe("digits"), small)
        facts = {"images_seen": 7, "fingerprint": "f", "averaged": False, **changes}
        super().__init__(recipe=recipe, generator=build_generator(recipe), **facts)
        object.__setattr__(self, "draw", draw)
        object.__setattr__(self, "asked", [])

    @property
    def name(self) -> str:
        return "fixed"

    @property
    def classes(self) -> tuple[str, ...]:
        return ("class 0", "class 1", "class 2")

    def samples(self, count, seed=0, truncation=None, label=None, batch=64, classes=None):
        for start in range(seed, seed + count, batch):
            seeds = tuple(range(start, min(start + batch, seed + count)))
            self.asked.extend(seeds)
            pixels = np.stack([self.draw(one, label) for one in seeds])
            yield SampleBatch(seeds, pixels, (label,) * len(seeds))


def noise(seed: int, label: int) -> np.ndarray:
    """A new image for each seed and label, of black and white: far from those of all grays."""
    return 255 * np.random.default_rng([seed, label, 99]).integers(0, 2, (1, 8, 8), dtype=np.uint8)
