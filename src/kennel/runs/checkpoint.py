"""Checkpoints: one atomic safetensors file each, with JSON metadata and a checksum; never a pickle."""

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
    """A checkpoint's tensors by name, and its metadata (plain JSON values)."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]

    @property
    def images_seen(self) -> int:
        return int(self.metadata["images_seen"])

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix.`, without that prefix."""
        start = f"{prefix}."
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes one checkpoint atomically. Raises `OSError` if the disk is full."""
    safetensors_io.write(path, tensors, about)


def load(path: Path, run: str | None = None) -> Checkpoint:
    """Reads and verifies one checkpoint.

    Raises `CheckpointError` if the file is damaged, is not kennel's, does not match its file name, or names
    another run than `run` (see `runs.identity`); and `CheckpointFormatError` if a newer kennel wrote it.
    """
    tensors, about = safetensors_io.read(path)
    found = Checkpoint(path, tensors, about)
    if path.stem.isdigit() and int(path.stem) != found.images_seen:
        raise CheckpointError(
            f"the checkpoint {path} has {found.images_seen:,} images, which its name does not match"
        )
    if run is not None and about.get("run", run) != run:
        raise OtherRunError(f"the checkpoint {path} is of another run, with another recipe or other data")
    return found


def _flag(path: Path, key: str, default: bool) -> bool:
    try:
        return bool(safetensors_io.read_metadata(path).get(key, default))
    except CheckpointError:
        return default


def at_tick(path: Path) -> bool:
    """Whether a checkpoint was written at a tick; also True if the file does not say so or is damaged."""
    return _flag(path, "at_tick", True)


def stays(path: Path) -> bool:
    """Whether a checkpoint is kept permanently; False if it is damaged."""
    return _flag(path, "stays", False)


def name_for(images_seen: int) -> str:
    """The file name of a numbered checkpoint; names sort by age."""
    return f"{images_seen:012d}{SUFFIX}"


def in_folder(folder: Path) -> list[Path]:
    """The numbered checkpoints of a folder, newest first."""
    return sorted((path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit()), reverse=True)


def newest(
    folder: Path, on_damage: Callable[[CheckpointError], None] | None = None, run: str | None = None
) -> Checkpoint | None:
    """The newest intact checkpoint, or None; `on_damage(error)` is called for each damaged one.

    `run` is the identity that it must have. Raises `CheckpointFormatError` for a checkpoint of a newer kennel
    instead of going back to an older one. A run in training may remove files meanwhile.
    """
    paths, damaged, others = in_folder(folder), set(), 0
    while paths:
        path = paths.pop(0)
        try:
            return load(path, run)
        except CheckpointFormatError:
            raise
        except CheckpointError as error:
            if not path.is_symlink() and not path.exists():
                paths = [one for one in in_folder(folder) if one not in damaged]
                continue
            damaged.add(path)
            others += isinstance(error, OtherRunError)
            if on_damage is not None:
                on_damage(error)
    if damaged and others == len(damaged):
        raise OtherRunError(
            f"the {len(damaged)} checkpoint{'s' if others > 1 else ''} in {folder} "
            f"{'are' if others > 1 else 'is'} intact, but of another recipe or other data than recipe.yaml "
            "and run.json: restore these two files, or start in another folder"
        )
    if damaged:
        raise CheckpointError(
            f"none of the {len(damaged)} checkpoints in {folder} is intact: start again in another folder"
        )
    return None


def quarantine(path: Path) -> Path:
    """Renames a damaged checkpoint, so that it is neither read nor counted as a checkpoint."""
    return path.replace(path.with_name(f"{path.name}.damaged"))


def prune(folder: Path, count: int) -> None:
    """Removes numbered checkpoints except the newest `count` and those kept permanently."""
    for path in in_folder(folder)[count:]:
        if not stays(path):
            path.unlink(missing_ok=True)


def collect(step: GANStep, running_means: RunningMeans) -> dict[str, Tensor]:
    """All tensors by name that a run needs to continue exactly."""
    tensors: dict[str, Tensor] = {}

    def add(prefix: str, state: Mapping[str, Tensor]) -> None:
        tensors.update({f"{prefix}.{name}": value for name, value in state.items()})

    add("generator", step.networks.generator.state_dict())
    add("discriminator", step.networks.discriminator.state_dict())
    for name, scheduled in _optimizers(step).items():
        add(name, _optimizer_state(scheduled.optimizer))
    for name, technique in step.named_techniques.items():
        add(f"technique.{name}", technique.state_dict())
    add("tally", running_means.state_dict())
    return tensors


def restore(checkpoint: Checkpoint, step: GANStep, running_means: RunningMeans) -> None:
    """Loads a checkpoint into new objects built from the same recipe."""
    try:
        step.networks.generator.load_state_dict(checkpoint.below("generator"))
        step.networks.discriminator.load_state_dict(checkpoint.below("discriminator"))
        for name, technique in step.named_techniques.items():
            state = checkpoint.below(f"technique.{name}")
            _refuse_other_shapes(f"the technique {name}", state, technique.state_dict())
            technique.load_state_dict(state)
        for name, scheduled in _optimizers(step).items():
            _restore_optimizer(scheduled.optimizer, checkpoint.below(name))
        running_means.load_state_dict(checkpoint.below("tally"))
    except (RuntimeError, LookupError, ValueError, TypeError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[-1].strip()
        raise CheckpointError(f"{checkpoint.path} was written for other networks: {reason}") from None


def _optimizers(step: GANStep) -> dict[str, ScheduledOptimizer]:
    return {
        "generator_optimizer": step.generator_optimizer,
        "discriminator_optimizer": step.discriminator_optimizer,
        **{f"auxiliary_optimizer.{name}": one for name, one in step.auxiliary_optimizers.items()},
    }


def _optimizer_state(optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": value
        for index, parameter in enumerate(parameters_of(optimizer))
        for name, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)  # SGD without momentum has a None
    }


def _restore_optimizer(optimizer: Optimizer, state: Mapping[str, Tensor]) -> None:
    """Copies each value into a tensor with the memory layout of its parameter.

    Fused kernels read parameter and state in parallel, so a contiguous state of a channels-last parameter
    would pair the wrong numbers, and a shorter one would be read out of bounds. They need the step count on
    the device, other optimizers on the CPU. Older state is cleared, so that a checkpoint from before the
    first step gives a new optimizer.
    """
    optimizer.state.clear()
    groups = [(one, group) for group in optimizer.param_groups for one in group["params"]]
    known, named = _state_names(optimizer), defaultdict(set)
    for key, value in state.items():
        index, name = key.split(".", 1)
        parameter, group = groups[int(index)]
        named[parameter].add(name)
        shape = () if name == "step" else parameter.shape
        if name not in known or value.shape != shape or value.is_complex():
            raise ValueError(
                f"an optimizer's {name} of shape {tuple(value.shape)} does not fit parameter {index}"
            )
        if name == "step":
            restored = value.to(parameter.device if group.get("fused") else "cpu", copy=True)
        else:
            restored = torch.empty_like(parameter, requires_grad=False).copy_(value)
        optimizer.state[parameter][name] = restored
    if any(names != known for names in named.values()):
        raise ValueError(f"an optimizer's state lacks some of {', '.join(sorted(known))}")


def _state_names(optimizer: Optimizer) -> set[str]:
    """The names of the tensors that an optimizer with these options keeps per parameter."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    one = type(optimizer)([parameter], **optimizer.defaults)
    one.step()
    return {name for name, value in one.state[parameter].items() if isinstance(value, Tensor)}


def _refuse_other_shapes(part: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises `ValueError` for unexpected names, shapes or complex numbers."""
    if state.keys() != expected.keys():
        other = sorted(state.keys() ^ expected.keys())[0]
        raise ValueError(f"{part} has {'no' if other in expected else 'an unknown'} {other}")
    for name, value in state.items():
        if value.shape != expected[name].shape or value.is_complex():
            given, needed = tuple(value.shape), tuple(expected[name].shape)
            raise ValueError(f"{name} of {part} has shape {given} and should have {needed}")
