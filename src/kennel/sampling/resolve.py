"""Loads a generator from a run's folder, an exported file, or the name of a fetched release."""

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
from kennel.sampling.generator_file import GeneratorMetadata, unusable
from kennel.sampling.load import load_run
from kennel.sampling.loaded_generator import LoadedGenerator

MAX_SIDE, MAX_OPTION, MAX_COUNT = 8_192, 65_536, 1 << 32
"""Limits of a file's recipe: an image's side in pixels, the integers of the generator's options, and the
training images of a class."""


@dataclass(frozen=True, kw_only=True)
class LoadedFile(LoadedGenerator):
    """The generator of an exported file, ready to sample."""

    path: Path
    metadata: GeneratorMetadata
    card: str

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.metadata.classes


def exported_file(target: Path) -> Path | None:
    """Returns the generator file at `target` or of the fetched release of this name; None for other targets.

    An existing path has precedence over a name. Raises `ReleaseError` for a release that is not fetched yet.
    """
    if target.exists():
        return target if target.is_file() and target.suffix == generator_file.SUFFIX else None
    return releases.fetched_file(str(target)) if releases.is_valid_name(str(target)) else None


def load_generator(
    target: Path, which: str = "newest", device: torch.device | None = None, averaged: bool = True
) -> LoadedGenerator:
    """Loads the generator of a run, an exported file, or a fetched release.

    `which` and `averaged` choose among a run's weights, as in `load_run`; a file has one generator.
    """
    file = exported_file(target)
    if file is None:
        if not target.exists():
            names = ", ".join(releases.fetched_names())
            raise RunError(
                f"there is no {target}: give a run's folder, a {generator_file.SUFFIX} file of "
                f"`kennel export`, or the name of a fetched generator ({names or 'none is fetched yet'})"
            )
        if target.is_file():
            raise RunError(
                f"{target} is neither a run nor an exported generator: give a run's folder, or a "
                f"{generator_file.SUFFIX} file of `kennel export`"
            )
        return load_run(target, which, device, averaged=averaged)
    for option, given in (("--checkpoint", which != "newest"), ("--playing", not averaged)):
        if given:
            raise RunError(
                f"{target} has one generator, and {option} chooses among those of a run: leave it out"
            )
    return load_file(file, device)


def load_file(path: Path, device: torch.device | None = None, name: str | None = None) -> LoadedFile:
    """Loads the generator of an exported file; raises `GeneratorFileError` if the file is not usable.

    `name` is the file's name in messages (default: its path).
    """
    refuse_tf32()
    name = name or str(path)
    found = generator_file.read(path, name)
    metadata = found.metadata
    recipe = _recipe(metadata, name)
    return LoadedFile(
        path=path,
        metadata=metadata,
        card=found.card,
        recipe=recipe,
        generator=assembled(recipe, found.tensors, name, device),
        images_seen=metadata.images_seen,
        fingerprint=metadata.fingerprint,
        averaged=metadata.averaged,
        teacher=metadata.teacher,
        truncation=metadata.truncation,
    )


def assembled(
    recipe: Recipe, tensors: Mapping[str, Tensor], name: str, device: torch.device | None = None
) -> Generator:
    """Builds the recipe's generator with these weights, in float32, on the device.

    The network is first built on the meta device and compared with the given names and shapes, so that a
    small file cannot request more memory or layers than its weights fill.
    """
    place = device or torch.device("cpu")
    try:
        with torch.device("meta"), _limited_modules(100 * len(tensors) + 10_000):
            expected = build_generator(recipe).state_dict()
        _check_shapes(name, tensors, expected)
        generator = build_generator(recipe)
        generator.load_state_dict(dict(tensors))
        _check_instance_counts(name, generator)
    except GeneratorFileError:
        raise
    # Options may be valid one by one but not together, such as a width that the groups do not divide.
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
            f"{name} has a generator that this version of kennel cannot build: {reason}"
        ) from None
    placed = with_compute_defaults(uncompiled(recipe), place)
    place_network(generator, place, placed.compute)
    return generator.requires_grad_(False).eval()


def _recipe(metadata: GeneratorMetadata, name: str) -> Recipe:
    """Returns the file's recipe after checking its numbers."""
    try:
        recipe = from_yaml(metadata.recipe, f"the recipe in {name}")
        refuse_unregistered(recipe, "its recipe", ("generator",))
        kind = GENERATORS[recipe.generator.name]
        options = validated(kind.Options, recipe.generator.options, f"generator {recipe.generator.name}")
    except KennelError as error:
        raise GeneratorFileError(f"{name} cannot be used: {error}") from None
    numbers = [*_integers(options.model_dump(mode="json")), recipe.latent.dim]
    why = ""
    if (recipe.image.size or 0) > MAX_SIDE or max(numbers) > MAX_OPTION:
        why = "its generator is too large"
    elif max(recipe.class_counts or (0,)) > MAX_COUNT:
        why = "it has more training images than any set"
    elif recipe.sampling.standing_stats_batches > generator_file.MAX_PASSES:
        why = f"it has more than {generator_file.MAX_PASSES:,} passes of standing statistics"
    elif len(metadata.classes) != (recipe.num_classes or 0):
        why = f"it names {len(metadata.classes):,} classes, and its recipe {recipe.num_classes or 0:,}"
    elif metadata.truncation is not None and recipe.latent.distribution == "uniform":
        why = "it truncates uniform latents"
    if why:
        raise unusable(name, why)
    return recipe


def _integers(options: Any) -> Iterator[int]:
    """Yields the absolute values of all integers in nested plain values."""
    if isinstance(options, int):
        yield abs(options)
    parts = options.values() if isinstance(options, dict) else options if isinstance(options, list) else ()
    for value in parts:
        yield from _integers(value)


@contextmanager
def _limited_modules(limit: int) -> Iterator[None]:
    """Raises `ValueError` if more than `limit` modules and parameters are created in the block."""
    count = 0

    def on_registration(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > limit:
            raise ValueError("it has more layers than the file has weights")

    hooks = [
        register_module_module_registration_hook(on_registration),
        register_module_parameter_registration_hook(on_registration),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_instance_counts(name: str, generator: Generator) -> None:
    """Raises `GeneratorFileError` if the counts of instances cannot come from a training set."""
    for part in parts_with_instances(generator):
        counts = part.counts
        if not (0 <= int(counts.min()) <= int(counts.max()) <= MAX_COUNT and bool(counts.any())):
            raise unusable(name, "its instance counts are impossible")


def _check_shapes(name: str, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    if other := sorted(tensors.keys() ^ expected.keys()):
        relation = "lacks" if other[0] in expected else "has, unlike its recipe,"
        raise GeneratorFileError(
            f"{name} {relation} the weights {other[0][:80]}: get it again, or export it again"
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
