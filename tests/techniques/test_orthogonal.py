"""Orthogonal starts are orthogonal in every layer; the regularisation is the sum that the papers write."""

import pytest
import torch
from torch import nn

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks
from kennel.techniques._weight_matrices import as_matrix, output_axis, weight_matrices
from kennel.techniques.orthogonal import distance_from_orthogonal_rows, distance_from_orthonormal_rows

SHAPES = [(3, 7), (7, 3), (5, 5), (1, 4), (4, 1)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair() -> Networks:
    torch.manual_seed(0)
    setting = NetworkSpec(16, 3, 6, 3)
    return Networks(
        GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options(base_channels=4)),
        DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options(base_channels=4)),
    )


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_every_layer_of_both_networks_begins_orthogonal_in_the_flattened_view(gain):
    networks = pair()
    TECHNIQUES["orthogonal_init"](gain=gain).modify_networks(networks, seeded())
    kinds = set()
    for network in networks.both():
        for layer in network.modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
                continue
            kinds |= {
                kind
                for kind in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)
                if isinstance(layer, kind)
            }
            matrix = as_matrix(layer.weight.detach(), output_axis(layer))
            rows, columns = matrix.shape
            product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
            assert torch.allclose(product, gain**2 * torch.eye(min(rows, columns)), atol=1e-5)
            if getattr(layer, "bias", None) is not None:
                assert torch.equal(layer.bias, torch.zeros_like(layer.bias))
    assert len(kinds) == 4


def test_an_orthogonal_start_is_drawn_from_the_generator_that_is_given_and_leaves_batch_norm_alone():
    first, again, other = pair(), pair(), pair()
    for networks, seed in ((first, 0), (again, 0), (other, 1)):
        TECHNIQUES["orthogonal_init"]().modify_networks(networks, seeded(seed))
    assert torch.equal(first.generator.stem.weight, again.generator.stem.weight)
    assert not torch.equal(first.generator.stem.weight, other.generator.stem.weight)
    norms = [module for module in first.generator.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(torch.equal(norm.weight, torch.ones_like(norm.weight)) for norm in norms)


def written_out(matrix: torch.Tensor, form: str) -> float:
    """The double sum over pairs of rows, one by one."""
    total = 0.0
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[0]):
            product = sum(float(a) * float(b) for a, b in zip(matrix[i], matrix[j], strict=True))
            if i != j:
                total += product**2
            elif form == "full":
                total += (product - 1) ** 2
    return total


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("form", "distance"),
    [("off_diagonal", distance_from_orthogonal_rows), ("full", distance_from_orthonormal_rows)],
)
def test_both_forms_are_the_written_out_double_sum_and_have_its_gradient(form, distance, shape):
    matrix = torch.randn(shape, generator=seeded(), dtype=torch.float64).requires_grad_()
    value = distance(matrix)
    assert value.item() == pytest.approx(written_out(matrix.detach(), form), rel=1e-9, abs=1e-12)
    (gradient,) = torch.autograd.grad(value, matrix)
    with torch.no_grad():
        products, eye = matrix @ matrix.T, torch.eye(shape[0], dtype=torch.float64)
        inner = products * (1 - eye) if form == "off_diagonal" else products - eye
        assert torch.allclose(gradient, 4 * inner @ matrix, atol=1e-9)


def test_orthogonal_rows_of_any_length_cost_nothing_and_in_full_only_unit_rows_do():
    rows = torch.linalg.qr(torch.randn(6, 4, generator=seeded(), dtype=torch.float64)).Q.T
    longer = rows * torch.tensor([[1.0], [2.0], [3.0], [0.5]], dtype=torch.float64)
    assert distance_from_orthogonal_rows(longer).item() == pytest.approx(0, abs=1e-20)
    assert distance_from_orthonormal_rows(rows).item() == pytest.approx(0, abs=1e-20)
    assert distance_from_orthonormal_rows(longer).item() == pytest.approx(3**2 + 8**2 + 0.75**2)


@pytest.mark.parametrize("whose", ["generator", "discriminator", "both"])
def test_the_term_is_the_sum_over_the_matrices_of_the_player_that_is_asked_for(whose, make_play):
    networks = pair()
    technique = TECHNIQUES["orthogonal_regularisation"](networks=whose)
    output = make_play(networks, fake=torch.zeros(2, 3, 16, 16), labels=torch.tensor([0, 1]))
    terms = {
        "generator": technique.generator_term(output),
        "discriminator": technique.discriminator_term(output),
    }
    for player, term in terms.items():
        if whose not in (player, "both"):
            assert term is None
            continue
        network = getattr(networks, player)
        expected = sum(
            written_out(one.matrix().detach(), "off_diagonal")
            for one in weight_matrices(network, embeddings=player == "discriminator").values()
        )
        assert term.item() == pytest.approx(expected, rel=1e-4)
        term.backward()
        moved = {name for name, value in network.named_parameters() if value.grad is not None}
        assert ("label.weight" in moved) == (player == "discriminator")
        assert not any("bias" in name for name in moved)


def test_beside_spectral_norm_the_term_is_of_the_weights_behind_it(make_play):
    plain, normalised = pair(), pair()
    TECHNIQUES["spectral_norm"](networks="generator").modify_networks(normalised, seeded())
    terms = [
        TECHNIQUES["orthogonal_regularisation"]().generator_term(
            make_play(networks, fake=torch.zeros(2, 3, 16, 16), labels=torch.tensor([0, 1]))
        )
        for networks in (plain, normalised)
    ]
    assert torch.allclose(terms[0], terms[1])
