"""What one rank of `test_ranks` runs, in a process of its own: runs that two ranks share.

python one_training_rank.py FOLDER RECIPE DATA OTHER_DATA   the rest as torchrun's
"""

import hashlib
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

import kennel.evaluation.judge
from kennel import cancellation, distributed
from kennel.config.recipe import Recipe, from_yaml, override
from kennel.distributed import rank, ranks_together, single_process
from kennel.engine import trainer
from kennel.engine.observer import TrainObserver
from kennel.engine.state import TrainState
from kennel.errors import JudgementError, RemoteRankError
from kennel.recipes import get_recipe
from kennel.runs import checkpoint
from kennel.shapes import Scalar
from kennel.techniques import TECHNIQUES, ForwardOutput, LossTerm
from kennel.training import rank_sync
from kennel.training.run import train
from kennel.training.validation import Validator

folder, recipe_file, data, other_data = map(Path, sys.argv[1:5])
recipe = from_yaml(recipe_file.read_text(), str(recipe_file))
said: list[str] = []


class Listening(TrainObserver):
    """Remembers what was said."""

    def log(self, sentence: str) -> None:
        said.append(sentence)


@TECHNIQUES.register("sabotage")
class Sabotage(LossTerm):
    """Spoils after 80 images, under the run's first key: all ranks' spectra, or the last rank's loss.

    A term of the loss that is "detached" spoils its value alone, and no gradient.
    """

    what: str = "spectrum"

    def due(self, output: ForwardOutput) -> bool:
        return output.context.images_seen > 80 and output.context.seed == recipe.seed

    def generator_term(self, output: ForwardOutput) -> Scalar | None:
        if self.what == "spectrum":
            return None
        images = output.fake.detach() if self.what == "detached" else output.fake
        return images.mean() * (torch.inf if rank() and self.due(output) else 0.0)

    @torch.no_grad()
    def after_generator(self, output: ForwardOutput) -> None:
        if self.what == "spectrum" and self.due(output):
            output.networks.generator.get_submodule("layers.2").weight.mul_(3.0)


def shared(name: str, content: Recipe = recipe, source: Path = data, parent: Path | None = None) -> bool:
    """A run in `FOLDER/name`."""
    return train(content, source, folder / name, observer=Listening(), parent=parent)


def stop_in_round(number: int) -> None:
    """Rank 1 alone is asked to stop."""
    rank_sync.SYNC_SECONDS = 0.0  # the ranks meet before every round
    if rank():
        at_round(number, lambda state: signal.raise_signal(signal.SIGTERM))


def at_round(number: int, act: Callable[[TrainState], None]) -> None:
    """After so many more rounds this rank does something, once."""
    plain, left = trainer.iterate, number

    def round_and_more(state: TrainState) -> None:
        nonlocal left
        plain(state)
        left -= 1
        if left == 0:
            act(state)
            trainer.iterate = plain

    trainer.iterate = round_and_more


def whole() -> bool:
    """The run that nobody disturbs."""
    return shared("whole")


def stopped() -> bool:
    """Rank 1 alone is asked to stop, in the middle of a tick."""
    stop_in_round(7)
    return shared("stopped")


def went_on() -> bool:
    """The same command again."""
    rank_sync.SYNC_SECONDS = 1.0
    return shared("stopped")


def alone_it_goes_on() -> bool:
    """What two ranks began one process ends, and the other way round is no different."""
    stop_in_round(7)
    assert not shared("ended alone")
    if rank() == 0:
        with single_process():
            return shared("ended alone")
    return True


def patience() -> bool:
    """The metric does not improve: what rank 0 alone knows ends the run everywhere."""
    waiting = [
        "validation.every_ticks=1",
        "validation.num_samples=40",
        "validation.patience=1",
        "num_ticks=8",
    ]
    return shared("patience", override(recipe, [*waiting, "validation.metric=recall"]))


