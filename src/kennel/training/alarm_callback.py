"""Watches over a run: what is measured for the alarms, how they are told, and when the run is turned."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from kennel import rng
from kennel.config.recipe import Recipe
from kennel.distributed import all_gather, all_gather_ints, rank, world_size
from kennel.engine.observer import ALARMS_RAISED, Entry
from kennel.engine.optim import ScheduledOptimizer
from kennel.engine.running_means import RunningMeans
from kennel.engine.singular_values import Spectra, Spectrum, layer_in_words
from kennel.engine.step import GANStep
from kennel.engine.trainer import Progress, Trainer, TrainPlan
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
REPLAYED_ROUNDS = 64
"""How many rounds, the last ones, are played again at most to find a layer."""


class RollbackRequested(Exception):  # noqa: N818 (a turn of the run, no error)
    """The run is to go back to a checkpoint of at most `good_until` images; `why` is an alarm's sentence."""

    def __init__(self, good_until: int, why: str) -> None:
        """As above."""
        super().__init__(why)
        self.good_until = good_until
        self.why = why


class AlarmMonitor:
    """Measures at every tick, raises alarms, and does what the recipe's policy says.

    `rollbacks` counts how often the run has been taken back.
    """

    trainer: Trainer

    def __init__(
        self, folder: RunDir, recipe: Recipe, step: GANStep, plan: TrainPlan, say: Callable[[str], None]
    ) -> None:
        """`trainer` is set when it is built, since its callbacks are this one's."""
        self.folder, self.recipe, self.step, self.plan, self.say = folder, recipe, step, plan, say
        self.options = recipe.alarms
        self.rollbacks = 0
        networks = {"generator": step.networks.generator, "discriminator": step.networks.discriminator}
        self.networks = networks
        self.spectra = Spectra(networks, recipe.seed, self.options.spectra_iterations)
        self.ignorant = loss_at_zero_logits(step.loss)
        self.ticks: list[Tick] = []
        self._schedules = (
            step.discriminator_optimizer,
            step.generator_optimizer,
            step.auxiliary_optimizers,
        )
        self._alarms = alarms_of(self.options)
        self._signs: dict[str, AlarmSignal] = {}
        self._clean_until = 0
        self._seen = 0
        """Images before the round that is being played."""

    def begin(self, progress: Progress) -> None:
        """Before the first round of a sitting, when the run stands where it goes on."""
        self._clean_until = self._seen = progress.images_seen
        log, measured = ([], []) if rank() else (self.folder.log(), self.folder.spectra())
        spectra = {int(line["images"]): line for line in measured}
        self.ticks = [self._tick(line, spectra.get(line["images"], {})) for line in log]
        # Once: a second look at the same weights would start, and the next tick end, elsewhere.
        if progress.images_seen == 0 and self.options.spectra and not self.spectra.state_dict():
            first = self.spectra.measure()
            if rank() == 0 and not spectra:
                with writing(self.folder, "spectra.jsonl"):
                    self.folder.append_spectra({"images": 0, **first})

    def look(self, entry: Entry, progress: Progress) -> None:
        """Measures, raises alarms and tells them; before the tick's line is written."""
        entry[DIVERSITY] = self._diversity()
        spectra = self.spectra.measure() if self.options.spectra else {}
        self._refuse_spoilt(spectra, progress.images_seen)
        if rank() == 0 and spectra:
            with writing(self.folder, "spectra.jsonl"):
                self.folder.append_spectra({"images": progress.images_seen, **spectra})
        self.ticks.append(self._tick(entry, spectra))
        found = {name: newly_raised(alarm, self.ticks) for name, alarm in self._alarms.items()}
        self._signs = {name: sign for name, sign in found.items() if sign is not None}
        if self._signs:
            entry[ALARMS_RAISED] = ", ".join(self._signs)
        for name, sign in self._signs.items():
            alarm = ALARMS[name]
            self._tell(name, sign, progress.images_seen, alarm.why, alarm.remedies)

    @property
    def newest_spectra(self) -> Mapping[str, Spectrum]:
        """Those of the tick that was looked at last."""
        return self.ticks[-1].spectra

    def act(self, entry: Entry, progress: Progress) -> None:
        """Turns the run where the policy says so; before the tick's checkpoint, which would not be good."""
        good_until = min((sign.good_until for sign in self._signs.values()), default=progress.images_seen)
        raised, good_until = all_gather_ints(len(self._signs), good_until)[0]  # rank 0 decides for all
        if raised:
            names = ", ".join(self._signs)
            self._turn(
                good_until, f"{_alarms(names)} at {progress.images_seen:,} images", beyond_repair=False
            )

    def watched(self, at_round: Callable[[int], None]) -> Callable[[int], None]:
        """What comes after every round: the look for what is not finite, then `at_round`."""

        def both(images_seen: int) -> None:
            self.at_round(images_seen)
            at_round(images_seen)

        return both

    def at_round(self, images_seen: int) -> None:
        """Finds what is not finite as soon as that needs no wait, and at every tick's end."""
        plan, sentinel = self.plan, self.step.nonfinite_guard
        tick, self._seen = self._seen // plan.tick_images, images_seen
        ends = images_seen // plan.tick_images > tick or images_seen >= plan.total_images
        alone = world_size() == 1
        if not (sentinel.has_broken() if ends else alone and sentinel.has_noticed()):
            if ends or (alone and plan.device.type == "cpu"):
                self._clean_until = images_seen
            broken = False
        else:
            broken = True
        if ends:
            broken = any(told[0] for told in all_gather_ints(int(broken)))
        if broken:
            self._broken(images_seen)

    def _refuse_spoilt(self, spectra: Mapping[str, Spectrum], images_seen: int) -> None:
        """Weights that something other than a gradient has spoilt, such as a technique after an update."""
        spoilt = [
            f"{player} {layer_in_words(layer)}"
            for player, spectrum in spectra.items()
            for layer, values in spectrum.items()
            if not all(map(math.isfinite, values))
        ]
        if spoilt:
            saw = f"weights that are not finite before {images_seen:,} images, the first in {spoilt[0]}"
            self._not_finite(saw, images_seen)

    def _broken(self, images_seen: int) -> None:
        self._not_finite(self._diagnosis(images_seen), images_seen)

    def _not_finite(self, saw: str, images_seen: int) -> None:
        ticks = [0, 0, *(tick.images for tick in self.ticks)]
        sign = AlarmSignal(saw, ticks[-2])  # what ends so has its signs before
        self._tell(NON_FINITE, sign, images_seen, WHY, REMEDIES)
        self._turn(sign.good_until, saw, beyond_repair=True)

    def _diagnosis(self, images_seen: int) -> str:
        broken = self.step.nonfinite_guard.broken()
        told = all_gather_ints(int(broken is not None and bool(broken.statistics)))
        of_rank = next((place for place, (has_losses,) in enumerate(told) if has_losses), 0)
        if broken is None:
            return f"values that are not finite on another rank before {images_seen:,} images"
        # Of several ranks none looks: they would have to play it again together.
        layer, looked = self._first_layer() if world_size() == 1 else (None, False)
        moved = self._moved().items()
        names = {name: [one for one, _ in network.named_parameters()] for name, network in moved}
        exact = self.plan.device.type == "cpu"
        turns = "before" if exact and world_size() == 1 else "some rounds before"
        return sentence(broken, names, layer, images_seen, turns, of_rank, looked)

    def _moved(self) -> Mapping[str, torch.nn.Module]:
        companions = {name: one.network for name, one in self.step.auxiliary_networks.items()}
        return {**self.networks, **companions}

    def _first_layer(self) -> tuple[str | None, bool]:
        """Plays the rounds since all was well again, with the weights as they were at the broken turn.

        The layer, if one was found; and whether every round was looked at and one of them broke again, so
        that none that is found says something. Networks are not compiled here: there no hook is heard.
        """
        trainer, networks = self.trainer, self._moved()
        progress, turns, batch = trainer.progress, trainer.plan.steps, trainer.plan.batch_size
        until, running_means = progress.images_seen, trainer.running_means
        early = max(0, turns.iteration_after(until // batch) - REPLAYED_ROUNDS)
        begins = max(self._clean_until, turns.discriminator_steps_before(early) * batch)
        progress.images_seen, trainer.running_means = begins, RunningMeans()
        try:
            with self.step.compute.eager():
                while progress.images_seen < until:
                    with first_not_finite(networks) as found:
                        trainer.iteration()
                    if found:
                        player, _, name = found[0].partition(" layer ")
                        return found[0] + with_what_is_wrong(networks[player], name), True
            broke_again = not all(map(math.isfinite, trainer.running_means.means().values()))
        finally:
            progress.images_seen, trainer.running_means = until, running_means
        return None, broke_again and begins == self._clean_until

    def _tell(self, name: str, sign: AlarmSignal, images_seen: int, why: str, remedies: str) -> None:
        if rank():
            return
        with writing(self.folder, "alarms.jsonl"):
            self.folder.append_alarm(
                {
                    "images": images_seen,
                    "alarm": name,
                    "rollbacks": self.rollbacks,
                    "saw": sign.saw,
                    "why": why,
                    "try": remedies,
                }
            )
        self.say(f"ALARM {name} at {images_seen:,} images: {sign.saw}. It matters: {why}. Try {remedies}.")

    def _turn(self, good_until: int, why: str, *, beyond_repair: bool) -> None:
        options = self.options
        if options.policy == "rollback" and self.rollbacks < options.max_rollbacks:
            raise RollbackRequested(good_until, why)
        if options.policy == "warn" and not beyond_repair:
            return
        had = f" after {self.rollbacks} rollbacks" if options.policy == "rollback" else ""
        left = (
            "its last checkpoint is kept"
            if in_folder(self.folder.checkpoints)
            else "it has no checkpoint yet"
        )
        raise AlarmError(
            f"{why}: the run is stopped{had} and {left}; change the recipe in another "
            "--out" + ("" if beyond_repair else ", or go on as it is with --set alarms.policy=warn")
        )

    def _tick(self, line: Mapping[str, Any], spectra: Mapping[str, Any]) -> Tick:
        known: dict[str, Spectrum] = {name: spectra[name] for name in self.networks if name in spectra}
        return Tick(int(line["images"]), {**line, IGNORANT: self.ignorant}, known)

    @torch.no_grad()
    def _diversity(self) -> float:
        """Nearest distances among generated images as a share of those among real ones.

        The generator draws as it does in training, by the batch; nothing that it remembers is changed.
        """
        trainer, plan = self.trainer, self.plan
        generator = self.step.networks.generator
        before = {name: buffer.clone() for name, buffer in generator.named_buffers()}
        sums = torch.zeros(2)
        for number in range(-(-DIVERSITY_IMAGES // plan.batch_size)):
            images_seen = trainer.progress.images_seen + number * plan.batch_size
            context = StepContext(
                images_seen, plan.total_images, "generator", number, trainer.plan.seed, plan.device
            )
            pixels, labels = trainer.stream.at(images_seen)
            random = context.random("diversity")
            latents = random.own(trainer.draw_latents(plan.batch_size, random.generator))
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

    def about(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"rollbacks": self.rollbacks}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Tensors for a checkpoint."""
        return {f"spectra.{name}": value for name, value in self.spectra.state_dict().items()}

    def restore(self, about: Mapping[str, Any], spectra: Mapping[str, torch.Tensor]) -> None:
        """Takes up what a checkpoint says; one of an older version says nothing."""
        self.spectra.load_state_dict(spectra)
        self.take_count(int(about.get("rollbacks", 0)))

    def take_count(self, rollbacks: int) -> None:
        """Counts so many rollbacks, each of which has given every draw a new key and lowered the rates."""
        self.rollbacks = rollbacks
        self.trainer.plan = replace(self.plan, seed=key_after(self.recipe.seed, rollbacks))
        factor = self.options.rate_factor**rollbacks
        discriminator, generator, companions = self._schedules
        self.step.discriminator_optimizer = _scaled(discriminator, factor)
        self.step.generator_optimizer = _scaled(generator, factor)
        self.step.auxiliary_optimizers = {name: _scaled(one, factor) for name, one in companions.items()}


def _scaled(scheduled: ScheduledOptimizer, factor: float) -> ScheduledOptimizer:
    return scheduled if factor == 1 else replace(scheduled, rate=lambda share: factor * scheduled.rate(share))


def key_after(seed: int, rollbacks: int) -> int:
    """The seed of a run's draws after so many rollbacks: the recipe's own before the first."""
    return seed if rollbacks == 0 else rng.key(seed, f"rollback {rollbacks}")


def loss_at_zero_logits(loss: Loss) -> float | None:
    """The discriminator's loss at logits of 0, for a loss that cannot be less than 0; None for others."""
    if loss.compares_images:
        return None
    nothing, much = torch.zeros(2), torch.full((2,), 30.0)
    at_most, at_nothing = (
        float(loss.discriminator_loss(real, -real, Targets.for_logits(real, real)))
        for real in (much, nothing)
    )
    return None if at_most < 0 else at_nothing


def _alarms(names: str) -> str:
    return f"the alarm{'s' if ',' in names else ''} {names}"
