"""A run's generator becomes one file to pass on: plain weights, the recipe, scores, a model card."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kennel.data.dataset import ImageDataset
from kennel.data.sources.catalog import KNOWN_SETS
from kennel.errors import DataError, GeneratorFileError, JudgementError, KennelError
from kennel.evaluation.score import Score, read_judgements, warnings_about
from kennel.registry import unknown_name
from kennel.sampling import generator_file
from kennel.sampling.generator_file import MOST_TRUNCATION, ExportedScore, Origin, Words
from kennel.sampling.load import LoadedRun, load_players
from kennel.sampling.model_card import model_card
from kennel.sampling.resolve import assembled
from kennel.sampling.sampler import LEAST_TRUNCATION, Samples
from kennel.storage.untrusted import printable

LOOKED_AT = 16
"""Samples by which the stored weights are held against the run's."""


@dataclass(frozen=True)
class Wanted:
    """What of a run is exported, and what is said of it.

    `license` is an SPDX identifier or a name, `note` says what the training set is and on what terms; empty
    takes what the set's own description says. `truncation` becomes the default of the file's samples.
    """

    checkpoint: str = "newest"
    dtype: str = "float16"
    truncation: float | None = None
    license: str = ""
    note: str = ""


@dataclass(frozen=True)
class Written:
    """The file, its size in bytes, what it says, and how far its pixels are from the run's.

    `furthest` is the largest difference in levels of 0 to 255 over `LOOKED_AT` samples, `mean` the mean one.
    """

    path: Path
    size: int
    words: Words
    card: str
    furthest: int
    mean: float


def export(run: Path, destination: Path | None = None, wanted: Wanted | None = None) -> Written:
    """Writes the generator that the run samples from (its average, where it has one) as one file.

    Without a destination it goes into the run's folder, to `exports/`. Raises `GeneratorFileError` where the
    generator cannot be carried by its recipe and weights alone.
    """
    wanted = wanted or Wanted()
    if wanted.dtype not in generator_file.DTYPES:
        raise unknown_name("dtype", wanted.dtype, generator_file.DTYPES)
    if destination is not None and destination.suffix != generator_file.SUFFIX:
        raise GeneratorFileError(
            f"{destination} is not the name of such a file: end it in {generator_file.SUFFIX}"
        )
    if wanted.truncation is not None and not LEAST_TRUNCATION <= wanted.truncation <= MOST_TRUNCATION:
        raise GeneratorFileError(
            f"--truncation {wanted.truncation:g} cannot be the default of a file: give one of at least "
            f"{LEAST_TRUNCATION} and at most {MOST_TRUNCATION:,.0f}, or leave it out"
        )
    loaded, networks = load_players(run, wanted.checkpoint)
    teacher = loaded.teacher or networks.discriminator.teacher
    tensors = generator_file.in_dtype(plain_state(loaded.generator), wanted.dtype)
    words = _words(loaded, teacher, wanted)
    differences = _differences(loaded, tensors, wanted)
    # A recipe's name is free text, and one with a slash would lead to another folder.
    called = re.sub(r"[^\w.-]+", "-", loaded.recipe.name)[:60]
    path = destination or run / "exports" / f"{called}-{loaded.images_seen}{generator_file.SUFFIX}"
    card = printable(model_card(words, loaded.recipe, tensors, path.name), "\n\t")
    size = generator_file.write(path, tensors, words, card)
    return Written(path, size, words, card, int(differences.max()), float(differences.mean()))


def plain_state(generator: nn.Module) -> dict[str, Tensor]:
    """The weights as a generator that no technique has changed would have them, in evaluation mode.

    What a technique divides at each pass (spectral norm) is divided for good.
    """
    training = generator.training
    generator.eval()
    try:
        return _plain_state(generator)
    finally:
        generator.train(training)


@torch.no_grad()
def _plain_state(generator: nn.Module) -> dict[str, Tensor]:
    """Nothing is taken off the generator: a copy shares the classes that parametrizations have made."""
    inner = ".parametrizations."
    state = {name: value for name, value in generator.state_dict().items() if inner not in f".{name}"}
    for place, module in generator.named_modules():
        if parametrize.is_parametrized(module):
            for name in cast(nn.ModuleDict, module.parametrizations):
                state[f"{place}.{name}" if place else name] = getattr(module, name).detach()
    return state


