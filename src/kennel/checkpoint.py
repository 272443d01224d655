"""One atomic file a checkpoint: safetensors, with plain JSON and a checksum in its header. Never a pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from kennel.atomic import atomic_file
from kennel.errors import CheckpointError
from kennel.monitor import Tally
from kennel.optimisers import Scheduled, parameters_of
from kennel.step import Step

FORMAT = 1
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's tensors by name, and what it says about itself (plain JSON values)."""

    path: Path
    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]

    @property
    def images_seen(self) -> int:
        """Images shown to the discriminator until then."""
        return int(self.about["images_seen"])

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix.`, without it."""
        start = f"{prefix}."
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes one checkpoint; until it is whole, `path` stays as it was."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    content = {"format": FORMAT, "checksum": _checksum(plain), **about}
    with atomic_file(path) as temporary:
        save_file(plain, temporary, metadata={"kennel": json.dumps(content)})


def load(path: Path) -> Checkpoint:
    """Reads and verifies one checkpoint.

    Raises `CheckpointError` where the file is truncated, has a flipped bit, is not kennel's, or is newer.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read ({error})") from None
    if "kennel" not in header:
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of kennel")
    about = json.loads(header["kennel"])
    if about["format"] != FORMAT:
        raise CheckpointError(
            f"the checkpoint {path} has format {about['format']}, this kennel reads {FORMAT}: "
            "use the kennel version that wrote it"
        )
    if about["checksum"] != _checksum(tensors):
        raise CheckpointError(f"the checkpoint {path} is damaged: its checksum does not match")
    return Checkpoint(path, tensors, about)


def name_for(images_seen: int) -> str:
    """File names that sort by age."""
    return f"{images_seen:012d}{SUFFIX}"


def in_folder(folder: Path) -> list[Path]:
    """The numbered checkpoints of a folder, newest first."""
    return sorted((path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit()), reverse=True)


def newest(folder: Path, on_damage: Any = None) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None; `on_damage(error)` is told of each that is not."""
    paths = in_folder(folder)
    for path in paths:
        try:
            return load(path)
        except CheckpointError as error:
            if on_damage is not None:
                on_damage(error)
    if paths:
        raise CheckpointError(
            f"none of the {len(paths)} checkpoints in {folder} is whole: start again in another folder"
        )
    return None


def keep_newest(folder: Path, count: int) -> None:
    """Removes all but the newest `count` numbered checkpoints."""
    for path in in_folder(folder)[count:]:
        path.unlink(missing_ok=True)


def collect(step: Step, tally: Tally) -> dict[str, Tensor]:
    """Everything that a run needs to go on as if it had never stopped, by name."""
    tensors: dict[str, Tensor] = {}

    def add(prefix: str, state: Mapping[str, Tensor]) -> None:
        tensors.update({f"{prefix}.{name}": value for name, value in state.items()})

    add("generator", step.players.generator.state_dict())
    add("discriminator", step.players.discriminator.state_dict())
    for name, scheduled in _optimisers(step).items():
        add(name, _optimiser_state(scheduled.optimiser))
    for name, technique in step.named_techniques.items():
        add(f"technique.{name}", technique.state_dict())
    add("tally", tally.state_dict())
    return tensors


def restore(checkpoint: Checkpoint, step: Step, tally: Tally) -> None:
    """Puts a checkpoint's state into freshly built objects of the same recipe."""
    try:
        step.players.generator.load_state_dict(checkpoint.below("generator"))
        step.players.discriminator.load_state_dict(checkpoint.below("discriminator"))
        for name, technique in step.named_techniques.items():
            technique.load_state_dict(checkpoint.below(f"technique.{name}"))
    except (RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"{checkpoint.path} was written for other networks: {reason}") from None
    for name, scheduled in _optimisers(step).items():
        _restore_optimiser(scheduled.optimiser, checkpoint.below(name))
    tally.load_state_dict(checkpoint.below("tally"))


def _optimisers(step: Step) -> dict[str, Scheduled]:
    return {
        "generator_optimiser": step.generator_optimiser,
        "discriminator_optimiser": step.discriminator_optimiser,
        **{f"companion_optimiser.{name}": one for name, one in step.companion_optimisers.items()},
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
    channels-last parameter would pair the wrong numbers. They want the count of steps on the device, too;
    the others want it on the CPU.
    """
    groups = [(one, group) for group in optimiser.param_groups for one in group["params"]]
    for key, value in state.items():
        index, name = key.split(".", 1)
        parameter, group = groups[int(index)]
        if name == "step":
            restored = value.to(parameter.device if group.get("fused") else "cpu", copy=True)
        else:
            like = parameter if value.shape == parameter.shape else value.to(parameter.device)
            restored = torch.empty_like(like, requires_grad=False).copy_(value)
        optimiser.state[parameter][name] = restored


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
