"""A run that goes wrong is told at once, and why; policies end it or take it back, repeatably."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kennel.config.recipe import Recipe, override
from kennel.engine.optim import ScheduledOptimizer
from kennel.engine.state import TrainState
from kennel.errors import AlarmError
from kennel.losses import LOSSES
from kennel.recipes import get_recipe
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.shapes import Images, Scalar
from kennel.techniques import TECHNIQUES, ForwardOutput, LossTerm, StepContext
from kennel.training.alarm_callback import AlarmMonitor, loss_at_zero_logits
from kennel.training.alarms.rules import DIVERSITY
from kennel.training.restore import seed_after
from kennel.training.run import train
from observers import StopAt

BATCH, TICK = 8, 16
LAYER = "layers.2"
"""The generator's transposed convolution."""


class Sabotage(LossTerm):
    """Spoils one thing in the turns from `images` on, as long as the draws have their first key.

    It is in the recipe as any other technique, so that runs with it stop and go on like others. `always` lets
    it act after rollbacks too.
    """

    what: str = "nothing"
    images: int = 0
    always: bool = False

    def due(self, context: StepContext) -> bool:
        return context.images_seen > self.images and (self.always or context.seed == 0)

    def augment_real(self, real: Images, context: StepContext) -> Images:
        return real * 3e38 * 3e38 if self.what == "pixels" and self.due(context) else real

    def discriminator_term(self, output: ForwardOutput) -> Scalar | None:
        if self.what == "discriminator" and self.due(output.context):
            assert output.real_logits is not None
            return output.real_logits.mean() * torch.inf
        return None

    def generator_term(self, output: ForwardOutput) -> Scalar | None:
        if not self.due(output.context):
            return None
        if self.what == "term":
            return output.fake.mean() * torch.inf
        if self.what == "one mode":
            return 300 * (output.fake - 0.5).square().mean()
        return None

    @torch.no_grad()
    def after_discriminator(self, output: ForwardOutput) -> None:
        if self.what == "silence" and self.due(output.context):
            output.networks.discriminator.head.weight.mul_(1e-9)

    @torch.no_grad()
    def after_generator(self, output: ForwardOutput) -> None:
        if not self.due(output.context):
            return
        if self.what == "spectrum":
            output.networks.generator.get_submodule(LAYER).weight.mul_(3.0)
        if self.what == "behind":
            output.networks.generator.get_submodule(LAYER).parametrizations.weight.original.mul_(3.0)
        if self.what == "weight":
            weight = output.networks.discriminator.get_submodule("first").weight
            weight.copy_(weight.sign() * 1e38)
        if self.what == "spoilt":
            output.networks.generator.get_submodule(LAYER).weight.mul_(torch.inf)


@pytest.fixture(autouse=True)
def _sabotage() -> Iterator[None]:
    TECHNIQUES.register("sabotage")(Sabotage)
    yield
    del TECHNIQUES._entries["sabotage"]


def tiny(what: str, images: int, *settings: str) -> Recipe:
    """A small DCGAN of 8 ticks of 2 rounds, spoilt after so many images."""
    recipe = get_recipe("digits").model_copy(update={"techniques": ()})
    common = [
        f"batch_size={BATCH}",
        "num_ticks=8",
        "validation.every_ticks=0",
        "image.size=8",
        f"budget.images={8 * TICK}",
        "generator.base_channels=4",
        "discriminator.base_channels=4",
        "latent_dim=8",
        f"techniques.sabotage.what={what}",
        f"techniques.sabotage.images={images}",
    ]
    return override(recipe, [*common, *settings])


def raised(run: Path) -> list[tuple[str, int]]:
    """The alarms of a run with the images at which they came."""
    return [(line["alarm"], line["images"]) for line in RunDir(run).alarms() if "alarm" in line]


def outcome(run: Path) -> dict[str, Any]:
    """All that must be equal between two runs, but for times."""
    folder = RunDir(run)
    newest = checkpoint.newest(folder.checkpoints)
    timeless = [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()]
    grids = {path.name: path.read_bytes() for path in sorted(folder.samples.glob("*.png"))}
    return {
        "checksum": newest.metadata["checksum"],
        "log": timeless,
        "spectra": folder.spectra(),
        "alarms": folder.alarms(),
        "grids": grids,
    }


