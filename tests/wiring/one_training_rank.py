"""What one rank of `test_ranks` runs, in a process of its own: runs that two ranks share.

python one_training_rank.py FOLDER RECIPE DATA OTHER_DATA PORT ...   one for each case; the rest as torchrun's
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from kennel.distributed import alone, rank, ranks_together
from kennel.recipe import Recipe, from_yaml, override
from kennel.trainer import Trainer
from kennel.watch import Watch
from kennel.wiring import ranks, train

folder, recipe_file, data, other_data = map(Path, sys.argv[1:5])
recipe = from_yaml(recipe_file.read_text(), str(recipe_file))
said: list[str] = []


class Listening(Watch):
    """Remembers what was said."""

    def say(self, sentence: str) -> None:
        said.append(sentence)


def shared(name: str, content: Recipe = recipe, source: Path = data) -> bool:
    """A run in `FOLDER/name`."""
    return train(content, source, folder / name, watch=Listening())


def at_round(number: int, act: Callable[[Trainer], None]) -> None:
    """After so many more rounds this rank does something, once."""
    plain, left = Trainer.round, number

    def round_and_more(trainer: Trainer) -> None:
        nonlocal left
        plain(trainer)
        left -= 1
        if left == 0:
            act(trainer)
            Trainer.round = plain  # type: ignore[method-assign]

    Trainer.round = round_and_more  # type: ignore[method-assign]


def whole() -> bool:
    """The run that nobody disturbs."""
    return shared("whole")


def stopped() -> bool:
    """Rank 1 alone is asked to stop, in the middle of a tick."""
    ranks.APART = 0.0  # the ranks meet before every round
    if rank():
        at_round(7, lambda trainer: signal.raise_signal(signal.SIGTERM))
    return shared("stopped")


def went_on() -> bool:
    """The same command again."""
    ranks.APART = 1.0
    return shared("stopped")


def alone_it_goes_on() -> bool:
    """What two ranks began one process ends, and the other way round is no different."""
    ranks.APART = 0.0
    if rank():
        at_round(7, lambda trainer: signal.raise_signal(signal.SIGTERM))
    assert not shared("ended alone")
    if rank() == 0:
        with alone():
            return shared("ended alone")
    return True


def patience() -> bool:
    """The metric does not improve: what rank 0 alone knows ends the run everywhere."""
    waiting = ["validation.every_ticks=1", "validation.count=40", "validation.patience=1", "ticks=8"]
    return shared("patience", override(recipe, [*waiting, "validation.metric=recall"]))


def uneven() -> bool:
    """Two ranks do not divide nine images."""
    return shared("uneven", override(recipe, ["batch=9"]))


def other_set() -> bool:
    """Rank 1 has another set."""
    return shared("other set", source=other_data if rank() else data)


def drift() -> bool:
    """Rank 1's weights are no longer those of rank 0."""

    def disturb(trainer: Trainer) -> None:
        with torch.no_grad():
            next(trainer.step.players.generator.parameters()).view(-1)[0].add_(1e-3)

    if rank():
        at_round(2, disturb)
    return shared("drift")


def fails_at_a_tick() -> bool:
    """Rank 0 cannot write."""
    if rank() == 0:
        at_round(3, lambda trainer: (folder / "full" / "checkpoints").touch())
    return shared("full")


def fails_in_a_round() -> bool:
    """Rank 1 fails where rank 0 waits for its gradients."""

    def fail(trainer: Trainer) -> None:
        raise OSError(5, "Input/output error", "images.npy")

    if rank():
        at_round(2, fail)
    return shared("unread")


CASES = (
    *(whole, stopped, went_on, alone_it_goes_on, patience, uneven, other_set, drift),
    *(fails_at_a_tick, fails_in_a_round),
)


def ended(case: Callable[[], bool]) -> str:
    """How a case went, with what rank 0 reports."""
    reported: list[str] = []
    try:
        with ranks_together(lambda error: reported.append(str(error)), str):
            return f"{case()}"
    except SystemExit as error:
        return f"{error!r} {reported}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case, port in zip(CASES, sys.argv[5:], strict=True):
        os.environ["MASTER_PORT"] = port
        print(case.__name__, ended(case), [one for one in said if "stop" in one or "stopping" in one])
        said.clear()
        sys.stdout.flush()
