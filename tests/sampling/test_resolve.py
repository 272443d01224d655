"""A generator is put together from a recipe and weights alone, whichever of the networks it is."""

import pytest
import torch

from kennel.config.recipe import recipe_from
from kennel.engine.builder import build_generator
from kennel.errors import GeneratorFileError
from kennel.networks import GENERATORS
from kennel.sampling.resolve import assembled

SMALL = {
    "mlp": {"hidden": [16, 16]},
    "dcgan": {"base_channels": 2, "max_multiplier": 4},
    "improved": {"base_channels": 4},
    "modern": {"base_channels": 8, "min_channels": 4, "group": 4, "blocks": 1},
    "sngan": {"base_channels": 1},
    "sagan": {"base_channels": 1},
    "biggan": {"base_channels": 1, "shared_embedding": 3},
    "biggan_deep": {"base_channels": 1, "shared_embedding": 3},
    "fastgan": {"base_channels": 4},
}


def recipe(name, **options):
    kind = GENERATORS[name]
    classes = 0 if kind.conditional == "never" else 3
    content = {
        "name": "small",
        "image": {"size": kind.sizes[0] if kind.sizes else 8, "channels": 3},
        "num_classes": classes,
        "latent_dim": 420,  # biggan splits it in 4, 5, 6 or 7
        "generator": {"name": name, **SMALL.get(name, {}), **options},
        "discriminator": {"name": "mlp"},
        "budget": {"images": 1},
    }
    return recipe_from(content)


@pytest.mark.parametrize("name", list(GENERATORS))
def test_every_generator_is_assembled_from_its_weights(name):
    own = build_generator(recipe(name)).eval()
    with torch.no_grad():
        for value in own.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01)
    found = assembled(recipe(name), own.state_dict(), "file")
    for key, value in found.state_dict().items():
        assert torch.equal(value, own.state_dict()[key]), key
    assert not any(value.is_meta for value in [*found.parameters(), *found.buffers()])


def test_a_recipe_that_asks_for_more_layers_than_there_are_weights_ends_soon():
    # Each block has a few modules, and the weights are those of one block.
    state = build_generator(recipe("modern")).state_dict()
    with pytest.raises(GeneratorFileError, match="more layers than the file has weights"):
        assembled(recipe("modern", blocks=60_000), state, "file")


def test_weights_of_other_names_or_shapes_are_refused():
    state = build_generator(recipe("dcgan")).state_dict()
    with pytest.raises(GeneratorFileError, match="of shape"):
        assembled(recipe("dcgan", base_channels=4), state, "file")
    state.pop(next(iter(state)))
    with pytest.raises(GeneratorFileError, match="file lacks the weights"):
        assembled(recipe("dcgan"), state, "file")


@pytest.mark.parametrize("counts", [[0, 0, 0], [1, -1, 2], [1, 1, 1 << 40]])
def test_instances_that_are_counted_as_no_set_counts_them_are_refused(counts):
    told = recipe("dcgan").model_dump() | {
        "num_classes": 0,
        "instances": {"neighbors": 1, "dim": 2, "num_instances": 3},
    }
    small = recipe_from(told)
    state = build_generator(small).state_dict()
    assembled(small, state, "file")
    state["embedding.counts"] = torch.tensor(counts)
    with pytest.raises(GeneratorFileError, match="its instance counts are impossible"):
        assembled(small, state, "file")
