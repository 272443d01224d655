"""One atomic file a checkpoint: safetensors, with plain JSON and a checksum in its header. Never a pickle."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from kennel.engine.optim import ScheduledOptimizer, parameters_of
from kennel.engine.running_means import RunningMeans
from kennel.engine.step import GANStep
from kennel.errors import CheckpointError, CheckpointFormatError, OtherRunError
from kennel.storage import safetensors_io

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's tensors by name, and what it says about itself (plain JSON values)."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]

    @property
    def images_seen(self) -> int:
        """Images shown to the discriminator until then."""
        return int(self.metadata["images_seen"])

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix.`, without it."""
        start = f"{prefix}."
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes one checkpoint; until it is whole, `path` stays as it was. `OSError` where the disk is full."""
    safetensors_io.write(path, tensors, about)


def load(path: Path, run: str | None = None) -> Checkpoint:
    """Reads and verifies one checkpoint.

    Raises `CheckpointError` where the file is truncated, has a flipped bit, is not kennel's, is not the one
    that its name says, or is not of the run with the identity `run`, where that is given and the file names
    its own; and `CheckpointFormatError` where a newer kennel wrote it.
    """
    tensors, about = safetensors_io.read(path)
    found = Checkpoint(path, tensors, about)
    if path.stem.isdigit() and int(path.stem) != found.images_seen:
        raise CheckpointError(
            f"the checkpoint {path} is that of {found.images_seen:,} images by another name"
        )
    if run is not None and about.get("run", run) != run:
        raise OtherRunError(f"the checkpoint {path} is of another run, with another recipe or other data")
    return found


def at_tick(path: Path) -> bool:
    """Whether a checkpoint was written at a tick, or says nothing to the contrary; damaged ones may have."""
    try:
        return bool(safetensors_io.read_metadata(path).get("at_tick", True))
    except CheckpointError:
        return True


def name_for(images_seen: int) -> str:
    """File names that sort by age."""
    return f"{images_seen:012d}{SUFFIX}"


def in_folder(folder: Path) -> list[Path]:
    """The numbered checkpoints of a folder, newest first."""
    return sorted((path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit()), reverse=True)


def newest(
    folder: Path, on_damage: Callable[[CheckpointError], None] | None = None, run: str | None = None
) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None; `on_damage(error)` is told of each that is not.

    `run` is the identity of the run whose it must be. One that a newer kennel wrote is whole: nobody goes
    behind it, and `CheckpointFormatError` is raised. A run that trains meanwhile may take an older one away.
    """
    paths, told, others = in_folder(folder), set(), 0
    while paths:
        path = paths.pop(0)
        try:
            return load(path, run)
        except CheckpointFormatError:
            raise
        except CheckpointError as error:
            if not path.is_symlink() and not path.exists():
                paths = [one for one in in_folder(folder) if one not in told]
                continue
            told.add(path)
            others += isinstance(error, OtherRunError)
            if on_damage is not None:
                on_damage(error)
    if told and others == len(told):
        raise OtherRunError(
            f"the {len(told)} checkpoint{'s' if others > 1 else ''} in {folder} "
            f"{'are' if others > 1 else 'is'} whole and of another recipe or other data than recipe.yaml and "
            "run.json beside it tell of: bring these back as they were, or begin in another folder"
        )
    if told:
        raise CheckpointError(
            f"none of the {len(told)} checkpoints in {folder} is whole: start again in another folder"
        )
    return None


def quarantine(path: Path) -> Path:
    """Renames a damaged checkpoint, so that it is neither taken for one nor kept in place of a whole one."""
    return path.replace(path.with_name(f"{path.name}.damaged"))


def stays(path: Path) -> bool:
    """Whether a checkpoint was written to stay for good; damaged ones were not."""
    try:
        return bool(safetensors_io.read_metadata(path).get("stays", False))
    except CheckpointError:
        return False


def prune(folder: Path, count: int) -> None:
    """Removes all but the newest `count` numbered checkpoints and those that stay for good."""
    for path in in_folder(folder)[count:]:
        if not stays(path):
            path.unlink(missing_ok=True)


