"""What a command is given to draw from: a run's folder, an exported file, or a released generator's name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from kennel.config.base import validated
from kennel.config.recipe import Recipe, from_yaml
from kennel.engine.builder import build_generator, refuse_unregistered
from kennel.engine.compute_defaults import place_network, refuse_tf32, uncompiled, with_compute_defaults
from kennel.errors import GeneratorFileError, KennelError, RunError
from kennel.networks import GENERATORS, Generator
from kennel.networks.layers.instances import parts_with_instances
from kennel.sampling import generator_file, releases
from kennel.sampling.generator_file import Words
from kennel.sampling.load import load_run
from kennel.sampling.loaded import LoadedGenerator

MOST_SIDE, MOST_OPTION, MOST_COUNT = 8_192, 65_536, 1 << 32
"""Pixels of an image's side, any whole number among the options of a generator that comes in a file, and the
training images of a class."""


@dataclass(frozen=True)
class LoadedFile(LoadedGenerator):
    """The generator of an exported file, ready to sample."""

    path: Path
    words: Words
    card: str
    recipe: Recipe
    generator: Generator
    images_seen: int
    fingerprint: str
    averaged: bool
    teacher: str | None
    truncation: float | None

    @property
    def name(self) -> str:
        """The file, as it was given."""
        return str(self.path)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes of the training set."""
        return self.words.classes


def exported_file(target: Path) -> Path | None:
    """The file that `target` names: itself, or that of a fetched release; None for a run or anything else.

    What lies at the path comes before a name. Raises `ReleaseError` for a release that is not fetched yet.
    """
    if target.exists():
        return target if target.is_file() and target.suffix == generator_file.SUFFIX else None
    return releases.at_hand(str(target)) if releases.may_be_named(str(target)) else None


def load_generator(
    target: Path, which: str = "newest", device: torch.device | None = None, averaged: bool = True
) -> LoadedGenerator:
    """The generator of a run, of an exported file, or of a fetched release, ready to sample.

    `which` and `averaged` choose among a run's weights, as in `load_run`; a file has one generator.
    """
    file = exported_file(target)
    if file is None:
        if not target.exists():
            names = ", ".join(releases.names_at_hand())
            raise RunError(
                f"there is no {target}: give a run's folder, a {generator_file.SUFFIX} file of "
                f"`kennel export`, or the name of a fetched generator ({names or 'none is fetched yet'})"
            )
        if target.is_file():
            raise RunError(
                f"{target} is no run and no exported generator: give a run's folder, or a "
                f"{generator_file.SUFFIX} file of `kennel export`"
            )
        return load_run(target, which, device, averaged=averaged)
    for option, given in (("--checkpoint", which != "newest"), ("--playing", not averaged)):
        if given:
            raise RunError(f"{target} holds one generator, and {option} chooses among a run's: leave it out")
    return load_file(file, device)


def load_file(path: Path, device: torch.device | None = None, name: str | None = None) -> LoadedFile:
    """The generator of an exported file; whatever does not fit raises `GeneratorFileError`.

    Messages call the file by `name`, its path where that is not given.
    """
    refuse_tf32()
    name = name or str(path)
    found = generator_file.read(path, name)
    recipe = _recipe(found.words, name)
    generator = assembled(recipe, found.tensors, name, device)
    words = found.words
    return LoadedFile(
        path,
        words,
        found.card,
        recipe,
        generator,
        words.images_seen,
        words.fingerprint,
        words.averaged,
        words.teacher,
        words.truncation,
    )


