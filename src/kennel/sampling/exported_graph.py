"""A generator as one graph from latents to images, in formats that other programs load without kennel.

`onnx` is read by ONNX Runtime and others, `torch-export` (`.pt2`) by `torch.export.load`. There is no
TorchScript: torch 2.10 and newer warn that all of `torch.jit` is deprecated, and name `torch.export` instead.

Inputs are `latents`, float32 (batch, latent), and `labels`, int64 (batch), if the generator has classes or
instances. The output is `images`, float32 (batch, C, H, W) in [-1, 1], as in kennel. The batch is any number
from 1 on. Weights are float32, standing statistics are computed, and the truncation of styles is part of the
graph; the truncation of latents is not, because they are the input.
"""

import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from kennel.config.recipe import Recipe
from kennel.data.image_files import SYNTHETIC
from kennel.errors import GeneratorFileError
from kennel.networks import Generator, StyleGenerator
from kennel.sampling.generator_file import GeneratorMetadata, as_json
from kennel.sampling.sampler import images_of, label_weights, labels_of, latents_of, with_standing_statistics
from kennel.storage.atomic_io import atomic_file
from kennel.storage.untrusted import printable

CHECKED_SAMPLES, TOLERANCE = 8, 1e-4
"""Images that a written file is checked with, and by how much a value in [-1, 1] may differ."""
MAX_ONNX_BYTES = (1 << 31) - (1 << 20)
"""An ONNX file is one protocol buffer, and those end at 2 GiB."""
STACK = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")
"""What torch notes at each node about the code that it comes from, with paths of this machine."""

FloatImages = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Properties = dict[str, str]


def require_onnx() -> None:
    """Raises `GeneratorFileError` if the packages that write ONNX files are missing."""
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise GeneratorFileError(
            f"--format onnx needs the package {' and '.join(missing)}: pip install 'kennel[onnx]'"
        )


class Drawing(nn.Module):
    """The graph's function: latents (batch, latent), and labels (batch,) or none, to images."""

    def __init__(self, generator: Generator, truncation: float | None) -> None:
        super().__init__()
        self.generator = generator
        self.factor = truncation if isinstance(generator, StyleGenerator) else None

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        generator = self.generator
        if self.factor is None:
            return cast(Tensor, generator(latents, labels))
        assert isinstance(generator, StyleGenerator)
        styles = generator.map_latents(latents, labels)
        return generator.synthesize(generator.truncated(styles, self.factor))


@dataclass(frozen=True)
class Example:
    """Inputs and the images (batch, C, H, W) that the generator draws of them; `labels` may be None."""

    latents: Tensor
    labels: Tensor | None
    images: FloatImages

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.latents,) if self.labels is None else (self.latents, self.labels)


def example_of(generator: Generator, recipe: Recipe, truncation: float | None) -> Example:
    """Seeds 0 to `CHECKED_SAMPLES` - 1."""
    seeds = range(CHECKED_SAMPLES)
    weights = label_weights(generator, recipe.sampling.classes)
    labels = labels_of(seeds, weights) if weights else None
    images = images_of(generator, recipe.latent, seeds, labels, truncation).numpy()
    latents = latents_of(seeds, recipe.latent, None if isinstance(generator, StyleGenerator) else truncation)
    return Example(latents, None if labels is None else torch.tensor(labels), images)


def graph_of(generator: Generator, example: Example, truncation: float | None) -> ExportedProgram:
    """The generator, in evaluation mode, as a graph with any batch size. Raises `GeneratorFileError` if torch
    cannot trace it, as where Python code decides by the values of a tensor."""
    batch = torch.export.Dim("batch", min=1)
    try:
        with torch.no_grad():
            program = torch.export.export(
                Drawing(generator, truncation).eval(),
                example.inputs,
                dynamic_shapes=tuple({0: batch} for _ in example.inputs),
            )
    except Exception as error:  # torch raises various errors for code that it cannot trace
        if "Constraints violated (batch)" in str(error):
            raise GeneratorFileError(
                f"the generator {type(generator).__name__} cannot be traced, because its code fixes the "
                "batch size: use x.shape[0] instead of len(x) in it, or give --format safetensors"
            ) from error
        raise GeneratorFileError(
            f"the generator {type(generator).__name__} cannot be traced ({_first_line(error)}): give "
            "--format safetensors"
        ) from error
    for node in program.graph.nodes:
        for key in STACK:
            node.meta.pop(key, None)
    return program


def properties_of(metadata: GeneratorMetadata, recipe: Recipe, card: str) -> Properties:
    """The texts that a file has next to the graph: what the safetensors file has, and some of it by name."""
    truncation = "" if metadata.truncation is None else f"{metadata.truncation:g}"
    return {
        "README.md": card,
        "kennel_generator": json.dumps(as_json(metadata), allow_nan=False, sort_keys=True),
        "made_by": "a generative adversarial network: its images are synthetic, not photographs",
        "digital_source_type": SYNTHETIC,
        "name": metadata.name,
        "latent": f"{recipe.latent.dim}, {recipe.latent_distribution}",
        "classes": json.dumps(list(metadata.classes)),
        "truncation": truncation,
        "license": metadata.license,
        "training_set": metadata.data.note,
        "teacher": metadata.teacher or "",
        "fingerprint": metadata.fingerprint,
        "recipe": metadata.recipe,
    }