def test_a_run_that_goes_well_raises_nothing_and_logs_what_is_watched(packed_set, tmp_path):
    assert train(tiny("nothing", 0), packed_set(), tmp_path / "run")
    folder = RunDir(tmp_path / "run")
    assert folder.alarms() == []
    for line in folder.log():
        assert line["generator_gradient_norm"] > 0
        assert line["discriminator_gradient_norm"] > 0
        assert line[DIVERSITY] > 0
    assert [line["images"] for line in folder.spectra()] == [0, *(TICK * n for n in range(1, 9))]
    newest = checkpoint.newest(folder.checkpoints)
    weight = newest.below("generator")[f"{LAYER}.weight"]
    true = torch.linalg.svdvals(weight.transpose(0, 1).flatten(1))
    assert folder.spectra()[-1]["generator"][LAYER] == pytest.approx(true[:3].tolist(), rel=1e-3)


def test_watching_changes_nothing_in_the_training(packed_set, tmp_path, monkeypatch):
    data = packed_set()
    train(tiny("nothing", 0), data, tmp_path / "watched")
    monkeypatch.setattr("kennel.training.alarm_callback.AlarmMonitor._diversity", lambda self, state: 1.0)
    train(tiny("nothing", 0, "alarms.spectra=off"), data, tmp_path / "blind")
    watched, blind = (checkpoint.newest(RunDir(tmp_path / run).checkpoints) for run in ("watched", "blind"))
    for name, tensor in blind.tensors.items():
        assert torch.equal(tensor, watched.tensors[name]), name


@pytest.mark.parametrize("policy", ["warn", "stop"])
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("weight", "the first is an output of discriminator layer first, whose largest weight is 1e+38"),
        ("term", "first seen in the term of sabotage in the generator's loss"),
        ("discriminator", "first seen in the term of sabotage in the discriminator's loss"),
    ],
)
def test_what_is_not_finite_ends_the_run_in_that_round_and_names_where_it_began(
    what, words, policy, packed_set, tmp_path
):
    hearing = StopAt()
    with pytest.raises(AlarmError, match="keeps its last checkpoint") as error:
        train(tiny(what, 32, f"alarms.policy={policy}"), packed_set(), tmp_path / "run", observer=hearing)
    assert "\n" not in str(error.value)
    assert words in str(error.value)
    # After 32 images comes the tick; the generator's turn of the next round is the first after more than 32.
    # The discriminator's and that which meets the spoilt weights are in the round after it.
    ended = 40 + (BATCH if what in ("weight", "discriminator") else 0)
    assert raised(tmp_path / "run") == [("non_finite", ended)]
    (told,) = [sentence for sentence in hearing.said if sentence.startswith("ALARM")]
    assert "Try lower learning rates" in told
    newest = checkpoint.newest(RunDir(tmp_path / "run").checkpoints)
    assert newest.images_seen == 2 * TICK
    assert all(torch.isfinite(tensor).all() for tensor in newest.tensors.values())


