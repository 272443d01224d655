"""Means over a tick, no NaN in silence, and spectra that are those of a full decomposition."""

import math

import pytest
import torch
from torch import nn

from kennel.config.alarms import AlarmsConfig
from kennel.config.recipe import OptimizerConfig, override
from kennel.engine.builder import build_step
from kennel.engine.nonfinite import NonFiniteGuard, NonFiniteReport
from kennel.engine.optim import build_optimizer
from kennel.engine.running_means import RunningMeans, refuse_non_finite
from kennel.engine.singular_values import USED, Spectra, followed_matrices, layer_in_words
from kennel.errors import RunError
from kennel.recipes import get_recipe
from kennel.training.alarms.batch_diversity import nearest_distance
from kennel.training.alarms.diagnosis import describe, first_not_finite, weights_in_words
from kennel.training.alarms.rules import Tick, alarms_of

NARROW = ["generator.base_channels=2", "discriminator.base_channels=2"]


def test_a_reading_gives_means_and_a_fresh_start():
    tally = RunningMeans()
    tally.add({"a": torch.tensor(1.0), "b": torch.tensor(5.0)})
    tally.add({"a": torch.tensor(3.0)})
    assert tally.read() == {"a": 2.0, "b": 5.0}
    assert tally.read() == {}


def test_a_tally_survives_a_checkpoint_in_the_middle_of_a_tick():
    whole, first = RunningMeans(), RunningMeans()
    for value in (0.1, 0.2):
        whole.add({"a": torch.tensor(value)})
        first.add({"a": torch.tensor(value)})
    second = RunningMeans()
    second.load_state_dict(first.state_dict())
    for tally in (whole, second):
        tally.add({"a": torch.tensor(0.4)})
    assert whole.read() == second.read()


def test_the_sums_of_several_ranks_are_their_mean_to_one_process():
    tally = RunningMeans()
    tally.load_state_dict({"sum.a": torch.tensor([1.0, 4.0]), "count.a": torch.tensor(2)})
    assert tally.read() == {"a": 1.25}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_statistic_that_is_not_finite_stops_the_run_and_is_named(value):
    with pytest.raises(RunError, match="generator loss became"):
        refuse_non_finite({"discriminator_loss": 1.0, "generator_loss": value}, 640)


def settled(network: nn.Module, looks: int = 4) -> dict[str, list[float]]:
    """The values of a network after some looks, as after so many ticks."""
    spectra = Spectra({"it": network}, 0)
    for _ in range(looks - 1):
        spectra.measure()
    return spectra.measure()["it"]


@pytest.mark.parametrize("recipe", ["dcgan", "sagan", "cgan"])
def test_the_first_three_singular_values_are_those_of_a_full_decomposition(recipe):
    small = {"dcgan": ["image.size=32"], "sagan": ["image.size=32"], "cgan": ["image.size=8"]}[recipe]
    classes = 0 if recipe == "dcgan" else 5
    widths = [] if recipe == "cgan" else ["generator.base_channels=8", "discriminator.base_channels=8"]
    networks = build_step(
        override(get_recipe(recipe), [*small, *widths, "image.channels=1", f"num_classes={classes}"]),
        torch.device("cpu"),
    ).networks
    for network in networks.both():
        found = settled(network)
        matrices = dict(followed_matrices(network))
        assert found.keys() == matrices.keys()
        assert len(found) >= 4
        for name, matrix in matrices.items():
            true = torch.linalg.svdvals(matrix)[:3].tolist()
            # Random matrices are the hard case, with values that lie within a percent of one another.
            assert found[name] == pytest.approx(true, rel=5e-3, abs=1e-6), name
            assert all(
                value <= other * (1 + 1e-5) + 1e-6 for value, other in zip(found[name], true, strict=True)
            )


def test_values_with_a_gap_are_found_to_the_precision_of_the_numbers():
    matrix = torch.diag(torch.tensor([8.0, 4.0, 2.0, *[0.5**n for n in range(20)]]))
    layer = nn.Linear(23, 23)
    layer.weight.data.copy_(matrix)
    assert settled(nn.Sequential(layer))["0"] == pytest.approx([8.0, 4.0, 2.0], rel=1e-6)


def test_a_transposed_convolutions_outputs_are_its_rows():
    layer = nn.ConvTranspose2d(3, 5, 4)
    (found,) = settled(nn.Sequential(layer)).values()
    true = torch.linalg.svdvals(layer.weight.detach().transpose(0, 1).flatten(1))[:3]
    assert found == pytest.approx(true.tolist(), rel=1e-5)


def normalized_discriminator() -> nn.Module:
    recipe = override(get_recipe("sngan"), ["image.size=32", "image.channels=1", *NARROW])
    return build_step(recipe, torch.device("cpu")).networks.discriminator


