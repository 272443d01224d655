"""The part of a model card on how to draw from a graph without kennel."""

from kennel.config.recipe import Recipe
from kennel.networks import GENERATORS, StyleGenerator
from kennel.sampling.generator_file import GeneratorMetadata


def graph_usage(file: str, suffix: str, recipe: Recipe, metadata: GeneratorMetadata) -> str:
    """The section "Use" for an `.onnx` or a `.pt2` file called `file`; its code runs as it stands."""
    code = _onnx_code(file, recipe, metadata) if suffix == ".onnx" else _pt2_code(file, recipe)
    packages = "numpy and onnxruntime" if suffix == ".onnx" else "torch"
    labels = ", `labels` int64 (batch)" if _labels(recipe) else ""
    side, channels = recipe.image.size, recipe.image.channels or 3
    text = (
        f"## Use\n\nWith {packages}, without kennel:\n\n```python\n{code}```\n\n"
        f"Inputs: `latents` float32 (batch, {recipe.latent.dim}){labels}, any batch. Output: `images` "
        f"float32 (batch, {channels}, {side}, {side}) from -1 to 1."
    )
    if metadata.truncation is not None:
        how = "in the graph" if _scales_styles(recipe) else "of the latents, in the code above"
        text += f" The truncation of {metadata.truncation:g} is {how}."
    if suffix == ".pt2":
        text += " Load only files that you trust; torch may not read those of other versions of torch."
    return text + " kennel's own latents of a seed are others: `kennel sample` reads .safetensors files.\n"


def _labels(recipe: Recipe) -> int:
    """The number of classes or instances."""
    return recipe.num_classes or recipe.instances.num_instances or 0


def _scales_styles(recipe: Recipe) -> bool:
    return issubclass(GENERATORS[recipe.generator.name], StyleGenerator)


def _onnx_code(file: str, recipe: Recipe, metadata: GeneratorMetadata) -> str:
    shape = f"(16, {recipe.latent.dim})"
    uniform = recipe.latent_distribution == "uniform"
    drawn = f"random.uniform(-1, 1, {shape})" if uniform else f"random.standard_normal({shape})"
    lines = [
        "import numpy as np",
        "import onnxruntime",
        "",
        f'generator = onnxruntime.InferenceSession("{file}")',
        "random = np.random.default_rng(0)",
        f'latents = {drawn}.astype("float32")',
    ]
    if metadata.truncation is not None and not _scales_styles(recipe):
        lines += [
            f"while (far := abs(latents) > {metadata.truncation:g}).any():",
            "    latents[far] = random.standard_normal(far.sum())",
        ]
    inputs = '{"latents": latents}'
    if count := _labels(recipe):
        # The first instances would all be alike in a sorted set.
        lines.append(
            f"labels = np.arange(16) % {count}"
            if recipe.num_classes
            else f"labels = random.integers({count}, size=16)  # instances"
        )
        inputs = '{"latents": latents, "labels": labels}'
    lines += [
        f"(images,) = generator.run(None, {inputs})",
        'pixels = np.rint((images + 1) * 127.5).clip(0, 255).astype("uint8")  # (16, C, H, W)',
    ]
    return "\n".join(lines) + "\n"


def _pt2_code(file: str, recipe: Recipe) -> str:
    uniform = recipe.latent_distribution == "uniform"
    drawn = (
        f"torch.rand(16, {recipe.latent.dim}) * 2 - 1" if uniform else f"torch.randn(16, {recipe.latent.dim})"
    )
    count = _labels(recipe)
    lines = ["import torch", "", f'generator = torch.export.load("{file}").module()', f"latents = {drawn}"]
    if count:
        classes = f"torch.arange(16) % {count}"
        lines.append(f"labels = {classes if recipe.num_classes else f'torch.randint({count}, (16,))'}")
    lines += [
        "with torch.no_grad():",
        f"    images = generator(latents{', labels' if count else ''})",
        "pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)  # (16, C, H, W)",
    ]
    return "\n".join(lines) + "\n"
