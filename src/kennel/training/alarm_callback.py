"""Watches over a run: what is measured for the alarms, how they are told, and when the run is turned."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from kennel import rng
from kennel.config.alarms import AlarmsConfig
from kennel.config.recipe import Recipe
from kennel.distributed import all_gather, all_gather_ints, rank, world_size
from kennel.engine.callback import Callback
from kennel.engine.iteration import iterate
from kennel.engine.observer import ALARMS_RAISED, Entry
from kennel.engine.running_means import RunningMeans
from kennel.engine.singular_values import Spectra, Spectrum, layer_in_words
from kennel.engine.state import TrainState
from kennel.engine.step import GANStep
from kennel.errors import AlarmError
from kennel.images import to_float
from kennel.losses import Loss, Targets
from kennel.runs.checkpoint import in_folder
from kennel.runs.run_dir import RunDir
from kennel.techniques import StepContext
from kennel.training.alarms.batch_diversity import nearest_distance
from kennel.training.alarms.diagnosis import REMEDIES, WHY, first_not_finite, sentence, with_what_is_wrong
from kennel.training.alarms.rules import (
    ALARMS,
    DIVERSITY,
    IGNORANT,
    NON_FINITE,
    AlarmSignal,
    Tick,
    alarms_of,
    newly_raised,
)
from kennel.training.disk_errors import writing

DIVERSITY_IMAGES = 64
"""Images of each side, at least, that diversity is measured on at a tick."""
REPEATED_ITERATIONS = 64
"""How many of the last iterations are repeated at most to find a layer."""


class RollbackRequested(Exception):  # noqa: N818 (a turn of the run, no error)
    """The run is to go back to a checkpoint of at most `good_until` images; `why` is an alarm's sentence."""

    def __init__(self, good_until: int, why: str) -> None:
        """As above."""
        super().__init__(why)
        self.good_until = good_until
        self.why = why