def test_of_a_spectrally_normalized_layer_both_weights_are_followed_and_nothing_in_it_moves():
    discriminator = normalized_discriminator()
    with torch.no_grad():
        discriminator.head.parametrizations.weight.original.mul_(100.0)
    before = {name: tensor.clone() for name, tensor in discriminator.state_dict().items()}
    found = settled(discriminator)
    originals = {name.removesuffix(USED) for name in found if name.endswith(USED)}
    assert originals == {name for name in found if not name.endswith(USED)}
    for name in originals:
        layer = discriminator.get_submodule(name)
        matrix = layer.parametrizations.weight.original.detach().flatten(1)
        true = torch.linalg.svdvals(matrix)[:3].tolist()
        assert found[name] == pytest.approx(true, rel=5e-3), name
        assert found[name + USED][0] == pytest.approx(1.0, abs=0.05)
    assert found["head"][0] > 10
    for name, tensor in discriminator.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(module.training for module in discriminator.modules())


def test_a_spectrally_normalized_layer_whose_original_weight_is_scaled_by_100_raises_the_alarm():
    discriminator = normalized_discriminator()
    spectra = Spectra({"discriminator": discriminator}, 0)
    ticks = [Tick(100 * number, {}, spectra.measure()) for number in range(1, 5)]
    alarm = alarms_of(AlarmsConfig())["exploding_spectrum"]
    assert alarm.check(ticks) is None
    with torch.no_grad():
        discriminator.head.parametrizations.weight.original.mul_(100.0)
    sign = alarm.check([*ticks, Tick(500, {}, spectra.measure())])
    assert sign is not None
    assert "the first singular value of discriminator layer head is" in sign.saw
    assert float(sign.saw.partition(" times")[0].split()[-1]) > 50  # against the median of its network


def test_a_used_weight_that_outgrows_its_spectral_norm_raises_the_alarm_too():
    discriminator = normalized_discriminator()
    spectra = Spectra({"discriminator": discriminator}, 0)
    ticks = [Tick(100 * number, {}, spectra.measure()) for number in range(1, 5)]
    used = spectra.measure()["discriminator"]
    used["head" + USED] = [9.0]
    sign = alarms_of(AlarmsConfig())["exploding_spectrum"].check(
        [*ticks, Tick(500, {}, {"discriminator": used})]
    )
    assert "discriminator layer head as it is used, after its parametrization, is 9" in sign.saw


def test_a_layer_is_named_by_its_weight_or_by_what_it_uses():
    assert layer_in_words("blocks.0.first") == "layer blocks.0.first"
    assert layer_in_words("blocks.0.first" + USED).startswith("layer blocks.0.first as it is used")


def test_a_network_of_one_layer_is_followed_under_no_name():
    assert [name for name, _ in followed_matrices(nn.Linear(3, 2))] == [""]


def test_spectra_go_on_from_a_checkpoint_to_the_bit():
    network = nn.Sequential(nn.Linear(40, 30), nn.Conv2d(3, 8, 3))
    whole = Spectra({"it": network}, 0)
    whole.measure()
    resumed = Spectra({"it": network}, 0)
    resumed.load_state_dict(whole.state_dict())
    assert resumed.measure() == whole.measure()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_matrix_that_is_not_finite_has_values_that_are_not_finite(value):
    layer = nn.Linear(4, 4)
    layer.weight.data[1, 1] = value
    assert not all(map(math.isfinite, settled(nn.Sequential(layer))["0"]))


def test_weights_near_the_largest_number_have_their_values():
    layer = nn.Linear(4, 4)
    layer.weight.data.copy_(torch.eye(4) * 1e38)
    assert settled(nn.Sequential(layer))["0"] == pytest.approx([1e38] * 3, rel=1e-5)


def test_the_nearest_distance_of_twins_is_zero_and_of_corners_their_side():
    corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]).reshape(3, 2, 1, 1)
    assert float(nearest_distance(corners)) == pytest.approx((3 + 3 + 4) / 3, rel=1e-5)
    assert float(nearest_distance(corners[[0, 0]])) == pytest.approx(0.0, abs=1e-6)


def moved(sentinel_of: str, gradient: float, term: float = 0.5) -> tuple[NonFiniteGuard, nn.Linear, float]:
    """One optimiser step with this gradient in one place: the sentinel, the layer, the gradient's length."""
    layer = nn.Linear(2, 2)
    scheduled = build_optimizer(OptimizerConfig(name=sentinel_of), layer.parameters(), torch.device("cpu"))
    sentinel = NonFiniteGuard({"generator": scheduled})
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    layer.weight.grad[0, 0] = gradient
    length = sentinel.examine(scheduled.optimizer, {"generator_loss": torch.tensor(term)})
    scheduled.optimizer.step()
    return sentinel, layer, float(length)


