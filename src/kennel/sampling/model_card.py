"""The model card of an exported generator: Markdown with the front matter that Hugging Face reads."""

from collections.abc import Mapping

import yaml
from torch import Tensor

from kennel.config.recipe import Recipe
from kennel.evaluation.metrics.base import METRICS
from kennel.reporting.format import figure
from kennel.sampling.generator_file import ExportedScore, Words

MOST_CLASSES = 200
"""So many classes are listed with their counts."""


def model_card(words: Words, recipe: Recipe, tensors: Mapping[str, Tensor], file: str) -> str:
    """The card's text; a function of these alone, without a date."""
    parts = [
        _front_matter(words, recipe),
        f"# {words.name}\n",
        _introduction(words, recipe),
        _usage(file, recipe, words),
        _facts(words, recipe, tensors),
        _scores(words.scores),
        _limits(words),
        _classes(words, recipe),
        f"## Recipe\n\n```yaml\n{recipe.to_yaml()}```\n",
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(words: Words, recipe: Recipe) -> str:
    content = {
        "license": "other",
        "license_name": words.license or "not-stated",
        "library_name": "kennel",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["gan", "image-generation", recipe.name],
    }
    if words.license and words.license.lower() in _SPDX:
        content["license"] = words.license.lower()
        del content["license_name"]
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


_SPDX = (
    *("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-3.0", "cc-by-sa-3.0", "unlicense"),
)
"""Licenses that the front matter may name by themselves; any other is given by its name."""


def _introduction(words: Words, recipe: Recipe) -> str:
    kind = {1: "grey", 3: "color"}.get(recipe.image.channels or 3, "points")
    side = recipe.image.size
    by_class = f", by class ({recipe.num_classes} classes)" if recipe.num_classes else ""
    return (
        f"A generator of {kind} images of {side}x{side} pixels{by_class}, from a generative adversarial "
        f"network trained by kennel {words.kennel}. What it draws are synthetic pictures, not photographs; "
        "files that kennel writes say so.\n"
    )


def _usage(file: str, recipe: Recipe, words: Words) -> str:
    lines = [f"kennel sample {file} --grid grid.png", f"kennel sample {file} --count 1000 --out pictures"]
    if recipe.num_classes:
        lines.append(f"kennel sample {file} --per-class 4 --grid classes.png")
    text = "## Use\n\n```bash\n" + "\n".join(lines) + "\n```\n\nImage i is a function of seed i alone."
    if words.truncation is not None:
        text += (
            f" Latent values beyond {words.truncation:g} are drawn again (truncation), unless --truncation "
            "says otherwise."
        )
    return text + "\n"


def _facts(words: Words, recipe: Recipe, tensors: Mapping[str, Tensor]) -> str:
    weights = sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())
    vectors = "" if words.dtype == "float32" else ", vectors in float32"
    kind = "average (EMA) of the weights" if words.averaged else "weights as they were playing"
    rows = {
        "generator": f"{recipe.generator.name}, {weights:,} numbers, {words.dtype}{vectors}",
        "latent": f"{recipe.latent.dim}, {recipe.latent_distribution}",
        "weights": f"{kind}, after {words.images_seen:,} training images shown",
        "discriminator": recipe.discriminator.name,
        "taught by": f"{words.teacher} (pretrained)" if words.teacher else "no pretrained network",
        "recipe": recipe.name + (f", after {recipe.paper}" if recipe.paper else ""),
        "training set": _set(words),
        "license": words.license or "not stated",
    }
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows.items())
    return f"## What it is\n\n| | |\n|---|---|\n{table}\n"


def _set(words: Words) -> str:
    count = "" if words.data.count is None else f"{words.data.count:,} images, "
    note = words.data.note or "what it is, and on what terms, is not stated"
    return f"{note}; {count}fingerprint {words.data.fingerprint}"


def _scores(scores: tuple[ExportedScore, ...]) -> str:
    if not scores:
        return "## Scores\n\nNot judged yet.\n"
    rows = []
    for score in scores:
        label = METRICS[score.metric].label if score.metric in METRICS else score.metric
        truncated = "" if score.truncation is None else f", truncation {score.truncation:g}"
        floor = "" if score.floor is None else f"{figure(score.floor)} ({score.floor_count:,} a side)"
        counts = f"{score.sample_count:,} v {score.reference_count:,}{truncated}"
        cells = (label, figure(score.value), score.extractor, counts, floor)
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    warnings = dict.fromkeys(f"- {text}" for score in scores for text in score.warnings)
    head = "| metric | value | extractor | samples v training images | real v real |\n|---|---|---|---|---|\n"
    notes = "\n" + "\n".join(warnings) + "\n" if warnings else ""
    return "## Scores\n\n" + head + "\n".join(rows) + "\n" + notes


def _limits(words: Words) -> str:
    taught = (
        f" It was taught by {words.teacher}, a network trained on ImageNet: scores by that network, or by "
        "one like it, flatter it (Kynkäänniemi et al. 2023, arXiv 2203.06026)."
        if words.teacher
        else ""
    )
    return (
        "## Limits\n\nIt draws what its training set holds, and may repeat pictures of it: "
        f"`kennel judge --metrics memorisation` looks for copies.{taught} The terms of the training set may "
        "bind what is done with the weights and the pictures.\n"
    )


def _classes(words: Words, recipe: Recipe) -> str:
    if not words.classes:
        return ""
    counts = recipe.class_counts or ()
    lines = [
        f"{number}. {name}" + (f" ({counts[number]:,} images)" if counts else "")
        for number, name in enumerate(words.classes[:MOST_CLASSES])
    ]
    more = len(words.classes) - len(lines)
    return "## Classes\n\n" + "\n".join(lines) + (f"\n\nand {more:,} more" if more > 0 else "") + "\n"


def _cell(text: str) -> str:
    """On one line, without what ends a cell."""
    return " ".join(text.split()).replace("|", "\\|")
