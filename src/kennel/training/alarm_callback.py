"""The alarms' callbacks: measuring at ticks, reporting, and stopping or rolling back the run."""

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
from kennel.training.alarms.diagnosis import REMEDIES, WHY, describe, first_not_finite, weights_in_words
from kennel.training.alarms.rules import (
    ALARMS,
    DIVERSITY,
    LOSS_AT_ZERO,
    NON_FINITE,
    AlarmSignal,
    Tick,
    alarms_of,
    newly_raised,
)
from kennel.training.disk_errors import writing

DIVERSITY_IMAGES = 64
"""The least number of real and of generated images that diversity is measured on at a tick."""
REPEATED_ITERATIONS = 64
"""The most iterations that are repeated to find a non-finite layer."""


class RollbackRequested(Exception):  # noqa: N818 (no error)
    """The run must go back to a checkpoint of at most `good_until` images; `why` is a clause."""

    def __init__(self, good_until: int, why: str) -> None:
        super().__init__(why)
        self.good_until = good_until
        self.why = why


class AlarmMonitor(Callback):
    """Measures diversity and singular values at every tick, raises alarms, and finds non-finite values.

    `signals` are the alarms that the newest tick raised, by name.
    """

    on_all_ranks = True

    def __init__(self, run_dir: RunDir, recipe: Recipe, step: GANStep, log: Callable[[str], None]) -> None:
        """`log` gets a message for each alarm."""
        self.run_dir, self.recipe, self.step, self.log = run_dir, recipe, step, log
        self.options = recipe.alarms
        self.networks = {"generator": step.networks.generator, "discriminator": step.networks.discriminator}
        self.spectra = Spectra(self.networks, recipe.seed, self.options.spectra_iterations)
        self.loss_at_zero = loss_at_zero_logits(step.loss)
        self.ticks: list[Tick] = []
        self.signals: dict[str, AlarmSignal] = {}
        self._alarms = alarms_of(self.options)
        self._finite_until = 0
        self._images_before = 0
        """Images before the current iteration."""

    def on_train_begin(self, state: TrainState) -> None:
        """Reads earlier ticks, and measures the initial weights of a new run."""
        self._finite_until = self._images_before = state.images_seen
        log, measured = ([], []) if rank() else (self.run_dir.log(), self.run_dir.spectra())
        spectra = {int(line["images"]): line for line in measured}
        self.ticks = [self._tick(line, spectra.get(line["images"], {})) for line in log]
        # Only once: measuring the same weights again would change where the next tick's iteration starts.
        if state.images_seen == 0 and self.options.spectra and not self.spectra.state_dict():
            first = self.spectra.measure()
            if not spectra:
                self._write_spectra(0, first)

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Measures and reports alarms, before the tick's log line is written."""
        entry[DIVERSITY] = self._diversity(state)
        spectra = self.spectra.measure() if self.options.spectra else {}
        self._check_weights(spectra, state)
        if spectra:
            self._write_spectra(state.images_seen, spectra)
        self.ticks.append(self._tick(entry, spectra))
        found = {name: newly_raised(alarm, self.ticks) for name, alarm in self._alarms.items()}
        self.signals = {name: signal for name, signal in found.items() if signal is not None}
        if self.signals:
            entry[ALARMS_RAISED] = ", ".join(self.signals)
        for name, signal in self.signals.items():
            self._report(name, signal, state, ALARMS[name].why, ALARMS[name].remedies)

    @property
    def newest_spectra(self) -> Mapping[str, Spectrum]:
        return self.ticks[-1].spectra

    def on_iteration_end(self, state: TrainState) -> None:
        """Checks for non-finite values, if that needs no wait for the device, and at the end of a tick."""
        plan, guard = state.plan, self.step.nonfinite_guard
        tick, self._images_before = self._images_before // plan.tick_images, state.images_seen
        ends = state.tick > tick or state.is_over
        single = world_size() == 1
        triggered = guard.triggered() if ends else single and guard.triggered_async()
        if not triggered and (ends or (single and plan.device.type == "cpu")):
            self._finite_until = state.images_seen
        if ends:
            triggered = any(row[0] for row in all_gather_ints(int(triggered)))
        if triggered:
            self._not_finite(self._diagnosis(state), state)

    def _write_spectra(self, images_seen: int, spectra: Mapping[str, Spectrum]) -> None:
        if rank() == 0:
            with writing(self.run_dir, "spectra.jsonl"):
                self.run_dir.append_spectra({"images": images_seen, **spectra})

    def _check_weights(self, spectra: Mapping[str, Spectrum], state: TrainState) -> None:
        """Finds non-finite weights that no gradient has caused, for example a technique after an update."""
        bad = [
            f"{network} {layer_in_words(layer)}"
            for network, spectrum in spectra.items()
            for layer, values in spectrum.items()
            if not all(map(math.isfinite, values))
        ]
        if bad:
            before = f"before {state.images_seen:,} images"
            self._not_finite(f"weights that are not finite {before}, the first in {bad[0]}", state)

    def _not_finite(self, saw: str, state: TrainState) -> None:
        ticks = [0, 0, *(tick.images for tick in self.ticks)]
        signal = AlarmSignal(saw, ticks[-2])  # the newest tick may have signs already
        self._report(NON_FINITE, signal, state, WHY, REMEDIES)
        act_on_alarm(self.run_dir, self.options, state, signal.good_until, saw, beyond_repair=True)

    def _diagnosis(self, state: TrainState) -> str:
        images_seen, single = state.images_seen, world_size() == 1
        report = self.step.nonfinite_guard.report()
        gathered = all_gather_ints(int(report is not None and bool(report.statistics)))
        of_rank = next((index for index, (has_losses,) in enumerate(gathered) if has_losses), 0)
        if report is None:
            return f"values that are not finite on another rank before {images_seen:,} images"
        # With several ranks no layer is searched, because all ranks would have to repeat the iterations.
        layer, all_checked = self._first_layer(state) if single else (None, False)
        networks = self._all_networks().items()
        names = {name: [one for one, _ in network.named_parameters()] for name, network in networks}
        exact = single and state.plan.device.type == "cpu"
        when = "before" if exact else "some iterations before"
        return describe(report, names, layer, images_seen, when, of_rank, all_checked)

    def _all_networks(self) -> Mapping[str, torch.nn.Module]:
        auxiliary = {name: one.network for name, one in self.step.auxiliary_networks.items()}
        return {**self.networks, **auxiliary}

    def _first_layer(self, state: TrainState) -> tuple[str | None, bool]:
        """Repeats the iterations since the last known finite one, with the weights of the non-finite step.

        Returns the first non-finite layer, if any; and whether all layers were checked, that is, whether all
        iterations were repeated and a value became non-finite again. Compiled networks would not call hooks.
        """
        networks, plan = self._all_networks(), state.plan
        until, running_means = state.images_seen, state.running_means
        earliest = max(0, plan.steps.iteration_after(until // plan.batch_size) - REPEATED_ITERATIONS)
        start = max(self._finite_until, plan.steps.discriminator_steps_before(earliest) * plan.batch_size)
        state.images_seen, state.running_means = start, RunningMeans()
        try:
            with self.step.compute.eager():
                while state.images_seen < until:
                    with first_not_finite(networks) as found:
                        iterate(state)
                    if found:
                        network, _, layer = found[0].partition(" layer ")
                        return found[0] + weights_in_words(networks[network], layer), True
            reproduced = not all(map(math.isfinite, state.running_means.means().values()))
        finally:
            state.images_seen, state.running_means = until, running_means
        return None, reproduced and start == self._finite_until

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
            f"ALARM {name} at {state.images_seen:,} images: {signal.saw}. Why it matters: {why}. "
            f"Try {remedies}."
        )

    def _tick(self, line: Mapping[str, Any], spectra: Mapping[str, Any]) -> Tick:
        known: dict[str, Spectrum] = {name: spectra[name] for name in self.networks if name in spectra}
        return Tick(int(line["images"]), {**line, LOSS_AT_ZERO: self.loss_at_zero}, known)

    @torch.no_grad()
    def _diversity(self, state: TrainState) -> float:
        """The nearest distances of generated images divided by those of real ones.

        The generator runs as in training, by the batch; its buffers are restored afterwards.
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
    """Stops the run or rolls it back on alarms, if the recipe says so, before the tick's checkpoint."""

    on_all_ranks = True

    def __init__(self, run_dir: RunDir, recipe: Recipe, alarm_monitor: AlarmMonitor) -> None:
        self.run_dir = run_dir
        self.options = recipe.alarms
        self.alarm_monitor = alarm_monitor

    def on_tick(self, state: TrainState, entry: Entry) -> None:
        """Raises `RollbackRequested` or `AlarmError`."""
        signals = self.alarm_monitor.signals
        good_until = min((signal.good_until for signal in signals.values()), default=state.images_seen)
        raised, good_until = all_gather_ints(len(signals), good_until)[0]  # rank 0 decides for all
        if raised:
            plural = "s" if len(signals) > 1 else ""
            why = f"the alarm{plural} {', '.join(signals)} at {state.images_seen:,} images"
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

    The policy "warn" raises only if the weights are `beyond_repair`.
    """
    if options.policy == "rollback" and state.rollbacks < options.max_rollbacks:
        raise RollbackRequested(good_until, why)
    if options.policy == "warn" and not beyond_repair:
        return
    after = f" after {state.rollbacks} rollbacks" if options.policy == "rollback" else ""
    kept = "keeps its last checkpoint" if in_folder(run_dir.checkpoints) else "has no checkpoint yet"
    raise AlarmError(
        f"{why}: the run stops{after} and {kept}; change the recipe in another "
        "--out" + ("" if beyond_repair else ", or continue with --set alarms.policy=warn")
    )


def loss_at_zero_logits(loss: Loss) -> float | None:
    """The discriminator's loss at logits of 0; None for a loss that can be negative."""
    if loss.compares_images:
        return None
    zero, confident = torch.zeros(2), torch.full((2,), 30.0)
    at_confident, at_zero = (
        float(loss.discriminator_loss(real, -real, Targets.for_logits(real, real)))
        for real in (confident, zero)
    )
    return None if at_confident < 0 else at_zero
