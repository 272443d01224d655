"""Means of the past are means, pulls towards them are what they say, and both survive a stop."""

import pytest
import torch

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks


@pytest.fixture
def players() -> Networks:
    torch.manual_seed(0)
    setting = NetworkSpec(8, 1, 4)
    return Networks(
        GENERATORS["mlp"](setting, GENERATORS["mlp"].Options(hidden=(4, 4))),
        DISCRIMINATORS["mlp"](setting, DISCRIMINATORS["mlp"].Options(hidden=(4, 4))),
    )


@pytest.fixture
def play_of(make_play, make_turn):
    def make(players, **turn):
        return make_play(players, fake=torch.zeros(2, 1, 8, 8), turn=make_turn("generator", **turn))

    return make


def flat(network) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def move(network, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=random))


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_the_term_is_the_squared_distance_from_the_mean_of_all_past_weights(player, players, play_of):
    technique = TECHNIQUES["historical_averaging"]()
    technique.modify_networks(players, torch.Generator())
    network, play = getattr(players, player), play_of(players)
    term = getattr(technique, f"{player}_term")
    assert term(play) is None
    past = []
    for turn in range(5):
        move(network, turn)
        past.append(flat(network))
        getattr(technique, f"after_{player}")(play)
    mean = torch.stack(past).double().mean(0)
    value = term(play)
    assert value.item() == pytest.approx((flat(network) - mean).square().sum().item(), rel=1e-5)
    value.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
    assert torch.allclose(gradient, 2 * (flat(network) - mean).float(), atol=1e-5)


def test_a_player_that_is_not_asked_for_has_no_term(players, play_of):
    technique = TECHNIQUES["historical_averaging"](players="discriminator")
    technique.modify_networks(players, torch.Generator())
    assert technique.generator_term(play_of(players)) is None
    technique.after_discriminator(play_of(players))
    assert technique.discriminator_term(play_of(players)).item() == 0
    assert all(name.startswith("discriminator.") for name in technique.state_dict())


@pytest.mark.parametrize("name", ["historical_averaging", "parameter_averaging"])
def test_what_it_remembers_is_taken_back(name, players, play_of):
    first, again = TECHNIQUES[name](), TECHNIQUES[name]()
    first.modify_networks(players, torch.Generator())
    move(players.generator, 0)
    again.modify_networks(players, torch.Generator())
    first.after_generator(play_of(players, images_seen=100))
    again.load_state_dict({key: value.clone() for key, value in first.state_dict().items()})
    move(players.generator, 1)
    state = [value.clone() for value in players.generator.state_dict().values()]
    outcomes = []
    for technique in (first, again):
        for value, before in zip(players.generator.state_dict().values(), state, strict=True):
            value.copy_(before)
        technique.after_generator(play_of(players, images_seen=104))
        outcomes.append({**technique.state_dict(), "weights": flat(players.generator)})
    assert all(torch.equal(value, outcomes[1][key]) for key, value in outcomes[0].items())


@pytest.mark.parametrize("turns", [1, 10])
def test_in_a_thousand_images_the_parameters_go_the_pulls_share_of_the_way(turns, players, play_of):
    # With so long a half-life the average stands still, and the way is all the parameters'.
    technique = TECHNIQUES["parameter_averaging"](pull=0.2, half_life_images=1e12, ramp_up=1e9)
    technique.modify_networks(players, torch.Generator())
    before = flat(players.generator)
    move(players.generator, 0)
    away = flat(players.generator) - before
    for _ in range(turns):
        technique.after_generator(play_of(players, images_seen=10**6, share=1000 / turns))
    assert torch.allclose(flat(players.generator) - before, 0.8 * away, atol=1e-5)


def test_after_a_half_life_the_average_has_gone_half_the_way(players, play_of):
    technique = TECHNIQUES["parameter_averaging"](pull=1e-12, half_life_images=500)
    technique.modify_networks(players, torch.Generator())
    before = flat(players.generator)
    move(players.generator, 0)
    technique.after_generator(play_of(players, images_seen=10**6, share=500.0))
    average = torch.cat([value.flatten() for value in technique.state_dict().values()])
    assert torch.allclose(average, (before + flat(players.generator)) / 2, atol=1e-6)


def test_while_the_run_is_young_the_average_follows_closely(players, play_of):
    technique = TECHNIQUES["parameter_averaging"]()
    technique.modify_networks(players, torch.Generator())
    move(players.generator, 0)
    moved = flat(players.generator)
    technique.after_generator(play_of(players, images_seen=64, share=64.0))
    assert torch.allclose(flat(players.generator), moved, atol=1e-4)


@pytest.mark.parametrize("name", ["historical_averaging", "parameter_averaging"])
def test_beside_spectral_norm_the_past_is_that_of_the_weights_before_the_division(name, players, play_of):
    TECHNIQUES["spectral_norm"](players="both").modify_networks(players, torch.Generator().manual_seed(0))
    technique = TECHNIQUES[name]()
    technique.modify_networks(players, torch.Generator())
    originals = [one for one, _ in players.generator.named_parameters() if one.endswith(".weight.original")]
    assert originals
    remembered = technique.state_dict()
    for one in originals:
        assert any(key.endswith(one) for key in remembered)
    if name == "historical_averaging":
        technique.after_generator(play_of(players))
        with torch.no_grad():  # to what the layers use this is nothing
            players.generator.get_parameter(originals[0]).mul_(3.0)
        assert technique.generator_term(play_of(players)).item() > 0