def write_graph(
    path: Path,
    generator: Generator,
    recipe: Recipe,
    metadata: GeneratorMetadata,
    card: str,
) -> tuple[int, float | None]:
    """Writes an `.onnx` or a `.pt2` file, checks it, and returns its size and its largest difference.

    That is the largest difference of a value from the generator's, over `CHECKED_SAMPLES` seeds; None if
    ONNX Runtime is not installed. Raises `GeneratorFileError`, and leaves no file, if it exceeds `TOLERANCE`.
    """
    truncation, sampling = metadata.truncation, recipe.sampling
    if sampling.standing_stats_batches:
        generator = with_standing_statistics(
            generator, recipe.latent, sampling.standing_stats_batches, truncation, sampling.classes
        )
    # torch stores channels-last weights with a warning.
    generator = copy.deepcopy(generator)
    generator.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = example_of(generator, recipe, truncation)
    program = graph_of(generator, example, truncation)
    write, load = (_write_onnx, _load_onnx) if path.suffix == ".onnx" else (_write_pt2, _load_pt2)
    with atomic_file(path) as temporary:
        write(temporary, program, properties_of(metadata, recipe, card))
        draw = load(temporary)
        difference = None if draw is None else _difference(draw, example)
        if difference is not None and not difference <= TOLERANCE:
            raise GeneratorFileError(
                f"{path} was not written: its images differ from the generator's by up to {difference:.2g} "
                f"of the range from -1 to 1, more than {TOLERANCE:g}; give --format safetensors"
            )
        size = temporary.stat().st_size
    return size, difference


def _difference(draw: Callable[..., FloatImages], example: Example) -> float:
    """The largest difference of the example's images, drawn in batches of 1 and the rest; NaN if one is."""
    parts = [draw(*(one[part] for one in example.inputs)) for part in (slice(0, 1), slice(1, None))]
    return float(np.abs(np.concatenate(parts) - example.images).max())


def _write_onnx(path: Path, program: ExportedProgram, properties: Properties) -> None:
    import onnx

    weights = sum(one.numel() * one.element_size() for one in program.state_dict.values())
    if weights > MAX_ONNX_BYTES:
        raise GeneratorFileError(
            f"the generator has {weights:,} bytes of weights, and an ONNX file ends at {MAX_ONNX_BYTES:,}: "
            "give --format safetensors"
        )
    names = ["latents", "labels"][: len(program.graph_signature.user_inputs)]
    try:
        with _quiet():
            exported = torch.onnx.export(
                program, input_names=names, output_names=["images"], dynamo=True, verbose=False
            )
    except Exception as error:  # as in tracing: an operation that ONNX does not have
        raise GeneratorFileError(
            f"the generator cannot be written as ONNX ({_first_line(error)}): give --format safetensors"
        ) from error
    assert exported is not None
    model = exported.model_proto
    _forget_sources(model)
    onnx.helper.set_model_props(model, properties)
    model.producer_name, model.producer_version = (
        "kennel",
        json.loads(properties["kennel_generator"])["kennel"],
    )
    model.doc_string = properties["made_by"]
    path.write_bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides what torch's ONNX export says about itself: that torchvision is missing, which kennel does not
    need, and that functions are deprecated which torch itself calls (2.13: `isinstance(treespec, LeafSpec)`).
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for kind in (FutureWarning, DeprecationWarning):
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        logger.setLevel(level)


def _forget_sources(model: Any) -> None:
    """Removes what torch notes about the code that each part comes from."""
    del model.metadata_props[:], model.graph.metadata_props[:]
    for scope in (model.graph, *model.functions):
        for part in (*scope.node, *scope.value_info):
            part.doc_string = ""
            del part.metadata_props[:]
    for part in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def _load_onnx(path: Path) -> Callable[..., FloatImages] | None:
    """The function of a file in ONNX Runtime; None if that is not installed."""
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def draw(*inputs: Tensor) -> FloatImages:
        (images,) = session.run(None, {name: one.numpy() for name, one in zip(names, inputs, strict=True)})
        return cast(FloatImages, images)

    return draw


def _write_pt2(path: Path, program: ExportedProgram, properties: Properties) -> None:
    program.example_inputs = None  # random latents, which would be stored as a pickle
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files=properties)


def _load_pt2(path: Path) -> Callable[..., FloatImages]:
    """The function of a file that this process has just written."""
    with path.open("rb") as file:
        module = torch.export.load(file).module()

    @torch.no_grad()
    def draw(*inputs: Tensor) -> FloatImages:
        return cast(FloatImages, module(*inputs).numpy())

    return draw


def _first_line(error: BaseException) -> str:
    """The first line of an error; of torch's ONNX export that of the error inside, as its own is general."""
    error = error.__cause__ or error
    return printable(str(error).strip().partition("\n")[0] or type(error).__name__)[:200]