class AlarmMonitor(Callback):
    """Measures at every tick what alarms go by, raises them, and finds what is not finite.

    `spectra` follows the singular values of both networks, `newest_spectra` are those of the last tick.
    """

    on_all_ranks = True

    def __init__(self, run_dir: RunDir, recipe: Recipe, step: GANStep, log: Callable[[str], None]) -> None:
        """`log` is given a sentence for each alarm."""
        self.run_dir, self.recipe, self.step, self.log = run_dir, recipe, step, log
        self.options = recipe.alarms
        self.networks = {"generator": step.networks.generator, "discriminator": step.networks.discriminator}
        self.spectra = Spectra(self.networks, recipe.seed, self.options.spectra_iterations)
        self.ignorant = loss_at_zero_logits(step.loss)
        self.ticks: list[Tick] = []
        self.signals: dict[str, AlarmSignal] = {}
        """The alarms that the newest tick raised, by name."""
        self._alarms = alarms_of(self.options)
        self._clean_until = 0
        self._seen = 0
        """Images before the iteration that is under way."""

    def on_train_begin(self, state: TrainState) -> None:
        """Reads the ticks of before, and measures the first weights of a new run."""
        self._clean_until = self._seen = state.images_seen
        log, measured = ([], []) if rank() else (self.run_dir.log(), self.run_dir.spectra())
        spectra = {int(line["images"]): line for line in measured}
        self.ticks = [self._tick(line, spectra.get(line["images"], {})) for line in log]
        # Once: a second look at the same weights would start, and the next tick end, elsewhere.
        if state.images_seen == 0 and self.options.spectra and not self.spectra.state_dict():
            first = self.spectra.measure()
            if rank() == 0 and not spectra:
                with writing(self.run_dir, "spectra.jsonl"):
                    self.run_dir.append_spectra({"images": 0, **first})

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Measures, raises alarms and logs them; before the tick's line is written."""
        entry[DIVERSITY] = self._diversity(state)
        spectra = self.spectra.measure() if self.options.spectra else {}
        self._refuse_spoilt(spectra, state)
        if rank() == 0 and spectra:
            with writing(self.run_dir, "spectra.jsonl"):
                self.run_dir.append_spectra({"images": state.images_seen, **spectra})
        self.ticks.append(self._tick(entry, spectra))
        found = {name: newly_raised(alarm, self.ticks) for name, alarm in self._alarms.items()}
        self.signals = {name: signal for name, signal in found.items() if signal is not None}
        if self.signals:
            entry[ALARMS_RAISED] = ", ".join(self.signals)
        for name, signal in self.signals.items():
            self._report(name, signal, state, ALARMS[name].why, ALARMS[name].remedies)

    @property
    def newest_spectra(self) -> Mapping[str, Spectrum]:
        """Those of the tick that was looked at last."""
        return self.ticks[-1].spectra

    def on_iteration_end(self, state: TrainState) -> None:
        """Finds what is not finite as soon as that needs no wait for the device, and at every tick's end."""
        plan, guard = state.plan, self.step.nonfinite_guard
        tick, self._seen = self._seen // plan.tick_images, state.images_seen
        ends = state.tick > tick or state.is_over
        single = world_size() == 1
        broken = guard.has_broken() if ends else single and guard.has_noticed()
        if not broken and (ends or (single and plan.device.type == "cpu")):
            self._clean_until = state.images_seen
        if ends:
            broken = any(told[0] for told in all_gather_ints(int(broken)))
        if broken:
            self._not_finite(self._diagnosis(state), state)

    def _refuse_spoilt(self, spectra: Mapping[str, Spectrum], state: TrainState) -> None:
        """Weights that something other than a gradient has spoilt, such as a technique after an update."""
        spoilt = [
            f"{player} {layer_in_words(layer)}"
            for player, spectrum in spectra.items()
            for layer, values in spectrum.items()
            if not all(map(math.isfinite, values))
        ]
        if spoilt:
            before = f"before {state.images_seen:,} images"
            self._not_finite(f"weights that are not finite {before}, the first in {spoilt[0]}", state)

    def _not_finite(self, saw: str, state: TrainState) -> None:
        ticks = [0, 0, *(tick.images for tick in self.ticks)]
        signal = AlarmSignal(saw, ticks[-2])  # what ends so has its signs before
        self._report(NON_FINITE, signal, state, WHY, REMEDIES)
        act_on_alarm(self.run_dir, self.options, state, signal.good_until, saw, beyond_repair=True)

    def _diagnosis(self, state: TrainState) -> str:
        images_seen = state.images_seen
        broken = self.step.nonfinite_guard.broken()
        told = all_gather_ints(int(broken is not None and bool(broken.statistics)))
        of_rank = next((place for place, (has_losses,) in enumerate(told) if has_losses), 0)
        if broken is None:
            return f"values that are not finite on another rank before {images_seen:,} images"
        # Of several ranks none looks: they would have to repeat the iterations together.
        layer, looked = self._first_layer(state) if world_size() == 1 else (None, False)
        moved = self._moved().items()
        names = {name: [one for one, _ in network.named_parameters()] for name, network in moved}
        exact = state.plan.device.type == "cpu"
        turns = "before" if exact and world_size() == 1 else "some rounds before"
        return sentence(broken, names, layer, images_seen, turns, of_rank, looked)

    def _moved(self) -> Mapping[str, torch.nn.Module]:
        auxiliary = {name: one.network for name, one in self.step.auxiliary_networks.items()}
        return {**self.networks, **auxiliary}

    def _first_layer(self, state: TrainState) -> tuple[str | None, bool]:
        """Repeats the iterations since all was finite, with the weights as they were at the broken step.

        The layer, if one was found; and whether every iteration was looked at and one of them broke again, so
        that none that is found says something. Networks are not compiled here: there no hook is heard.
        """
        networks, plan = self._moved(), state.plan
        until, running_means = state.images_seen, state.running_means
        early = max(0, plan.steps.iteration_after(until // plan.batch_size) - REPEATED_ITERATIONS)
        begins = max(self._clean_until, plan.steps.discriminator_steps_before(early) * plan.batch_size)
        state.images_seen, state.running_means = begins, RunningMeans()
        try:
            with self.step.compute.eager():
                while state.images_seen < until:
                    with first_not_finite(networks) as found:
                        iterate(state)
                    if found:
                        player, _, name = found[0].partition(" layer ")
                        return found[0] + with_what_is_wrong(networks[player], name), True
            broke_again = not all(map(math.isfinite, state.running_means.means().values()))
        finally:
            state.images_seen, state.running_means = until, running_means
        return None, broke_again and begins == self._clean_until

    def _report(self, name: str, signal: AlarmSignal, state: TrainState, why: str, remedies: str) -> None:
        if rank():
            return
        with writing(self.run_dir, "alarms.jsonl"):
            self.run_dir.append_alarm(
                {
                    "images": state.images_seen,
                    "alarm": name,
                    "rollbacks": state.rollbacks,
                    "saw": signal.saw,
                    "why": why,
                    "try": remedies,
                }
            )
        self.log(
            f"ALARM {name} at {state.images_seen:,} images: {signal.saw}. It matters: {why}. Try {remedies}."
        )

    def _tick(self, line: Mapping[str, Any], spectra: Mapping[str, Any]) -> Tick:
        known: dict[str, Spectrum] = {name: spectra[name] for name in self.networks if name in spectra}
        return Tick(int(line["images"]), {**line, IGNORANT: self.ignorant}, known)

    @torch.no_grad()
    def _diversity(self, state: TrainState) -> float:
        """Nearest distances among generated images as a share of those among real ones.

        The generator draws as it does in training, by the batch; nothing that it remembers is changed.
        """
        plan, generator = state.plan, self.step.networks.generator
        before = {name: buffer.clone() for name, buffer in generator.named_buffers()}
        sums = torch.zeros(2)
        for number in range(-(-DIVERSITY_IMAGES // plan.batch_size)):
            images_seen = state.images_seen + number * plan.batch_size
            context = StepContext(images_seen, plan.total_images, "generator", number, plan.seed, plan.device)
            pixels, labels = state.batches.at(images_seen)
            random = context.random("diversity")
            latents = random.own(state.draw_latents(plan.batch_size, random.generator))
            for technique in self.step.techniques:
                latents = technique.transform_latents(latents, context)
            rng.seed_layers(context.key("layers of diversity", rank()), plan.device)
            with self.step.compute.autocast(plan.device):
                fake = generator(latents, labels)
            both = (all_gather(fake), all_gather(to_float(pixels)))
            sums += torch.stack([nearest_distance(images) for images in both]).cpu()
        for name, buffer in generator.named_buffers():
            buffer.copy_(before[name])
        fakes, reals = sums.tolist()
        return fakes / reals if reals > 0 else 0.0


class AlarmPolicy(Callback):
    """Stops the run or takes it back where the recipe's policy says so; before the tick's checkpoint, which
    would not be a good one."""

    on_all_ranks = True

    def __init__(self, run_dir: RunDir, recipe: Recipe, alarm_monitor: AlarmMonitor) -> None:
        """`alarm_monitor` has raised the tick's alarms before."""
        self.run_dir = run_dir
        self.options = recipe.alarms
        self.alarm_monitor = alarm_monitor

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Raises `RollbackRequested` or `AlarmError`."""
        signals = self.alarm_monitor.signals
        good_until = min((signal.good_until for signal in signals.values()), default=state.images_seen)
        raised, good_until = all_gather_ints(len(signals), good_until)[0]  # rank 0 decides for all
        if raised:
            why = f"{_alarms(', '.join(signals))} at {state.images_seen:,} images"
            act_on_alarm(self.run_dir, self.options, state, good_until, why, beyond_repair=False)


def act_on_alarm(
    run_dir: RunDir,
    options: AlarmsConfig,
    state: TrainState,
    good_until: int,
    why: str,
    *,
    beyond_repair: bool,
) -> None:
    """Raises `RollbackRequested` or `AlarmError`, as the policy says.

    The policy "warn" raises nothing, unless the weights are beyond repair.
    """
    if options.policy == "rollback" and state.rollbacks < options.max_rollbacks:
        raise RollbackRequested(good_until, why)
    if options.policy == "warn" and not beyond_repair:
        return
    had = f" after {state.rollbacks} rollbacks" if options.policy == "rollback" else ""
    kept = "its last checkpoint is kept" if in_folder(run_dir.checkpoints) else "it has no checkpoint yet"
    raise AlarmError(
        f"{why}: the run is stopped{had} and {kept}; change the recipe in another "
        "--out" + ("" if beyond_repair else ", or go on as it is with --set alarms.policy=warn")
    )


def loss_at_zero_logits(loss: Loss) -> float | None:
    """The discriminator's loss at logits of 0, for a loss that cannot be less than 0; None for others."""
    if loss.compares_images:
        return None
    zero, confident = torch.zeros(2), torch.full((2,), 30.0)
    at_confident, at_zero = (
        float(loss.discriminator_loss(real, -real, Targets.for_logits(real, real)))
        for real in (confident, zero)
    )
    return None if at_confident < 0 else at_zero


def _alarms(names: str) -> str:
    return f"the alarm{'s' if ',' in names else ''} {names}"
