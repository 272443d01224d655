"""Every registered generator is one graph that draws what the generator draws, in ONNX Runtime and torch."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml

from kennel.config.recipe import Recipe, recipe_from
from kennel.engine.builder import build_generator
from kennel.errors import GeneratorFileError
from kennel.networks import GENERATORS, Generator
from kennel.sampling import exported_graph
from kennel.sampling.exported_graph import TOLERANCE, write_graph
from kennel.sampling.generator_file import GeneratorMetadata, Origin
from kennel.sampling.graph_usage import graph_usage

SMALL = {
    "mlp": {"hidden": [16, 16]},
    "dcgan": {"base_channels": 2, "max_multiplier": 4},
    "improved": {"base_channels": 4},
    "modern": {"base_channels": 8, "min_channels": 4, "group": 4, "blocks": 1},
    "stylegan2": {"channel_base": 256, "channel_max": 4, "style": 8, "mapping_layers": 2},
    "sngan": {"base_channels": 1},
    "sagan": {"base_channels": 1},
    "biggan": {"base_channels": 1, "shared_embedding": 3},
    "biggan_deep": {"base_channels": 1, "shared_embedding": 3},
    "projected": {"base_channels": 2, "max_channels": 8},
    "fastgan": {"base_channels": 4},
}
CASES = [
    (name, classes)
    for name, kind in GENERATORS.items()
    for classes in ((0,) if kind.conditional == "never" else (0, 3))
]
FAST = (("mlp", 0), ("dcgan", 3))


def recipe_of(name: str, classes: int, **further) -> Recipe:
    kind = GENERATORS[name]
    return recipe_from(
        {
            "name": "small",
            "image": {"size": kind.sizes[0] if kind.sizes else 8, "channels": 3},
            "num_classes": classes,
            "latent_dim": 420,  # biggan splits it in 4, 5, 6 or 7
            "generator": {"name": name, **SMALL.get(name, {})},
            "discriminator": {"name": "mlp"},
            "budget": {"images": 1},
            **further,
        }
    )


def generator_of(recipe: Recipe) -> Generator:
    """In the memory format of a loaded one."""
    torch.manual_seed(0)
    generator = build_generator(recipe).to(memory_format=torch.channels_last)
    return generator.requires_grad_(False).eval()


def metadata_of(recipe: Recipe, **further) -> GeneratorMetadata:
    return GeneratorMetadata(
        name=recipe.name,
        recipe=recipe.to_yaml(),
        classes=tuple("abc"[: recipe.num_classes]),
        images_seen=1,
        averaged=True,
        dtype="float32",
        fingerprint="0123",
        data=Origin(fingerprint="4567"),
        **further,
    )


def check(folder, name: str, classes: int, suffix: str) -> None:
    """The write checks 8 images, in batches of 1 and of 7."""
    recipe = recipe_of(name, classes)
    path = folder / f"a{suffix}"
    size, difference = write_graph(path, generator_of(recipe), recipe, metadata_of(recipe), "# card")
    assert difference is not None
    assert difference <= TOLERANCE
    assert path.stat().st_size == size


@pytest.mark.parametrize(("name", "classes"), FAST)
def test_two_generators_draw_the_same_as_onnx_files(tmp_path, name, classes):
    check(tmp_path, name, classes, ".onnx")


def test_a_generator_draws_the_same_as_a_torch_export(tmp_path):
    check(tmp_path, "dcgan", 3, ".pt2")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize(("name", "classes"), CASES)
def test_every_generator_draws_the_same_as_a_graph(tmp_path, name, classes, suffix):
    check(tmp_path, name, classes, suffix)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The ONNX file of a small generator with classes, at a truncation."""
    recipe = recipe_of("mlp", 3)
    path = tmp_path_factory.mktemp("graph") / "a.onnx"
    metadata = metadata_of(recipe, truncation=0.5, license="MIT", teacher="inception")
    write_graph(path, generator_of(recipe), recipe, metadata, "# card")
    return path


def test_an_onnx_file_says_what_it_is_and_holds_no_path(file):
    model = onnx.load(file)
    texts = {one.key: one.value for one in model.metadata_props}
    assert (texts["license"], texts["truncation"], texts["teacher"]) == ("MIT", "0.5", "inception")
    assert json.loads(texts["classes"]) == ["a", "b", "c"]
    assert "generative adversarial network" in texts["made_by"]
    assert texts["README.md"] == "# card"
    assert recipe_of("mlp", 3) == recipe_from(yaml.safe_load(texts["recipe"]))
    assert GeneratorMetadata.model_validate_json(texts["kennel_generator"]).fingerprint == "0123"
    assert b".py" not in file.read_bytes()
    (batch,) = {
        one.type.tensor_type.shape.dim[0].dim_param for one in (*model.graph.input, *model.graph.output)
    }
    assert batch  # a name: any number


