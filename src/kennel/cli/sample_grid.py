"""`kennel sample` without another picture: samples of single seeds, as a grid or as files."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kennel.cli import options
from kennel.cli.sample_options import SampleOptions


def sample_grid(run: Path, loaded: Any, given: SampleOptions) -> None:
    """Draws the samples and writes the files that the options name."""
    from kennel.cli.console import console, progress_bar
    from kennel.sampling.sample_files import write_grid, write_samples

    samples = _samples(loaded, given)
    grid = given.grid
    if grid is None and given.out is None:
        grid = default_file(run, f"{'classes-' if given.per_class else ''}seeds{_words(samples.seeds)}.png")
    if given.out is not None:
        with progress_bar("sampling") as report:
            write_samples(given.out, samples, loaded, report)
        console.message(f"{len(samples):,} images {origin(loaded)}: {given.out}")
    if grid is not None:
        write_grid(grid, samples, loaded, given.columns or given.per_class, given.labels)
        console.message(f"Grid {origin(loaded)}: {grid}")


def _samples(loaded: Any, given: SampleOptions) -> Any:
    from kennel.sampling.sample_files import class_number
    from kennel.sampling.seeds import parse_seeds

    seed = given.seed or 0
    label = None if given.class_ is None else class_number(given.class_, loaded)
    if given.per_class is not None:
        return loaded.samples_per_class(given.per_class, seed, given.truncation, given.batch)
    if given.keep is None:
        seeds: Sequence[int] = range(seed, seed + (given.count or 64))
    else:
        seeds = tuple(dict.fromkeys(parse_seeds(given.keep, "--keep")))
    return loaded.samples_of(
        seeds, given.truncation, label, given.batch, options.class_sampling(given.classes)
    )


def origin(loaded: Any) -> str:
    """Where images come from, for messages."""
    weights = "averaged weights (EMA)" if loaded.averaged else "weights without averaging"
    return f"from the {weights} at {loaded.images_seen:,} images"


def default_file(run: Path, name: str) -> Path:
    """The file `name` in a run's folder of samples or, of an exported generator, in the current folder.

    Characters that some file systems do not allow become hyphens.
    """
    name = re.sub(r"[^\w.-]+", "-", name)
    stem = run.name.removesuffix(".safetensors")  # `Path.stem` would cut a name that contains a dot
    return run / "samples" / name if (run / "recipe.yaml").is_file() else Path(f"{stem}-{name}")


def _words(seeds: Any) -> str:
    from kennel.sampling.seeds import seed_words

    return seed_words(seeds)[:60]
