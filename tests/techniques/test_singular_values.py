"""The first singular values are clamped to, or drawn towards, what they should be."""

import copy

import pytest
import torch

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks
from kennel.techniques._weight_matrices import weight_matrices

NAMES = ["singular_value_clamp", "singular_value_penalty"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair() -> Networks:
    torch.manual_seed(0)
    setting = NetworkSpec(8, 1, 4, 2)
    return Networks(
        GENERATORS["dcgan"](setting, GENERATORS["dcgan"].Options(base_channels=4)),
        DISCRIMINATORS["dcgan"](setting, DISCRIMINATORS["dcgan"].Options(base_channels=4)),
    )


@pytest.fixture
def built(make_play):
    """`built(name, **options)`: players, the technique built for them and well warmed up, and a play."""

    def make(name: str, **options):
        networks = pair()
        technique = TECHNIQUES[name](iterations=100, **options)
        technique.modify_networks(networks, seeded())
        output = make_play(networks, fake=torch.zeros(2, 1, 8, 8), labels=torch.tensor([0, 1]))
        return networks, technique, output

    return make


def spectra(network, embeddings: bool = False) -> dict[str, torch.Tensor]:
    return {
        name: torch.linalg.svdvals(one.matrix().detach())
        for name, one in weight_matrices(network, embeddings=embeddings).items()
    }


@pytest.mark.parametrize("player", ["generator", "discriminator"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["plain", "last"])
def test_the_clamp_brings_the_first_value_to_the_target_and_leaves_the_others(player, layout, make_play):
    networks = pair()
    network = getattr(networks, player).to(memory_format=layout)
    before = spectra(network, player == "discriminator")
    firsts = torch.stack([values[0] for values in before.values()])
    target = firsts.quantile(0.6).item()
    technique = TECHNIQUES["singular_value_clamp"](networks=player, target=target, iterations=200)
    technique.modify_networks(networks, seeded())
    output = make_play(networks, fake=torch.zeros(2, 1, 8, 8), labels=torch.tensor([0, 1]))
    getattr(technique, f"after_{player}")(output)
    after = spectra(network, player == "discriminator")
    assert (firsts > target).any()
    assert (firsts < target).any()
    for name, values in before.items():
        expected = torch.cat([values[:1].clamp(max=target), values[1:]]).sort(descending=True).values
        assert torch.allclose(after[name], expected, atol=1e-3), name


def test_the_clamp_to_a_multiple_of_the_second_value_leaves_single_rows_alone(built):
    networks, technique, output = built("singular_value_clamp", networks="both", ratio=1.0)
    before = {
        "generator": spectra(networks.generator),
        "discriminator": spectra(networks.discriminator, True),
    }
    single = [name for name, values in before["discriminator"].items() if len(values) == 1]
    assert single == ["head.weight"]
    technique.after_generator(output)
    technique.after_discriminator(output)
    touched = 0
    for player in ("generator", "discriminator"):
        after = spectra(getattr(networks, player), player == "discriminator")
        for name, values in before[player].items():
            limit = values[1] if len(values) > 1 else values[0]
            touched += bool(values[0] > limit)
            assert after[name][0] == pytest.approx(min(values[0], limit).item(), rel=2e-3)
    assert touched > 1
    statistics = technique.statistics()
    largest = max(values[0].item() for values in before["generator"].values())
    assert statistics["generator_largest"].item() == pytest.approx(largest, rel=1e-3)
    assert statistics["generator_clamped"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_generators_embeddings_are_left_out(name, built):
    networks, technique, _ = built(name, target=1.0)
    names = set(technique.state_dict())
    assert "generator.stem.weight" in names
    assert "generator.label.weight" not in names
    assert len(names) == len(spectra(networks.generator))


@pytest.mark.parametrize("player", ["generator", "discriminator"])
@pytest.mark.parametrize("form", ["towards", "excess"])
def test_the_penalty_is_the_squared_distance_and_its_gradient_is_along_the_first_vectors(form, player, built):
    networks, technique, output = built("singular_value_penalty", networks=player, target=0.6, form=form)
    network = getattr(networks, player)
    term = getattr(technique, f"{player}_term")(output)
    other = "discriminator" if player == "generator" else "generator"
    assert getattr(technique, f"{other}_term")(output) is None
    term.backward()
    total = 0.0
    for one in weight_matrices(network, embeddings=player == "discriminator").values():
        u, values, vh = torch.linalg.svd(one.matrix().detach(), full_matrices=False)
        distance = values[0].item() - 0.6
        distance = max(distance, 0.0) if form == "excess" else distance
        total += distance**2
        gradient = one.parameter.grad.movedim(one.axis, 0)
        reference = one.parameter.detach().movedim(one.axis, 0)
        assert torch.allclose(gradient.norm(), torch.tensor(2 * abs(distance)), atol=1e-3)
        slope = (gradient * reference).sum()  # <2 d u v^T, W> = 2 d s0
        assert slope.item() == pytest.approx(2 * distance * values[0].item(), abs=2e-3)
        along = u[:, 0] @ (one.matrix().detach() @ vh[0])
        assert along.item() == pytest.approx(values[0].item(), rel=1e-4)
    assert term.item() == pytest.approx(total, rel=1e-3)


def test_the_penalty_towards_the_second_value_never_raises_that(built):
    networks, technique, output = built("singular_value_penalty", ratio=1.0)
    term = technique.generator_term(output)
    values = {name: s for name, s in spectra(networks.generator).items() if len(s) > 1}
    assert term.item() == pytest.approx(sum((s[0] - s[1]).item() ** 2 for s in values.values()), rel=1e-2)
    term.backward()
    for name, one in weight_matrices(networks.generator, embeddings=False).items():
        if name in values:
            u, _, vh = torch.linalg.svd(one.matrix().detach(), full_matrices=False)
            gradient = one.parameter.grad.movedim(one.axis, 0)
            second = (gradient * _weight(u[:, 1], vh[1], one)).sum()
            first = (gradient * _weight(u[:, 0], vh[0], one)).sum()
            assert first > 0
            assert second.item() == pytest.approx(0, abs=0.02 * first.item())


def _weight(left, right, one):
    from kennel.techniques._weight_matrices import from_matrix

    return from_matrix(torch.outer(left, right), one.parameter, one.axis).movedim(one.axis, 0)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_remembers_is_taken_back(name, make_play):
    networks = pair()
    first, again = (TECHNIQUES[name](networks="both") for _ in range(2))
    first.modify_networks(networks, seeded(0))
    again.modify_networks(networks, seeded(1))
    assert not _equal(first.state_dict(), again.state_dict())
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    assert _equal(first.state_dict(), again.state_dict())


def _equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_beside_spectral_norm_the_clamp_brings_down_the_weight_before_the_division(player, make_play):
    networks = pair()
    TECHNIQUES["spectral_norm"](networks="both").modify_networks(networks, seeded())
    network = getattr(networks, player)
    before = spectra(network, player == "discriminator")
    target = torch.stack([values[0] for values in before.values()]).quantile(0.5).item()
    technique = TECHNIQUES["singular_value_clamp"](networks=player, target=target, iterations=200)
    technique.modify_networks(networks, seeded())
    output = make_play(networks, fake=torch.zeros(2, 1, 8, 8), labels=torch.tensor([0, 1]))
    getattr(technique, f"after_{player}")(output)
    after = spectra(network, player == "discriminator")
    assert any(".parametrizations." in name for name in after)
    for name, values in before.items():
        expected = torch.cat([values[:1].clamp(max=target), values[1:]]).sort(descending=True).values
        assert torch.allclose(after[name], expected, atol=1e-3), name


def test_beside_spectral_norm_the_penalty_is_of_the_weights_before_the_division(make_play):
    plain, normalized = pair(), pair()
    TECHNIQUES["spectral_norm"](networks="generator").modify_networks(normalized, seeded())
    terms = []
    for networks in (plain, normalized):
        technique = TECHNIQUES["singular_value_penalty"](target=0.01, iterations=200)
        technique.modify_networks(networks, seeded())
        output = make_play(networks, fake=torch.zeros(2, 1, 8, 8), labels=torch.tensor([0, 1]))
        terms.append(technique.generator_term(output).item())
    assert terms[0] == pytest.approx(terms[1], rel=1e-4)