def seen_late(monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    """As on a device where nothing is noticed before the tick; so many rounds are played again at most."""
    on_iteration_end = AlarmMonitor.on_iteration_end

    def late(self: AlarmMonitor, state: TrainState) -> None:
        if state.images_seen % state.plan.tick_images == 0:
            on_iteration_end(self, state)

    monkeypatch.setattr(AlarmMonitor, "on_iteration_end", late)
    monkeypatch.setattr("kennel.training.alarm_callback.REPEATED_ITERATIONS", rounds)


@pytest.mark.parametrize(("rounds", "boost"), [(4, "null"), (64, "null"), (4, "{steps: 2, first: 3}")])
def test_what_is_noticed_late_is_looked_for_in_the_last_rounds(
    rounds, boost, packed_set, tmp_path, monkeypatch
):
    seen_late(monkeypatch, rounds)
    recipe = tiny("pixels", 12 * BATCH, "num_ticks=1", f"steps.extra_d_steps={boost}")
    with pytest.raises(AlarmError, match="the first is an output of discriminator layer first, whose"):
        train(recipe, packed_set(), tmp_path / "run")


@pytest.mark.parametrize(("rounds", "looked"), [(4, False), (16, True)])
def test_layers_are_called_finite_only_where_all_were_looked_at(
    rounds, looked, packed_set, tmp_path, monkeypatch
):
    seen_late(monkeypatch, rounds)
    with pytest.raises(AlarmError, match="the term of sabotage in the generator's loss") as error:
        train(tiny("term", 3 * BATCH, "num_ticks=1"), packed_set(), tmp_path / "run")
    assert ("all layers before are finite" in str(error.value)) == looked
    assert "first seen in" in str(error.value)


def test_layers_are_not_called_finite_where_nothing_breaks_again(packed_set, tmp_path, monkeypatch):
    real = AlarmMonitor._first_layer

    def mended(self: AlarmMonitor, state: TrainState) -> tuple[str | None, bool]:
        monkeypatch.setattr(Sabotage, "due", lambda self, context: False)
        return real(self, state)

    monkeypatch.setattr(AlarmMonitor, "_first_layer", mended)
    with pytest.raises(AlarmError, match="first seen in the term of sabotage"):
        train(tiny("term", 32), packed_set(), tmp_path / "run")


def test_compiled_networks_are_looked_through_uncompiled(packed_set, tmp_path, monkeypatch):
    """Dynamo does not hear hooks that are added to what it has compiled: neither does this compiler."""

    def deaf(network_pass: Any, **options: object) -> Any:
        def call(*arguments: object) -> object:
            layers = [one for player in network_pass.__self__.networks.both() for one in player.modules()]
            heard = [layer._forward_hooks for layer in layers]
            for layer in layers:
                layer._forward_hooks = type(layer._forward_hooks)()
            try:
                return network_pass(*arguments)
            finally:
                for layer, hooks in zip(layers, heard, strict=True):
                    layer._forward_hooks = hooks

        return call

    monkeypatch.setattr(torch, "compile", deaf)
    with pytest.raises(AlarmError, match="the first is an output of discriminator layer first, whose"):
        train(tiny("weight", 32, "compute.compile=on"), packed_set(), tmp_path / "run")


@pytest.mark.parametrize("optimiser", ["adam", "rmsprop", "sgd"])
def test_no_optimiser_lets_a_gradient_that_is_not_finite_into_the_weights(optimiser, packed_set, tmp_path):
    settings = [f"{player}_optimizer.name={optimiser}" for player in ("generator", "discriminator")]
    found: list[dict[str, torch.Tensor]] = []
    hearing = StopAt()
    recipe = tiny("term", 40, *settings)

    def keep(self: AlarmMonitor, state: TrainState) -> None:
        found.append({k: v.clone() for k, v in self.step.networks.generator.named_parameters()})
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kennel.training.alarm_callback.AlarmMonitor._diagnosis", keep)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, packed_set(), tmp_path / "run", observer=hearing)
    assert all(torch.isfinite(weight).all() for weight in found[0].values())


def test_one_forced_mode_is_found_within_two_ticks(packed_set, tmp_path):
    settings = ("budget.images=1024", "num_ticks=16", "generator_optimizer.learning_rate=0.02")
    train(tiny("one mode", 512, *settings), packed_set(), tmp_path / "run")
    log = RunDir(tmp_path / "run").log()
    # The happening by a measure of its own: the tick in which the generator's squared distance from the one
    # image that it is drawn to, is at its end less than a tenth of what it was at the first.
    terms = {line["images"]: line.get("sabotage_generator_term") for line in log}
    first = next(value for value in terms.values() if value is not None)
    happened = next(images for images, value in terms.items() if value is not None and value < first / 10)
    _, images = next(one for one in raised(tmp_path / "run") if one[0] == "falling_diversity")
    assert 512 < images <= happened + 2 * 64


def test_a_run_that_draws_one_image_all_the_time_is_found_without_a_fall(packed_set, tmp_path):
    settings = ("budget.images=1024", "num_ticks=16", "generator_optimizer.learning_rate=0.02")
    no_fall = "alarms.falling_diversity={below: 1e-9, dull_images: 0}"
    train(tiny("one mode", 0, *settings, no_fall), packed_set(), tmp_path / "run")
    log = RunDir(tmp_path / "run").log()
    dull = [line[DIVERSITY] < 0.1 for line in log]
    fifth = next(place for place in range(4, len(dull)) if all(dull[place - 4 : place + 1]))
    lines = [one for one in RunDir(tmp_path / "run").alarms() if one["alarm"] == "falling_diversity"]
    assert lines[0]["images"] == log[fifth]["images"]
    assert "was below 0.1 times that for 5 ticks" in lines[0]["saw"]


def test_a_spectrum_that_is_blown_up_is_found_within_two_ticks(packed_set, tmp_path):
    train(tiny("spectrum", 5 * TICK), packed_set(), tmp_path / "run")
    _, images = next(one for one in raised(tmp_path / "run") if one[0] == "exploding_spectrum")
    assert 5 * TICK < images <= 7 * TICK
    (line,) = [one for one in RunDir(tmp_path / "run").alarms() if one["alarm"] == "exploding_spectrum"]
    assert f"generator layer {LAYER}" in line["saw"]


def test_a_weight_that_is_blown_up_behind_its_spectral_norm_is_found_and_rolled_back(packed_set, tmp_path):
    settings = ("techniques.spectral_norm.networks=both", "alarms.policy=rollback")
    assert train(tiny("behind", 5 * TICK, *settings), packed_set(), tmp_path / "run")
    folder = RunDir(tmp_path / "run")
    alarm, back = folder.alarms()
    assert alarm["alarm"] == "exploding_spectrum"
    assert f"generator layer {LAYER} is" in alarm["saw"]
    assert back["back_to"] <= 5 * TICK < alarm["images"] <= 7 * TICK
    assert checkpoint.newest(folder.checkpoints).metadata["rollbacks"] == 1


def test_a_generator_that_is_told_nothing_any_more_is_found_within_two_ticks(packed_set, tmp_path):
    train(tiny("silence", 5 * TICK), packed_set(), tmp_path / "run")
    images = next(images for name, images in raised(tmp_path / "run") if name == "vanishing_gradient")
    happened = 6 * TICK  # the tick in which it began
    assert happened < images <= happened + 2 * TICK


def test_a_discriminator_that_is_far_too_strong_is_found_within_two_ticks(packed_set, tmp_path):
    rates = ("discriminator_optimizer.learning_rate=0.02", "generator_optimizer.learning_rate=1e-7")
    wide = "discriminator.base_channels=16"
    train(tiny("nothing", 0, "budget.images=1600", wide, *rates), packed_set(), tmp_path / "run")
    log = RunDir(tmp_path / "run").log()
    # Both probabilities, which the alarm does not look at.
    sure = [line for line in log if line["real_probability"] > 0.998 and line["fake_probability"] < 0.002]
    _, images = next(one for one in raised(tmp_path / "run") if one[0] == "discriminator_saturation")
    assert sure
    assert abs(images - sure[0]["images"]) <= 2 * 200


def test_an_alarm_that_is_off_is_not_raised(packed_set, tmp_path):
    off = ("alarms.exploding_spectrum=off", "alarms.vanishing_gradient=off")
    assert train(tiny("silence", 5 * TICK, *off), packed_set(), tmp_path / "run")
    assert raised(tmp_path / "run") == []


def test_without_spectra_none_are_written_and_their_alarm_is_silent(packed_set, tmp_path):
    assert train(tiny("spectrum", 5 * TICK, "alarms.spectra=off"), packed_set(), tmp_path / "run")
    assert not RunDir(tmp_path / "run").spectra_file.exists()
    assert "exploding_spectrum" not in [name for name, _ in raised(tmp_path / "run")]


def test_a_run_that_fails_before_its_first_tick_says_that_nothing_is_kept(packed_set, tmp_path):
    with pytest.raises(AlarmError, match="the run stops and has no checkpoint yet"):
        train(tiny("term", 0), packed_set(), tmp_path / "run")


def test_spoilt_weights_at_a_validated_tick_are_the_alarms_and_draw_nothing(packed_set, tmp_path):
    validated = ("validation.every_ticks=1", "validation.extractor=pixels", "validation.metric=fid")
    data = packed_set()
    for name, more in (("plain", ()), ("validated", (*validated, "validation.num_samples=20"))):
        with pytest.raises(AlarmError, match="weights that are not finite"):
            train(tiny("spoilt", 3 * TICK - 1, *more), data, tmp_path / name)
    assert raised(tmp_path / "plain") == raised(tmp_path / "validated")


def test_a_run_that_is_told_to_stop_does_so_before_that_ticks_checkpoint(packed_set, tmp_path):
    recipe, data = tiny("spectrum", 5 * TICK, "alarms.policy=stop"), packed_set()
    with pytest.raises(AlarmError, match=r"exploding_spectrum at .* or continue with --set alarms"):
        train(recipe, data, tmp_path / "run")
    folder = RunDir(tmp_path / "run")
    (alarm,) = folder.alarms()
    newest = checkpoint.newest(folder.checkpoints)
    assert newest.images_seen == alarm["images"] - TICK
    assert folder.log()[-1]["alarms"] == "exploding_spectrum"
    # The same command comes to the same end; with another policy the run goes on.
    with pytest.raises(AlarmError):
        train(recipe, data, tmp_path / "run")
    assert folder.alarms() == [alarm]
    assert train(override(recipe, ["alarms.policy=warn"]), data, tmp_path / "run")


@pytest.mark.parametrize("what", ["spectrum", "weight"])
def test_a_rollback_goes_back_before_the_signs_and_on_with_new_draws(what, packed_set, tmp_path):
    settings = ("alarms.policy=rollback", "alarms.rate_factor=0.5")
    hearing, data = StopAt(), packed_set()
    assert train(tiny(what, 5 * TICK, *settings), data, tmp_path / "run", observer=hearing)
    folder = RunDir(tmp_path / "run")
    alarm, back = folder.alarms()
    assert back["rollback"] == 1
    assert back["back_to"] <= 5 * TICK < alarm["images"] == back["images"]
    assert any(sentence.startswith("Rollback 1 of at most 3") for sentence in hearing.said)
    log = folder.log()
    assert [line["images"] for line in log] == [TICK * n for n in range(1, 9)]
    assert "alarms" not in str(log)
    newest = checkpoint.newest(folder.checkpoints)
    assert newest.images_seen == 8 * TICK
    assert newest.metadata["rollbacks"] == 1
    # Up to there it is the run that was never spoilt, and afterwards another.
    train(tiny("nothing", 0), data, tmp_path / "unspoilt")
    others = RunDir(tmp_path / "unspoilt").log()
    for mine, other in zip(log, others, strict=True):
        same = mine["generator_loss"] == other["generator_loss"]
        assert same == (mine["images"] <= back["back_to"])


@pytest.mark.parametrize(
    ("what", "images", "back_to", "stops"),
    [
        *(("spectrum", 5 * TICK, 3 * TICK, stops) for stops in ((24,), (88,), (96, 104), (24, 72, 88, 120))),
        ("term", TICK, 0, (24, 24, 40)),  # to the beginning, where the optimisers are new
    ],
)
def test_a_run_resumes_bit_for_bit_across_its_rollback(what, images, back_to, stops, packed_set, tmp_path):
    recipe, data = tiny(what, images, "alarms.policy=rollback"), packed_set()
    assert train(recipe, data, tmp_path / "whole")
    back = RunDir(tmp_path / "whole").alarms()[-1]
    assert (back["rollback"], back["back_to"]) == (1, back_to)
    for stop in stops:
        assert not train(recipe, data, tmp_path / "stopped", observer=StopAt(stop))
    assert train(recipe, data, tmp_path / "stopped")
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("what", ["spectrum", "term"])
@pytest.mark.parametrize("place", ["append_alarm", "unlink", "rewind_log"])
def test_a_kill_in_the_middle_of_a_rollback_comes_to_the_same_outcome(
    place, what, packed_set, tmp_path, monkeypatch
):
    # What is spoilt in the second tick leads to the beginning, where the optimisers remember nothing.
    recipe = tiny(what, 5 * TICK if what == "spectrum" else TICK, "alarms.policy=rollback")
    data = packed_set()
    assert train(recipe, data, tmp_path / "whole")
    owner = Path if place == "unlink" else RunDir
    before: Callable[..., Any] = getattr(owner, place)

    def killed_at_rollback(self: Any, *arguments: Any, **options: Any) -> Any:
        told = [
            *RunDir(tmp_path / "killed").alarms(),
            *filter(lambda one: isinstance(one, dict), arguments),
        ]
        of_another = place == "unlink" and self.suffix != checkpoint.SUFFIX  # such as the lock
        if any("rollback" in line for line in told) and not of_another:
            raise KeyboardInterrupt
        return before(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, place, killed_at_rollback)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, data, tmp_path / "killed")
    assert train(recipe, data, tmp_path / "killed")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def test_a_run_that_is_always_spoilt_ends_after_the_rollbacks_that_it_has(packed_set, tmp_path):
    settings = ("alarms.policy=rollback", "alarms.max_rollbacks=2", "techniques.sabotage.always=true")
    with pytest.raises(AlarmError, match="after 2 rollbacks"):
        train(tiny("spectrum", 5 * TICK, *settings), packed_set(), tmp_path / "run")
    lines = RunDir(tmp_path / "run").alarms()
    assert [line["rollback"] for line in lines if "rollback" in line] == [1, 2]
    assert len(raised(tmp_path / "run")) == 3


