"""Exports a run's generator as one file: plain weights or a graph, the recipe, scores and a model card."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from kennel.images import save_png
from kennel.networks import Generator
from kennel.registry import unknown_name
from kennel.sampling import generator_file
from kennel.sampling.exported_graph import require_onnx, write_graph
from kennel.sampling.generator_file import MAX_TRUNCATION, ExportedScore, GeneratorMetadata, Origin
from kennel.sampling.load import LoadedRun, load_networks
from kennel.sampling.model_card import model_card
from kennel.sampling.png_metadata import grid_text
from kennel.sampling.release_guard import GuardOptions, Report, search_copies
from kennel.sampling.resolve import assembled
from kennel.sampling.sampler import MIN_TRUNCATION, Samples
from kennel.storage.untrusted import printable

COMPARED_SAMPLES = 16
"""Samples by which the stored weights are compared with the run's."""
FORMATS = {"safetensors": generator_file.SUFFIX, "onnx": ".onnx", "torch-export": ".pt2"}
"""The formats, and how their files' names end."""
NEAREST = "-nearest.png"
"""How the name of the picture of the nearest training images ends."""


@dataclass(frozen=True)
class ExportOptions:
    """Options of `export`.

    `dtype` is that of matrices and kernels: float16 if it is None, and float32 in graphs. `truncation` is the
    default of samples from the file. `license` is an SPDX identifier or a name; `note` describes the training
    set and its terms. If they are empty, those of a known set are used. `format` is one of `FORMATS`; if it
    is None the one that the destination's name ends in, else safetensors.
    """

    checkpoint: str = "newest"
    dtype: str | None = None
    truncation: float | None = None
    license: str = ""
    note: str = ""
    format: str | None = None


@dataclass(frozen=True)
class ExportResult:
    """The written file: path, size in bytes, metadata and model card.

    `max_difference` and `mean_difference` compare the pixels of the stored weights with the run's, in levels
    of 0 to 255, over `COMPARED_SAMPLES` samples. `graph_difference` is the largest difference of a graph's
    images in [-1, 1], over `CHECKED_SAMPLES`; None for weights, and for an ONNX file without ONNX Runtime.
    `nearest` is the picture of the samples nearest to training images, None without a search for copies.
    """

    path: Path
    size: int
    metadata: GeneratorMetadata
    card: str
    max_difference: int
    mean_difference: float
    graph_difference: float | None = None
    nearest: Path | None = None


def export(
    run: Path,
    destination: Path | None = None,
    options: ExportOptions | None = None,
    guard: GuardOptions | None = None,
    report: Report = lambda what, done, total: None,
) -> ExportResult:
    """Writes the generator that the run samples from (its average, if it has one) as one file.

    The default destination is `exports/` in the run's folder. Before, `guard` searches its samples for copies
    of training images, and `report(what, done, total)` gets its progress. Raises `GeneratorFileError` if the
    generator cannot be rebuilt from its recipe and weights alone, or if it draws copies.
    """
    guard = guard or GuardOptions()
    options = _settled(options or ExportOptions(), destination)
    loaded, networks = load_networks(run, options.checkpoint)
    teacher = loaded.teacher or networks.discriminator.teacher
    dtype, suffix = str(options.dtype), FORMATS[str(options.format)]
    tensors = generator_file.in_dtype(plain_state(loaded.generator), dtype)
    stored = _stored(loaded, tensors)
    found = None if guard.count == 0 else search_copies(loaded, guard, options.truncation, report)
    metadata = _metadata(loaded, teacher, options)
    metadata = metadata.model_copy(update={"copies": found.search if found else None})
    differences = _differences(loaded, stored, options)
    # A recipe's name is free text; a slash in it would lead to another folder.
    name = re.sub(r"[^\w.-]+", "-", loaded.recipe.name)[:60]
    path = destination or run / "exports" / f"{name}-{loaded.images_seen}{suffix}"
    card = printable(model_card(metadata, loaded.recipe, tensors, path.name), "\n\t")
    graph_difference = None
    if suffix == generator_file.SUFFIX:
        size = generator_file.write(path, tensors, metadata, card)
    else:
        size, graph_difference = write_graph(path, stored, loaded.recipe, metadata, card)
    nearest = None
    if found is not None:
        nearest = path.with_name(f"{path.stem}{NEAREST}")
        text = grid_text(loaded.fingerprint, loaded.images_seen, range(found.search.count), teacher)
        save_png(
            nearest, found.picture, text | {"kennel:beside": "training images, each right of its sample"}
        )
    return ExportResult(
        path,
        size,
        metadata,
        card,
        int(differences.max()),
        float(differences.mean()),
        graph_difference,
        nearest,
    )