def assembled(
    recipe: Recipe, tensors: Mapping[str, Tensor], name: str, device: torch.device | None = None
) -> Generator:
    """The recipe's generator with these weights, in float32, placed where and as the recipe's speed says.

    The network is first laid out without memory and held against the names and shapes that are there, so that
    a file's few bytes cannot ask for more memory or layers than they fill.
    """
    place = device or torch.device("cpu")
    try:
        with torch.device("meta"), _at_most(100 * len(tensors) + 10_000):
            expected = build_generator(recipe).state_dict()
        _refuse_other_shapes(name, tensors, expected)
        generator = build_generator(recipe)
        generator.load_state_dict(dict(tensors))
        _refuse_impossible_counts(name, generator)
    except GeneratorFileError:
        raise
    # Options that fit one by one and not together: a width that no group divides, a side that is not there.
    except (
        KennelError,
        ArithmeticError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = str(error).strip().partition("\n")[0][:300] or type(error).__name__
        raise GeneratorFileError(
            f"{name} names a generator that this kennel cannot build: {reason}"
        ) from None
    placed = with_compute_defaults(uncompiled(recipe), place)
    place_network(generator, place, placed.compute)
    return generator.requires_grad_(False).eval()


def _recipe(words: Words, name: str) -> Recipe:
    """The file's recipe, resolved, its numbers within bounds."""
    try:
        recipe = from_yaml(words.recipe, f"the recipe in {name}")
        refuse_unregistered(recipe, "its recipe", ("generator",))
        kind = GENERATORS[recipe.generator.name]
        options = validated(kind.Options, recipe.generator.options, f"generator {recipe.generator.name}")
    except KennelError as error:
        raise GeneratorFileError(f"{name} cannot be used: {error}") from None
    numbers = [*_whole_numbers(options.model_dump(mode="json")), recipe.latent.dim]
    why = ""
    if (recipe.image.size or 0) > MOST_SIDE or max(numbers) > MOST_OPTION:
        why = "it names a larger generator than any that there is"
    elif max(recipe.class_counts or (0,)) > MOST_COUNT:
        why = "it names more training images than any set has"
    elif recipe.sampling.standing_stats_batches > generator_file.MOST_PASSES:
        why = f"it asks for more than {generator_file.MOST_PASSES:,} passes of standing statistics"
    elif len(words.classes) != (recipe.num_classes or 0):
        why = f"it names {len(words.classes):,} classes, and its recipe {recipe.num_classes or 0:,}"
    elif words.truncation is not None and recipe.latent.distribution == "uniform":
        why = "it truncates latents that are uniform"
    if why:
        raise GeneratorFileError(
            f"{name} cannot be used ({why}): get it again, or export it again from its run"
        )
    return recipe


def _whole_numbers(options: Any) -> Iterator[int]:
    """All of them within plain values."""
    if isinstance(options, int):
        yield abs(options)
    parts = options.values() if isinstance(options, dict) else options if isinstance(options, list) else ()
    for value in parts:
        yield from _whole_numbers(value)


@contextmanager
def _at_most(most: int) -> Iterator[None]:
    """Building a network of more than `most` modules and parameters is a `ValueError`."""
    count = 0

    def counted(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise ValueError("it has more layers than the file has weights")

    hooks = [
        register_module_module_registration_hook(counted),
        register_module_parameter_registration_hook(counted),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _refuse_impossible_counts(name: str, generator: Generator) -> None:
    """How often each instance is drawn must be a number that a training set could have made."""
    for part in parts_with_instances(generator):
        counts = part.counts
        if not (0 <= int(counts.min()) <= int(counts.max()) <= MOST_COUNT and bool(counts.any())):
            raise GeneratorFileError(
                f"{name} cannot be used (it counts its instances as no training set does): get it again, or "
                "export it again from its run"
            )


def _refuse_other_shapes(name: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    if other := sorted(tensors.keys() ^ expected.keys()):
        lacks = "lacks" if other[0] in expected else "has, unlike its recipe,"
        raise GeneratorFileError(
            f"{name} {lacks} the weights {other[0][:80]}: get it again, or export it again"
        )
    for key, tensor in tensors.items():
        if (
            tensor.shape != expected[key].shape
            or tensor.is_floating_point() != expected[key].is_floating_point()
        ):
            raise GeneratorFileError(
                f"{name} has {key[:80]} of shape {tuple(tensor.shape)}, and its recipe says "
                f"{tuple(expected[key].shape)}: get it again, or export it again"
            )