def test_the_first_key_is_the_recipes_seed_and_each_rollback_has_its_own():
    keys = [seed_after(7, count) for count in range(4)]
    assert keys[0] == 7
    assert len(set(keys)) == 4


def test_the_rate_is_lowered_with_every_rollback_and_its_schedule_kept(packed_set, tmp_path, monkeypatch):
    rates: list[tuple[int, float]] = []
    at = ScheduledOptimizer.at

    def noted(self: ScheduledOptimizer, progress: float) -> Any:
        optimiser = at(self, progress)
        rates.append((len(rates), optimiser.param_groups[0]["lr"]))
        return optimiser

    monkeypatch.setattr(ScheduledOptimizer, "at", noted)
    settings = ("alarms.policy=rollback", "alarms.rate_factor=0.5")
    train(tiny("weight", 5 * TICK, *settings), packed_set(), tmp_path / "run")
    assert {rate for _, rate in rates} == {5e-4, 2.5e-4}
    assert rates[0][1] == 5e-4
    assert rates[-1][1] == 2.5e-4


@pytest.mark.parametrize(
    ("name", "loss"),
    [("bce", 1.386), ("hinge", 2.0), ("lsgan", 0.5), ("relativistic_paired", 0.693), ("wgan", None)],
)
def test_what_a_discriminator_that_knows_nothing_pays(name, loss):
    found = loss_at_zero_logits(LOSSES[name]())
    assert found == (None if loss is None else pytest.approx(loss, abs=1e-3))


def test_alarms_may_change_when_a_run_goes_on(packed_set, tmp_path):
    data, hearing = packed_set(), StopAt()
    assert not train(tiny("nothing", 0), data, tmp_path / "run", observer=StopAt(40))
    changed = tiny("nothing", 0, "alarms.falling_diversity.below=0.4")
    assert train(changed, data, tmp_path / "run", observer=hearing)
    assert any("alarms.falling_diversity.below: 0.6 -> 0.4" in sentence for sentence in hearing.said)


def test_the_recipes_fingerprint_is_as_before_there_were_alarms():
    recipe = get_recipe("digits")
    assert override(recipe, ["alarms.policy=warn"]).fingerprint() == recipe.fingerprint()
    assert override(recipe, ["alarms.policy=stop"]).fingerprint() != recipe.fingerprint()


def test_weights_that_a_technique_has_spoilt_are_found_at_the_tick_at_the_latest(packed_set, tmp_path):
    with pytest.raises(
        AlarmError, match=f"not finite before 80 images, the first in generator layer {LAYER}"
    ):
        train(tiny("spoilt", 72), packed_set(), tmp_path / "run")
    assert raised(tmp_path / "run") == [("non_finite", 80)]