def _words(loaded: LoadedRun, teacher: str | None, wanted: Wanted) -> Words:
    recipe, data = loaded.recipe, loaded.folder.about()["data"]
    names = (
        loaded.classes
        if len(loaded.classes) == recipe.num_classes
        else map(str, range(recipe.num_classes or 0))
    )
    known_license, known_note = _terms(Path(data["path"]), data["fingerprint"])
    return Words(
        name=recipe.name[:300],
        recipe=recipe.to_yaml(),
        classes=tuple(printable(name)[:300] for name in names) if recipe.num_classes else (),
        images_seen=loaded.images_seen,
        averaged=loaded.averaged,
        dtype=wanted.dtype,
        truncation=wanted.truncation,
        teacher=teacher,
        fingerprint=loaded.fingerprint,
        license=printable(wanted.license or known_license)[:300],
        data=Origin(
            fingerprint=data["fingerprint"],
            count=data.get("count"),
            note=printable(wanted.note or known_note)[:4_000],
        ),
        scores=scores_of(loaded.folder.judgements, loaded.images_seen),
    )


def _terms(path: Path, fingerprint: str) -> tuple[str, str]:
    """License and note of a known set, where the training set is still there and was made of one; else ""."""
    try:
        dataset = ImageDataset(path)
    except (DataError, OSError):
        return "", ""
    provenance = dataset.about.get("provenance")
    source = provenance.get("source") if isinstance(provenance, dict) else None
    if dataset.fingerprint != fingerprint or not isinstance(source, str) or source not in KNOWN_SETS:
        return "", ""
    known = KNOWN_SETS[source]
    return "", f"{known.title} ({known.home}); terms of its images: {known.terms}"


def scores_of(folder: Path, images_seen: int) -> tuple[ExportedScore, ...]:
    """What the judgements in a run's folder say of this checkpoint; of equal protocols the newest.

    Names and paths of the pictures are left out. A file that is damaged costs itself.
    """
    found: dict[tuple[object, ...], ExportedScore] = {}
    for file in sorted(folder.glob(f"{images_seen:010d}-*.json")):
        try:
            judgements = read_judgements(file, named=False)
        except JudgementError:
            continue
        for judgement in judgements:
            score = _score(judgement)
            key = (
                score.metric,
                score.extractor,
                score.sample_count,
                score.reference_fingerprint,
                score.truncation,
                score.class_sampling,
            )
            found[key] = score
    return tuple(found.values())


def _score(judgement: Score) -> ExportedScore:
    protocol, details = judgement.protocol, judgement.details
    truncated = re.search(r", truncation ([\d.e+-]+)$", protocol.images)
    floor = details.get("real_v_real")
    return ExportedScore(
        metric=judgement.metric,
        value=judgement.value,
        interval=judgement.interval,
        extractor=protocol.extractor,
        weights_sha256=protocol.weights_sha256,
        resize=protocol.resize,
        precision=protocol.precision,
        sample_count=protocol.sample_count,
        reference_count=protocol.reference_count,
        reference_fingerprint=protocol.reference_fingerprint,
        seed=protocol.seed,
        truncation=float(truncated[1]) if truncated else None,
        class_sampling=protocol.class_sampling,
        floor=floor if isinstance(floor, float) else None,
        floor_count=details.get("real_v_real_count") if isinstance(floor, float) else None,
        warnings=tuple(warnings_about(judgement)),
    )


def _differences(
    loaded: LoadedRun, tensors: dict[str, Tensor], wanted: Wanted
) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """How far the pixels of the stored weights are from the run's, in levels.

    That they can be drawn at all is seen before anything is written.
    """
    recipe = loaded.recipe
    try:
        stored = assembled(recipe, tensors, str(loaded.folder.path), torch.device("cpu"))
    except KennelError as error:
        changed = [part.name for part in recipe.techniques if part.name in CHANGES_THE_GENERATOR]
        why = f"the technique {changed[0]} is part of it" if changed else str(error)
        raise GeneratorFileError(
            f"the generator of {loaded.folder.path} cannot be exported, since its recipe and weights alone "
            f"do not make it ({why}): sample from the run itself"
        ) from None
    seeds = range(LOOKED_AT)
    generators = (loaded.generator, stored)
    own, other = (_pixels(loaded, generator, seeds, wanted.truncation) for generator in generators)
    return np.abs(own.astype(np.int64) - other.astype(np.int64))


def _pixels(
    loaded: LoadedRun, generator: nn.Module, seeds: Sequence[int], truncation: float | None
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    samples = Samples(
        generator,  # type: ignore[arg-type]
        loaded.recipe.latent,
        seeds,
        truncation=truncation,
        sampling=loaded.recipe.sampling,
    )
    return samples.pixels()


CHANGES_THE_GENERATOR = ("virtual_batch_norm",)
"""Techniques that put something into a generator that a recipe without them does not build."""