def test_the_same_generator_gives_the_same_bytes(file, tmp_path):
    recipe = recipe_of("mlp", 3)
    metadata = metadata_of(recipe, truncation=0.5, license="MIT", teacher="inception")
    write_graph(tmp_path / "a.onnx", generator_of(recipe), recipe, metadata, "# card")
    assert (tmp_path / "a.onnx").read_bytes() == file.read_bytes()


def code_of(usage: str) -> str:
    return usage.partition("```python\n")[2].partition("```")[0]


def run_code(usage: str, folder, monkeypatch) -> dict:
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(compile(code_of(usage), "card", "exec"), names)
    return names


def test_the_code_of_the_card_draws_without_kennel(file, monkeypatch):
    recipe = recipe_of("mlp", 3)
    usage = graph_usage(file.name, ".onnx", recipe, metadata_of(recipe, truncation=0.5))
    assert "kennel" not in code_of(usage)
    assert len(code_of(usage).strip().splitlines()) <= 11
    names = run_code(usage, file.parent, monkeypatch)
    assert np.abs(names["latents"]).max() <= 0.5
    labels = torch.from_numpy(names["labels"])
    expected = generator_of(recipe)(torch.from_numpy(names["latents"]), labels)
    assert names["images"] == pytest.approx(expected.numpy(), abs=TOLERANCE)
    assert names["pixels"].shape == (16, 3, 8, 8)
    assert names["pixels"].dtype == np.uint8


def test_the_code_of_a_torch_exports_card_draws_without_kennel(tmp_path, monkeypatch):
    recipe = recipe_of("mlp", 0, latent_distribution="uniform")
    metadata = metadata_of(recipe)
    write_graph(tmp_path / "a.pt2", generator_of(recipe), recipe, metadata, "# card")
    names = run_code(graph_usage("a.pt2", ".pt2", recipe, metadata), tmp_path, monkeypatch)
    expected = generator_of(recipe)(names["latents"])
    assert names["images"].numpy() == pytest.approx(expected.numpy(), abs=TOLERANCE)
    assert names["pixels"].shape == (16, 3, 8, 8)


@pytest.mark.slow
def test_the_truncation_of_styles_is_in_the_graph(tmp_path):
    recipe = recipe_of("stylegan2", 0)
    generator = generator_of(recipe)
    torch.nn.init.normal_(generator.mean_style)
    write_graph(tmp_path / "a.onnx", generator, recipe, metadata_of(recipe, truncation=0.5), "")
    draw = exported_graph._load_onnx(tmp_path / "a.onnx")
    latents = torch.randn(2, 420)
    styles = generator.truncated(generator.map_latents(latents), 0.5)
    assert draw(latents) == pytest.approx(generator.synthesize(styles).numpy(), abs=TOLERANCE)
    assert np.abs(draw(latents) - generator(latents).numpy()).max() > 10 * TOLERANCE


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_file_that_draws_something_else_is_not_left(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(exported_graph, "TOLERANCE", -1.0)
    recipe = recipe_of("mlp", 0)
    with pytest.raises(GeneratorFileError, match="was not written: its images differ"):
        write_graph(tmp_path / f"a{suffix}", generator_of(recipe), recipe, metadata_of(recipe), "")
    assert list(tmp_path.iterdir()) == []


class Deciding(Generator):
    """Decides by a value."""

    def forward(self, latents, labels=None):
        return latents if latents.sum() > 0 else -latents


class Fixing(Generator):
    """Its batch is a number of Python."""

    def forward(self, latents, labels=None):
        return torch.ones(1, 3, 8, 8).expand(len(latents), -1, -1, -1) * latents[:, :1, None, None]


def test_a_batch_size_that_code_fixes_is_named():
    recipe = recipe_of("mlp", 0)
    example = exported_graph.example_of(generator_of(recipe), recipe, None)
    with pytest.raises(GeneratorFileError, match=r"use x.shape\[0\] instead of len\(x\)"):
        exported_graph.graph_of(Fixing(generator_of(recipe).spec, None), example, None)


def test_what_cannot_be_traced_is_one_sentence():
    recipe = recipe_of("mlp", 0)
    example = exported_graph.example_of(generator_of(recipe), recipe, None)
    with pytest.raises(GeneratorFileError, match="cannot be traced") as refused:
        exported_graph.graph_of(Deciding(generator_of(recipe).spec, None), example, None)
    assert "\n" not in str(refused.value)


def test_without_the_packages_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(exported_graph, "find_spec", lambda name: None)
    with pytest.raises(GeneratorFileError, match=r"pip install 'kennel\[onnx\]'"):
        exported_graph.require_onnx()
    assert exported_graph._load_onnx(Path("absent")) is None