def collect(step: GANStep, running_means: RunningMeans) -> dict[str, Tensor]:
    """Everything that a run needs to go on as if it had never stopped, by name."""
    tensors: dict[str, Tensor] = {}

    def add(prefix: str, state: Mapping[str, Tensor]) -> None:
        tensors.update({f"{prefix}.{name}": value for name, value in state.items()})

    add("generator", step.networks.generator.state_dict())
    add("discriminator", step.networks.discriminator.state_dict())
    for name, scheduled in _optimisers(step).items():
        add(name, _optimiser_state(scheduled.optimizer))
    for name, technique in step.named_techniques.items():
        add(f"technique.{name}", technique.state_dict())
    add("tally", running_means.state_dict())
    return tensors


def restore(checkpoint: Checkpoint, step: GANStep, running_means: RunningMeans) -> None:
    """Puts a checkpoint's state into freshly built objects of the same recipe."""
    try:
        step.networks.generator.load_state_dict(checkpoint.below("generator"))
        step.networks.discriminator.load_state_dict(checkpoint.below("discriminator"))
        for name, technique in step.named_techniques.items():
            state = checkpoint.below(f"technique.{name}")
            _refuse_other_shapes(f"the technique {name}", state, technique.state_dict())
            technique.load_state_dict(state)
        for name, scheduled in _optimisers(step).items():
            _restore_optimiser(scheduled.optimizer, checkpoint.below(name))
        running_means.load_state_dict(checkpoint.below("tally"))
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[-1].strip()
        raise CheckpointError(f"{checkpoint.path} was written for other networks: {reason}") from None


def _optimisers(step: GANStep) -> dict[str, ScheduledOptimizer]:
    return {
        "generator_optimizer": step.generator_optimizer,
        "discriminator_optimizer": step.discriminator_optimizer,
        **{f"auxiliary_optimizer.{name}": one for name, one in step.auxiliary_optimizers.items()},
    }


def _optimiser_state(optimiser: Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": value
        for index, parameter in enumerate(parameters_of(optimiser))
        for name, value in optimiser.state[parameter].items()
        if isinstance(value, Tensor)  # SGD without momentum notes a None
    }


def _restore_optimiser(optimiser: Optimizer, state: Mapping[str, Tensor]) -> None:
    """Copies each value into a tensor laid out like its parameter.

    Fused kernels walk parameter and state side by side in memory: a state read back contiguous beside a
    channels-last parameter would pair the wrong numbers, and a shorter one would lead them out of it. They
    want the count of steps on the device, too; the others want it on the CPU. What the optimizer remembered
    before is forgotten: a checkpoint from before the first step leads back to an optimizer that is new.
    """
    optimiser.state.clear()
    groups = [(one, group) for group in optimiser.param_groups for one in group["params"]]
    known, named = _state_names(optimiser), defaultdict(set)
    for key, value in state.items():
        index, name = key.split(".", 1)
        parameter, group = groups[int(index)]
        named[parameter].add(name)
        shape = () if name == "step" else parameter.shape
        if name not in known or value.shape != shape or value.is_complex():
            raise ValueError(
                f"an optimiser's {name} of shape {tuple(value.shape)} is none of parameter {index}"
            )
        if name == "step":
            restored = value.to(parameter.device if group.get("fused") else "cpu", copy=True)
        else:
            restored = torch.empty_like(parameter, requires_grad=False).copy_(value)
        optimiser.state[parameter][name] = restored
    if any(names != known for names in named.values()):
        raise ValueError(f"an optimiser's state has not all of {', '.join(sorted(known))}")


def _state_names(optimiser: Optimizer) -> set[str]:
    """What an optimizer of this kind and these options remembers of a parameter."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    one = type(optimiser)([parameter], **optimiser.defaults)
    one.step()
    return {name for name, value in one.state[parameter].items() if isinstance(value, Tensor)}


def _refuse_other_shapes(whose: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises `ValueError` where names, shapes or kinds of number are not those that are expected."""
    if state.keys() != expected.keys():
        other = sorted(state.keys() ^ expected.keys())[0]
        raise ValueError(f"{whose} has {'no' if other in expected else 'an unknown'} {other}")
    for name, value in state.items():
        if value.shape != expected[name].shape or value.is_complex():
            given, wanted = tuple(value.shape), tuple(expected[name].shape)
            raise ValueError(f"{name} of {whose} has shape {given} and should have {wanted}")
