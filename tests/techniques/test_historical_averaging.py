"""Means of the past are means, pulls towards them are what they say, and both survive a stop."""

import pytest
import torch

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks


@pytest.fixture
def networks() -> Networks:
    torch.manual_seed(0)
    setting = NetworkSpec(8, 1, 4)
    return Networks(
        GENERATORS["mlp"](setting, GENERATORS["mlp"].Options(hidden=(4, 4))),
        DISCRIMINATORS["mlp"](setting, DISCRIMINATORS["mlp"].Options(hidden=(4, 4))),
    )


@pytest.fixture
def play_of(make_play, make_turn):
    def make(networks, **context):
        return make_play(networks, fake=torch.zeros(2, 1, 8, 8), context=make_turn("generator", **context))

    return make


def flat(network) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def move(network, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random))


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_the_term_is_the_squared_distance_from_the_mean_of_all_past_weights(player, networks, play_of):
    technique = TECHNIQUES["historical_averaging"]()
    technique.modify_networks(networks, torch.Generator())
    network, output = getattr(networks, player), play_of(networks)
    term = getattr(technique, f"{player}_term")
    assert term(output) is None
    past = []
    for context in range(5):
        move(network, context)
        past.append(flat(network))
        getattr(technique, f"after_{player}")(output)
    mean = torch.stack(past).double().mean(0)
    value = term(output)
    assert value.item() == pytest.approx((flat(network) - mean).square().sum().item(), rel=1e-5)
    value.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
    assert torch.allclose(gradient, 2 * (flat(network) - mean).float(), atol=1e-5)


def test_a_player_that_is_not_asked_for_has_no_term(networks, play_of):
    technique = TECHNIQUES["historical_averaging"](networks="discriminator")
    technique.modify_networks(networks, torch.Generator())
    assert technique.generator_term(play_of(networks)) is None
    technique.after_discriminator(play_of(networks))
    assert technique.discriminator_term(play_of(networks)).item() == 0
    assert all(name.startswith("discriminator.") for name in technique.state_dict())


@pytest.mark.parametrize("name", ["historical_averaging", "parameter_averaging"])
def test_what_it_remembers_is_taken_back(name, networks, play_of):
    first, again = TECHNIQUES[name](), TECHNIQUES[name]()
    first.modify_networks(networks, torch.Generator())
    move(networks.generator, 0)
    again.modify_networks(networks, torch.Generator())
    first.after_generator(play_of(networks, images_seen=100))
    again.load_state_dict({key: value.clone() for key, value in first.state_dict().items()})
    move(networks.generator, 1)
    state = [value.clone() for value in networks.generator.state_dict().values()]
    outcomes = []
    for technique in (first, again):
        for value, before in zip(networks.generator.state_dict().values(), state, strict=True):
            value.copy_(before)
        technique.after_generator(play_of(networks, images_seen=104))
        outcomes.append({**technique.state_dict(), "weights": flat(networks.generator)})
    assert all(torch.equal(value, outcomes[1][key]) for key, value in outcomes[0].items())


@pytest.mark.parametrize("turns", [1, 10])
def test_in_a_thousand_images_the_parameters_go_the_pulls_share_of_the_way(turns, networks, play_of):
    # With so long a half-life the average stands still, and the way is all the parameters'.
    technique = TECHNIQUES["parameter_averaging"](pull=0.2, half_life_images=1e12, ramp_up=1e9)
    technique.modify_networks(networks, torch.Generator())
    before = flat(networks.generator)
    move(networks.generator, 0)
    away = flat(networks.generator) - before
    for _ in range(turns):
        technique.after_generator(play_of(networks, images_seen=10**6, share=1000 / turns))
    assert torch.allclose(flat(networks.generator) - before, 0.8 * away, atol=1e-5)


def test_after_a_half_life_the_average_has_gone_half_the_way(networks, play_of):
    technique = TECHNIQUES["parameter_averaging"](pull=1e-12, half_life_images=500)
    technique.modify_networks(networks, torch.Generator())
    before = flat(networks.generator)
    move(networks.generator, 0)
    technique.after_generator(play_of(networks, images_seen=10**6, share=500.0))
    average = torch.cat([value.flatten() for value in technique.state_dict().values()])
    assert torch.allclose(average, (before + flat(networks.generator)) / 2, atol=1e-6)


def test_while_the_run_is_young_the_average_follows_closely(networks, play_of):
    technique = TECHNIQUES["parameter_averaging"]()
    technique.modify_networks(networks, torch.Generator())
    move(networks.generator, 0)
    moved = flat(networks.generator)
    technique.after_generator(play_of(networks, images_seen=64, share=64.0))
    assert torch.allclose(flat(networks.generator), moved, atol=1e-4)


@pytest.mark.parametrize("name", ["historical_averaging", "parameter_averaging"])
def test_beside_spectral_norm_the_past_is_that_of_the_weights_before_the_division(name, networks, play_of):
    TECHNIQUES["spectral_norm"](networks="both").modify_networks(networks, torch.Generator().manual_seed(0))
    technique = TECHNIQUES[name]()
    technique.modify_networks(networks, torch.Generator())
    originals = [one for one, _ in networks.generator.named_parameters() if one.endswith(".weight.original")]
    assert originals
    remembered = technique.state_dict()
    for one in originals:
        assert any(key.endswith(one) for key in remembered)
    if name == "historical_averaging":
        technique.after_generator(play_of(networks))
        with torch.no_grad():  # to what the layers use this is nothing
            networks.generator.get_parameter(originals[0]).mul_(3.0)
        assert technique.generator_term(play_of(networks)).item() > 0
