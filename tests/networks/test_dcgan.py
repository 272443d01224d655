"""DCGAN's options that other papers add to it: self-attention, and a latent that is split over the layers."""

import re
from pathlib import Path

import pytest
import torch

from kennel.errors import RecipeError
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.layers.attention import NonLocalBlock
from kennel.networks.layers.normalization import ConditionalBatchNorm
from kennel.networks.layers.skip_excitation import SkipExcitation
from kennel.networks.summary import parameters_at

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
ROW = re.compile(r"^\| `dcgan`(.*?) \| ([\d,]+) \| ([\d,]+) \|$", re.MULTILINE)


def generator(size: int = 64, latent: int = 100, classes: int = 0, **options):
    torch.manual_seed(0)
    kind = GENERATORS["dcgan"]
    return kind(NetworkSpec(size, 3, latent, classes), kind.Options(base_channels=4, **options))


def test_attention_adds_its_block_and_a_split_latent_moves_parameters_from_the_stem_to_the_batch_norms():
    native = NetworkSpec(64, 3, 100)
    plain = parameters_at(GENERATORS["dcgan"], native)
    block = 64 * 64 * 5 // 4 + 1  # theta and phi C/8, g and the output C/2, and gamma
    assert parameters_at(GENERATORS["dcgan"], native, attention=32) == plain + block
    split = parameters_at(GENERATORS["dcgan"], native, hierarchical=True)
    channels = 512 + 256 + 128 + 64
    assert split == plain - 80 * 512 * 16 - 2 * channels + 2 * 20 * channels
    plain = parameters_at(DISCRIMINATORS["dcgan"], native)
    assert parameters_at(DISCRIMINATORS["dcgan"], native, attention=32) == plain + block


def test_the_page_tells_the_parameters_of_the_options():
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    found = {re.sub(r"[`, ]+", " ", name).strip(): (made, judged) for name, made, judged in rows}
    assert len(found) == 3
    for name, (made, judged) in found.items():
        options = {
            "attention=32": ({"attention": 32}, {"attention": 32}),
            "hierarchical=true": ({"hierarchical": True}, {}),
            "with both": ({"attention": 32, "hierarchical": True}, {"attention": 32}),
        }[name]
        for registry, told, number in zip((GENERATORS, DISCRIMINATORS), options, (made, judged), strict=True):
            counted = parameters_at(registry["dcgan"], NetworkSpec(64, 3, 100), **told)
            assert f"{counted:,}" == number, name


@pytest.mark.parametrize(("size", "side"), [(8, 4), (28, 14), (64, 4), (64, 8), (64, 32)])
def test_both_players_attend_at_the_side_that_is_asked_for(size, side):
    for registry in (GENERATORS, DISCRIMINATORS):
        torch.manual_seed(0)
        kind, seen = registry["dcgan"], []
        network = kind(NetworkSpec(size, 3, 12), kind.Options(base_channels=4, attention=side))
        (block,) = (module for module in network.modules() if isinstance(module, NonLocalBlock))
        block.register_forward_hook(lambda _, given, made, into=seen: into.append((given[0], made)))
        network(torch.randn(2, 12) if registry is GENERATORS else torch.randn(2, 3, size, size))
        ((given, made),) = seen
        assert given.shape[2:] == (side, side)
        assert torch.equal(given, made)  # gamma is 0 at the beginning


@pytest.mark.parametrize("registry", [GENERATORS, DISCRIMINATORS], ids=["generator", "discriminator"])
@pytest.mark.parametrize(
    ("size", "side", "there"), [(64, 16 + 1, "4, 8, 16, 32"), (28, 7, "14"), (8, 8, "4")]
)
def test_a_side_that_no_map_has_is_refused_with_those_there_are(registry, size, side, there):
    kind = registry["dcgan"]
    with pytest.raises(RecipeError, match=f"attention = {side}: .* has maps of side {there};"):
        kind(NetworkSpec(size, 3, 12), kind.Options(attention=side))


@pytest.mark.parametrize("classes", [0, 3])
def test_each_chunk_of_a_split_latent_reaches_its_batch_norm_and_none_before(classes):
    network = generator(classes=classes, hierarchical=True).eval()
    labels = torch.tensor([1, 2]) if classes else None
    norms = [layer for layer in network.layers if hasattr(layer, "vector")]
    seen: list[torch.Tensor] = []
    for norm in norms:
        norm.register_forward_hook(lambda _, given, made: seen.append(made))
    latents = torch.randn(2, 100)
    network(latents, labels)
    before = list(seen)
    for chunk in range(5):
        changed = latents.clone()
        changed[:, 20 * chunk : 20 * (chunk + 1)] += 1
        seen.clear()
        network(changed, labels)
        # The first chunk is the stem's; chunk k that of batch norm k - 1, whose map is the first to differ.
        same = [torch.equal(one, other) for one, other in zip(before, seen, strict=True)]
        assert same == [place < chunk - 1 for place in range(4)]


def test_a_latent_that_cannot_be_split_is_refused_with_the_nearest_that_can():
    with pytest.raises(
        RecipeError, match=r"dcgan splits the latent of 128x128 .* 6 equal .* make it 96 or 102"
    ):
        generator(128, hierarchical=True)
    with pytest.raises(RecipeError, match=r"needs batch norm, and generator\.batch_norm is false"):
        generator(hierarchical=True, batch_norm=False)


def test_a_shared_embedding_reaches_the_stem_and_every_batch_norm():
    network = generator(classes=3, shared_embedding=5)
    norms = [one for one in network.modules() if isinstance(one, ConditionalBatchNorm)]
    width = network.spec.latent_dim + 5
    assert network.stem.in_features == width
    assert [norm.vector for norm in norms] == [width] * 4
    latents = torch.randn(2, network.spec.latent_dim)
    images = network.eval()(latents, torch.tensor([0, 1]))
    assert not torch.equal(images[0], network(latents, torch.tensor([1, 1]))[0])


def test_without_classes_a_shared_embedding_changes_nothing():
    assert generator(shared_embedding=5).state_dict().keys() == generator().state_dict().keys()


def test_each_map_gates_the_one_of_four_times_its_side():
    layers = list(generator(skip_excitation=True).layers)
    gates = [layer for layer in layers if isinstance(layer, SkipExcitation)]
    assert [gate.layers[0].in_channels for gate in gates] == [32, 16]
    assert [gate.layers[0].out_channels for gate in gates] == [8, 4]