def uneven() -> bool:
    """Two ranks do not divide nine images."""
    return shared("uneven", override(recipe, ["batch_size=9"]))


def other_set() -> bool:
    """Rank 1 has another set."""
    return shared("other set", source=other_data if rank() else data)


def drift() -> bool:
    """Rank 1's weights are no longer those of rank 0."""

    def disturb(state: TrainState) -> None:
        with torch.no_grad():
            next(state.step.networks.generator.parameters()).view(-1)[0].add_(1e-3)

    if rank():
        at_round(2, disturb)
    return shared("drift")


def fails_at_a_tick() -> bool:
    """Rank 0 cannot write."""
    if rank() == 0:
        at_round(3, lambda state: (folder / "full" / "checkpoints").touch())
    return shared("full")


def fails_in_a_round() -> bool:
    """Rank 1 fails where rank 0 waits for its gradients."""

    def fail(state: TrainState) -> None:
        raise OSError(5, "Input/output error", "images.npy")

    if rank():
        at_round(2, fail)
    return shared("unread")


def spoilt(what: str, *settings: str) -> Recipe:
    """The recipe with a sabotage."""
    return override(recipe, [f"techniques.sabotage.what={what}", *settings])


def rolled_back() -> str:
    """An alarm takes both ranks back; tells the state, key and rate with which this one ends."""
    states: list[TrainState] = []
    at_round(1, states.append)
    done = shared("rolled back", spoilt("spectrum", *ROLLBACK))
    step, tally = states[0].step, states[0].running_means
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(checkpoint.collect(step, tally).items()):
        digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return f"{done} {digest.hexdigest()} {states[0].plan.seed} {step.generator_optimizer.rate(0.0):g}"


def rolled_back_in_sittings() -> bool:
    """The same, stopped before its alarm and after its rollback."""
    content = spoilt("spectrum", *ROLLBACK)
    for number in (12, 5):
        stop_in_round(number)
        assert not shared("rolled back in sittings", content)
    return shared("rolled back in sittings", content)


def rolled_back_from_a_loss() -> bool:
    """One rank's loss is not finite, and both go back."""
    return shared("rolled back from a loss", spoilt("loss", *ROLLBACK))


def rolled_back_from_a_boosted_round() -> bool:
    """The same where a tick ends in the middle of a round's many turns."""
    boost = "steps.extra_d_steps={steps: 3, first: 100, interval: 0}"
    return shared("rolled back from a boosted round", spoilt("loss", boost, *ROLLBACK))


def detached() -> bool:
    """One rank's loss is not finite and all gradients are; tells the weights after some more rounds."""

    def tell(state: TrainState) -> None:
        print("detached_weights", *(rank_sync.digest(network) for network in state.step.networks.both()))

    at_round(14, tell)
    return shared("detached", spoilt("detached"))


def not_finite() -> bool:
    """The same where nobody goes back."""
    return shared("not finite", spoilt("loss"))


def scores_fail() -> bool:
    """Rank 0 fails in the scores, for which rank 1 waits; tells for how many days it would."""
    content = override(recipe, ["validation.every_ticks=1", "validation.num_samples=40"])
    patiences: list[timedelta] = []
    values, heads = Validator.values, distributed._heads

    def failing(validator: Validator, *about: Any) -> dict[str, float]:
        values(validator, *about)
        raise JudgementError("no scores")

    def noted(patience: timedelta, own: tuple[int, ...]) -> list[tuple[int, ...]]:
        patiences.append(patience)
        return heads(patience, own)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validator, "values", failing)
        patch.setattr(distributed, "_heads", noted)
        try:
            return shared("scores fail", content)
        except RemoteRankError:
            print("scores_waited_for", patiences[-1].days)
            raise