def _settled(options: ExportOptions, destination: Path | None) -> ExportOptions:
    """The options with a format and a dtype, after checking them and the destination's name."""
    by_name = {suffix: name for name, suffix in FORMATS.items()}
    format_ = options.format
    if format_ is None:
        format_ = "safetensors" if destination is None else by_name.get(destination.suffix, "safetensors")
    elif format_ not in FORMATS:
        if format_ == "torchscript":
            raise GeneratorFileError("torch has deprecated TorchScript: give --format torch-export or onnx")
        raise unknown_name("format", format_, FORMATS)
    suffix = FORMATS[format_]
    dtype = options.dtype or ("float16" if format_ == "safetensors" else "float32")
    if dtype not in generator_file.DTYPES:
        raise unknown_name("dtype", dtype, generator_file.DTYPES)
    if format_ != "safetensors" and dtype != "float32":
        raise GeneratorFileError(f"--format {format_} writes float32: leave --dtype {dtype} out")
    if destination is not None and destination.suffix != suffix:
        others = "" if options.format else f" (or in {', '.join(list(by_name)[1:])}, for other formats)"
        raise GeneratorFileError(
            f"{destination} does not end in {suffix}{others}: give --out a name that does"
        )
    if options.truncation is not None and not MIN_TRUNCATION <= options.truncation <= MAX_TRUNCATION:
        raise GeneratorFileError(
            f"--truncation {options.truncation:g} cannot be the default of a file: give one of at least "
            f"{MIN_TRUNCATION} and at most {MAX_TRUNCATION:,.0f}, or leave it out"
        )
    if format_ == "onnx":
        require_onnx()
    return replace(options, format=format_, dtype=dtype)


def plain_state(generator: nn.Module) -> dict[str, Tensor]:
    """Returns the weights under the names of an unparametrized generator, in evaluation mode.

    Parametrizations such as spectral norm are applied to the weights.
    """
    training = generator.training
    generator.eval()
    try:
        return _plain_state(generator)
    finally:
        generator.train(training)


@torch.no_grad()
def _plain_state(generator: nn.Module) -> dict[str, Tensor]:
    # Removing the parametrizations would change the generator: copies share the classes they create.
    inner = ".parametrizations."
    state = {name: value for name, value in generator.state_dict().items() if inner not in f".{name}"}
    for place, module in generator.named_modules():
        if parametrize.is_parametrized(module):
            for name in cast(nn.ModuleDict, module.parametrizations):
                state[f"{place}.{name}" if place else name] = getattr(module, name).detach()
    return state


def _metadata(loaded: LoadedRun, teacher: str | None, options: ExportOptions) -> GeneratorMetadata:
    recipe, data = loaded.recipe, loaded.folder.about()["data"]
    names = (
        loaded.classes
        if len(loaded.classes) == recipe.num_classes
        else map(str, range(recipe.num_classes or 0))
    )
    note = options.note or _known_set_note(Path(data["path"]), data["fingerprint"])
    return GeneratorMetadata(
        name=recipe.name[:300],
        recipe=recipe.to_yaml(),
        classes=tuple(printable(name)[:300] for name in names) if recipe.num_classes else (),
        images_seen=loaded.images_seen,
        averaged=loaded.averaged,
        dtype=options.dtype,
        truncation=options.truncation,
        teacher=teacher,
        fingerprint=loaded.fingerprint,
        license=printable(options.license)[:300],
        data=Origin(fingerprint=data["fingerprint"], count=data.get("count"), note=printable(note)[:4_000]),
        scores=scores_of(loaded.folder.judgements, loaded.images_seen),
    )


def _known_set_note(path: Path, fingerprint: str) -> str:
    """Describes the training set and its terms if it still exists and was made from a known set; else ""."""
    try:
        dataset = ImageDataset(path)
    except (DataError, OSError):
        return ""
    provenance = dataset.about.get("provenance")
    source = provenance.get("source") if isinstance(provenance, dict) else None
    if dataset.fingerprint != fingerprint or not isinstance(source, str) or source not in KNOWN_SETS:
        return ""
    known = KNOWN_SETS[source]
    return f"{known.title} ({known.home}); terms of its images: {known.terms}"


def scores_of(folder: Path, images_seen: int) -> tuple[ExportedScore, ...]:
    """Returns a checkpoint's scores from a run's judgements; of scores with equal protocols the newest.

    Names and paths of images are left out. Damaged files are skipped.
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


def _stored(loaded: LoadedRun, tensors: dict[str, Tensor]) -> Generator:
    """The generator of the recipe and the stored weights. Raises `GeneratorFileError` if they give none."""
    recipe = loaded.recipe
    try:
        return assembled(recipe, tensors, str(loaded.folder.path), torch.device("cpu"))
    except KennelError as error:
        changed = [part.name for part in recipe.techniques if part.name in CHANGES_THE_GENERATOR]
        why = f"the technique {changed[0]} changes it" if changed else str(error)
        raise GeneratorFileError(
            f"the generator of {loaded.folder.path} cannot be exported: its recipe and weights do not "
            f"rebuild it ({why}); sample from the run itself"
        ) from None


def _differences(
    loaded: LoadedRun, stored: Generator, options: ExportOptions
) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Returns the differences between the pixels of the stored weights and the run's, in levels."""
    seeds = range(COMPARED_SAMPLES)
    own, other = (
        _pixels(loaded, generator, seeds, options.truncation) for generator in (loaded.generator, stored)
    )
    return np.abs(own.astype(np.int64) - other.astype(np.int64))


def _pixels(
    loaded: LoadedRun, generator: Generator, seeds: Sequence[int], truncation: float | None
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    samples = Samples(
        generator,
        loaded.recipe.latent,
        seeds,
        truncation=truncation,
        sampling=loaded.recipe.sampling,
    )
    return samples.pixels()


CHANGES_THE_GENERATOR = ("virtual_batch_norm",)
"""Techniques that add modules to the generator that its recipe alone does not build."""