@pytest.mark.parametrize("optimiser", ["adam", "rmsprop", "sgd"])
def test_a_finite_gradient_moves_weights_and_its_length_is_told(optimiser):
    torch.manual_seed(0)
    before = nn.Linear(2, 2).weight
    torch.manual_seed(0)
    sentinel, layer, length = moved(optimiser, 3.0)
    assert length == pytest.approx(math.sqrt(9 + 5))
    assert not sentinel.triggered()
    assert sentinel.report() is None
    assert (layer.weight != before).all()


@pytest.mark.parametrize("optimiser", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize(
    ("gradient", "term"), [(float("nan"), 0.5), (float("inf"), 0.5), (1.0, float("nan"))]
)
def test_nothing_that_is_not_finite_moves_a_weight(optimiser, gradient, term):
    torch.manual_seed(0)
    before = nn.Linear(2, 2)
    torch.manual_seed(0)
    sentinel, layer, _ = moved(optimiser, gradient, term)
    assert sentinel.triggered_async()
    assert torch.equal(layer.weight, before.weight)
    assert torch.equal(layer.bias, before.bias)
    broken = sentinel.report()
    assert broken.network == "generator"
    assert broken.statistics == (() if math.isfinite(term) else ("generator_loss",))
    assert broken.parameters == ((0,) if math.isfinite(term) else ())
    assert broken.examined == 2


def test_weights_stand_still_and_the_first_record_stays_until_a_reset():
    sentinel, layer, _ = moved("adam", float("nan"))
    scheduled = build_optimizer(OptimizerConfig(), layer.parameters(), torch.device("cpu"))
    assert sentinel.triggered()
    sentinel.reset()
    assert not sentinel.triggered()
    assert sentinel.report() is None
    assert scheduled.optimizer.param_groups


def test_the_sentinel_changes_no_step_of_adam_by_a_bit():
    outcomes = []
    for watched in (False, True):
        torch.manual_seed(0)
        layer = nn.Linear(5, 5)
        scheduled = build_optimizer(OptimizerConfig(), layer.parameters(), torch.device("cpu"))
        sentinel = NonFiniteGuard({"generator": scheduled})
        for _ in range(5):
            scheduled.optimizer.zero_grad()
            layer(torch.randn(3, 5)).square().sum().backward()
            if watched:
                sentinel.examine(scheduled.optimizer, {"a": torch.tensor(1.0)})
            scheduled.optimizer.step()
        state = scheduled.optimizer.state[layer.weight]
        outcomes.append([layer.weight.detach(), state["exp_avg_sq"], state["step"]])
    assert all(torch.equal(one, other) for one, other in zip(*outcomes, strict=True))


def test_a_layer_whose_output_is_not_finite_is_named_and_the_first_comes_first():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight.data.fill_(float("inf"))
    with first_not_finite({"generator": network}) as found:
        network(torch.ones(1, 2))
    assert found[0] == "generator layer 1"
    assert weights_in_words(network, "1") == ", whose weights are not finite"
    with first_not_finite({"generator": network[:1]}) as found:
        network(torch.ones(1, 2))
    assert found == []


def test_of_a_normalized_layer_the_largest_weight_is_that_before_the_division():
    discriminator = normalized_discriminator()
    with torch.no_grad():
        discriminator.head.parametrizations.weight.original[0, 0] = 1e20
    assert weights_in_words(discriminator, "head") == ", whose largest weight is 1e+20"


@pytest.mark.parametrize(
    ("broken", "layer", "words"),
    [
        (
            NonFiniteReport("generator", ("a_generator_term",), (), 2),
            None,
            "in the term of a in the generator's loss",
        ),
        (
            NonFiniteReport("generator", ("generator_loss",), (0, 1), 2),
            None,
            "in the generator loss; all layers before",
        ),
        (
            NonFiniteReport("generator", (), (0,), 2),
            None,
            "1 of 2 gradients are not finite, nearest to the loss",
        ),
        (
            NonFiniteReport("generator", ("generator_loss",), (0, 1), 2),
            "x layer y",
            "the first is an output of x layer y; all",
        ),
    ],
)
def test_a_diagnosis_names_where_it_began(broken, layer, words):
    told = describe(broken, {"generator": ["first.weight", "first.bias"]}, layer, 640, "before")
    assert words in told
    assert "before 640 images" in told


@pytest.mark.parametrize(
    "state",
    [
        {"sum.a": torch.zeros(2)},
        {
            "sum.a": torch.zeros(2),
            "sum.b": torch.zeros(()),
            "count.a": torch.ones(()),
            "count.b": torch.ones(()),
        },
        {"sum.a": torch.zeros(2, 2), "count.a": torch.tensor(1)},
        {"sum.a": torch.zeros(0), "count.a": torch.tensor(1)},
        {"sum.a": torch.zeros(()), "count.a": torch.ones(2)},
    ],
    ids=["no count", "two shapes", "a matrix", "no rank", "two counts"],
)
def test_sums_that_no_tally_gave_are_refused(state):
    with pytest.raises(ValueError, match=r"^the tick"):
        RunningMeans().load_state_dict(state)