def dropout() -> bool:
    """Tells what a layer drops in the second round: the share, and which."""
    masks: list[torch.Tensor] = []

    def listen(state: TrainState) -> None:
        for layer in state.step.networks.discriminator.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.register_forward_hook(lambda layer, given, dropped: masks.append(dropped == 0))

    at_round(1, listen)
    done = shared(
        "dropout", override(recipe, ["discriminator={name: mlp, hidden: [16], dropout: 0.5}", *SHORT])
    )
    mask = masks[0]
    print("dropped", float(mask.double().mean()), hashlib.blake2b(mask.numpy().tobytes()).hexdigest())
    return done


def standing() -> bool:
    """Samples by standing statistics, which one rank makes for its grids and all make for a validation."""
    settings = ["sampling.standing_stats_batches=1", "validation.every_ticks=1", "validation.num_samples=40"]
    content = override(recipe, [*settings, *SHORT])
    done = shared("standing", content)
    if rank() == 0:
        with single_process():
            done = shared("standing alone", content) and done
    return done


def forked() -> bool:
    """A new run from another's weights, on both ranks and on one."""
    content = override(recipe, ["generator_optimizer.learning_rate=1e-4"])
    done = shared("forked", content, parent=folder / "whole")
    if rank() == 0:
        with single_process():
            done = shared("forked alone", content, parent=folder / "whole") and done
    return done


def tick_due() -> bool:
    """One process gives up the validation of its second tick; two ranks do it."""
    content = override(recipe, ["validation.every_ticks=2", "validation.num_samples=40"])
    if rank() == 0:
        plain = kennel.evaluation.judge.raise_if_cancelled

        def asked() -> None:
            signal.raise_signal(signal.SIGTERM)
            cancellation.raise_if_cancelled()

        kennel.evaluation.judge.raise_if_cancelled = asked  # type: ignore[attr-defined]
        with single_process():
            assert not shared("tick due", content)
        kennel.evaluation.judge.raise_if_cancelled = plain  # type: ignore[attr-defined]
        newest = checkpoint.newest(folder / "tick due" / "checkpoints")
        assert newest is not None
        assert newest.metadata["tick_due"]
        assert newest.images_seen == 80
    return shared("tick due", content)


def with_instances() -> bool:
    """Rank 0 alone looks at the images for what all are conditioned on, and one process does the same."""
    content = override(get_recipe("projected"), INSTANCES)
    done = shared("with instances", content, folder / "pictures")
    if rank() == 0:
        with single_process():
            done = shared("with instances alone", content, folder / "pictures") and done
    return done


INSTANCES = (
    *(
        "image.size=32",
        "image.channels=1",
        "batch_size=8",
        "num_ticks=1",
        "budget.images=24",
        "generator.base_channels=2",
    ),
    *("discriminator.features=untrained", "discriminator.base_channels=2", "discriminator.max_channels=8"),
    *("instances.extractor=pixels", "instances.dim=4", "instances.neighbors=2"),
    "validation.every_ticks=0",
)
SHORT = ("num_ticks=1", "budget.images=40")
ROLLBACK = ("alarms.policy=rollback", "alarms.rate_factor=0.5")
CASES: tuple[Callable[[], object], ...] = (
    *(whole, stopped, went_on, alone_it_goes_on, patience, uneven, other_set, drift),
    *(fails_at_a_tick, fails_in_a_round),
    *(rolled_back, rolled_back_in_sittings, rolled_back_from_a_loss, rolled_back_from_a_boosted_round),
    *(detached, not_finite, scores_fail, dropout, standing, forked, tick_due),
    with_instances,
)


def ended(case: Callable[[], object]) -> str:
    """How a case went, with what rank 0 reports."""
    reported: list[str] = []
    try:
        with ranks_together(lambda error: reported.append(str(error)), str):
            return f"{case()}"
    except SystemExit as error:
        return f"{error!r} {reported}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in CASES:
        print(case.__name__, ended(case), [one for one in said if "stop" in one or "stopping" in one])
        said.clear()
        sys.stdout.flush()
