"""The model card of an exported generator: Markdown with Hugging Face's front matter."""

from collections.abc import Mapping

import yaml
from torch import Tensor

from kennel.config.recipe import Recipe
from kennel.evaluation.metrics.base import METRICS
from kennel.reporting.format import figure
from kennel.sampling.generator_file import CopySearch, ExportedScore, GeneratorMetadata
from kennel.sampling.graph_usage import graph_usage

MAX_CLASSES = 200
"""Number of classes that are listed with their counts."""


def model_card(metadata: GeneratorMetadata, recipe: Recipe, tensors: Mapping[str, Tensor], file: str) -> str:
    """Returns the text of the card. It has no date: equal arguments give equal text."""
    parts = [
        _front_matter(metadata, recipe),
        f"# {metadata.name}\n",
        _introduction(metadata, recipe),
        _usage(file, recipe, metadata),
        _facts(metadata, recipe, tensors),
        _scores(metadata.scores),
        _copies(metadata.copies),
        _limits(metadata),
        _classes(metadata, recipe),
        f"## Recipe\n\n```yaml\n{recipe.to_yaml()}```\n",
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(metadata: GeneratorMetadata, recipe: Recipe) -> str:
    content = {
        "license": "other",
        "license_name": metadata.license or "not-stated",
        "library_name": "kennel",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["gan", "image-generation", recipe.name],
    }
    if metadata.license.lower() in _SPDX:
        content["license"] = metadata.license.lower()
        del content["license_name"]
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


_SPDX = (
    *("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-3.0", "cc-by-sa-3.0", "unlicense"),
)
"""License identifiers of Hugging Face's front matter; other licenses are `other` with a name."""


def _introduction(metadata: GeneratorMetadata, recipe: Recipe) -> str:
    kind = {1: "gray", 3: "color"}.get(recipe.image.channels or 3, "points")
    side = recipe.image.size
    classes = f", conditional on {recipe.num_classes} classes" if recipe.num_classes else ""
    return (
        f"A generator of {kind} images of {side}x{side} pixels{classes}, from a generative adversarial "
        f"network trained with kennel {metadata.kennel}. Its images are synthetic, not photographs; image "
        "files that kennel writes say so.\n"
    )


def _usage(file: str, recipe: Recipe, metadata: GeneratorMetadata) -> str:
    suffix = file[file.rfind(".") :]
    if suffix in (".onnx", ".pt2"):
        return graph_usage(file, suffix, recipe, metadata)
    lines = [f"kennel sample {file} --grid grid.png", f"kennel sample {file} --count 1000 --out pictures"]
    if recipe.num_classes:
        lines.append(f"kennel sample {file} --per-class 4 --grid classes.png")
    text = "## Use\n\n```bash\n" + "\n".join(lines) + "\n```\n\nImage i depends only on seed i."
    if metadata.truncation is not None:
        text += f" The default truncation is {metadata.truncation:g}; --truncation changes it."
    return text + "\n"


def _facts(metadata: GeneratorMetadata, recipe: Recipe, tensors: Mapping[str, Tensor]) -> str:
    weights = sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())
    vectors = "" if metadata.dtype == "float32" else ", vectors in float32"
    kind = "average (EMA)" if metadata.averaged else "not averaged"
    data = metadata.data
    count = "" if data.count is None else f"{data.count:,} images, "
    rows = {
        "generator": f"{recipe.generator.name}, {weights:,} values, {metadata.dtype}{vectors}",
        "latent": f"{recipe.latent.dim}, {recipe.latent_distribution}",
        "weights": f"{kind}, after {metadata.images_seen:,} training images shown",
        "discriminator": recipe.discriminator.name,
        "pretrained network": metadata.teacher or "none",
        "recipe": recipe.name + (f", after {recipe.paper}" if recipe.paper else ""),
        "training set": f"{data.note or 'contents and terms not stated'}; {count}fingerprint "
        f"{data.fingerprint}",
        "license": metadata.license or "not stated",
    }
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows.items())
    return f"## Facts\n\n| | |\n|---|---|\n{table}\n"


def _scores(scores: tuple[ExportedScore, ...]) -> str:
    if not scores:
        return "## Scores\n\nNot judged yet.\n"
    rows = []
    for score in scores:
        label = METRICS[score.metric].label if score.metric in METRICS else score.metric
        truncated = "" if score.truncation is None else f", truncation {score.truncation:g}"
        floor = "" if score.floor is None else f"{figure(score.floor)} ({score.floor_count:,} each)"
        counts = f"{score.sample_count:,} v {score.reference_count:,}{truncated}"
        cells = (label, figure(score.value), score.extractor, counts, floor)
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    warnings = dict.fromkeys(f"- {text}" for score in scores for text in score.warnings)
    head = "| metric | value | extractor | samples v training images | real v real |\n|---|---|---|---|---|\n"
    notes = "\n" + "\n".join(warnings) + "\n" if warnings else ""
    return "## Scores\n\n" + head + "\n".join(rows) + "\n" + notes


def _copies(search: CopySearch | None) -> str:
    if search is None:
        return (
            "## Copies\n\nWhether the generator draws copies of its training images was not examined: it was "
            "exported with `--guard-count 0`.\n"
        )
    quantile = f"{100 * search.quantile:g}%"
    return (
        f"## Copies\n\n{search.copies:,} of {search.count:,} samples ({100 * search.share:.3g}%) are too "
        f"near to one of the {search.training_count:,} training images, mirrored or not. Too near is a "
        f"distance of at most {search.threshold:.4g} and at most {search.ratio_threshold:.3g} of the "
        f"distance to the third nearest training image: {quantile} of training images are as near to another "
        f"one, and for {quantile} the ratio is as low ({100 * search.real_share:.3g}% for both together). "
        f"Distances are Euclidean, by the extractor `{search.extractor}`. An export is refused above "
        f"{100 * search.limit:g}%, unless copies are accepted.\n"
    )


def _limits(metadata: GeneratorMetadata) -> str:
    teacher = (
        f" Its discriminator used {metadata.teacher}, a network trained on ImageNet: scores by this network, "
        "or by a similar one, are too good (Kynkäänniemi et al. 2023, arXiv 2203.06026)."
        if metadata.teacher
        else ""
    )
    return (
        "## Limits\n\nThe generator is limited to the contents of its training set, and may reproduce "
        "training images: `kennel judge --metrics memorisation` searches for copies."
        f"{teacher} The terms of the training set may restrict the use of the weights and the images.\n"
    )


def _classes(metadata: GeneratorMetadata, recipe: Recipe) -> str:
    if not metadata.classes:
        return ""
    counts = recipe.class_counts or ()
    lines = [
        f"{number}. {name}" + (f" ({counts[number]:,} images)" if counts else "")
        for number, name in enumerate(metadata.classes[:MAX_CLASSES])
    ]
    more = len(metadata.classes) - len(lines)
    return "## Classes\n\n" + "\n".join(lines) + (f"\n\nand {more:,} more" if more > 0 else "") + "\n"


def _cell(text: str) -> str:
    """Joins lines and escapes the column separator."""
    return " ".join(text.split()).replace("|", "\\|")
