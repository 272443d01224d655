"""Copies the layers of another run's networks that fit into a new run; other layers stay initialized."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kennel import rng
from kennel.config.recipe import Recipe
from kennel.engine.step import GANStep
from kennel.errors import CheckpointError
from kennel.networks.layers.instances import InstanceVectors
from kennel.runs import checkpoint
from kennel.techniques._weight_matrices import as_matrix, output_axis
from kennel.techniques.spectral_norm import DividedBySpectralNorm

MAX_NAMED = 4
"""The most new layers that a message names; `run.json` has all."""
_PARAMETRIZED = ".parametrizations."
_ORIGINAL = ".parametrizations.weight.original"


@dataclass
class WeightTransfer:
    """What was copied: tensors and numbers (`of_...`: out of how many), new layers and new techniques."""

    tensors: int = 0
    numbers: int = 0
    of_tensors: int = 0
    of_numbers: int = 0
    matrices: int = 0
    new: list[str] = field(default_factory=list)
    techniques: list[str] = field(default_factory=list)

    def in_words(self) -> str:
        """The end of a sentence; empty if everything was copied."""
        parts = []
        if self.new:
            more = f" and {len(self.new) - MAX_NAMED} more" if len(self.new) > MAX_NAMED else ""
            parts.append(
                f"copied {self.tensors} of {self.of_tensors} tensors "
                f"({_share(self.numbers, self.of_numbers)} of the numbers), newly initialized "
                f"{', '.join(self.new[:MAX_NAMED])}{more}"
            )
        if self.techniques:
            parts.append(f"without the state of {', '.join(self.techniques)}")
        return "".join(f"; {part}" for part in parts)

    def about(self) -> dict[str, object]:
        """For `run.json`: counts of tensors and the new layers; empty if everything was copied."""
        return {"taken": [self.tensors, self.of_tensors], "new": self.new} if self.new else {}


def transfer_weights(
    found: checkpoint.Checkpoint, parent: Recipe, step: GANStep, recipe: Recipe, *, same_classes: bool = True
) -> WeightTransfer:
    """Copies what fits from a checkpoint of `parent` into `step`, built by `recipe`.

    A layer is copied if all of its tensors exist with the same names and shapes, and only between networks
    with the same registered name. Between a layer with spectral norm and one without, the effective weight is
    copied. An average starts from the parent's average in the layers that the generator copied, and from the
    generator in the others. Other techniques copy their state if names and shapes are the same. Optimizers
    stay new. If `same_classes` is False, labels are not copied.

    Raises `CheckpointError` if no weight matrix fits, or if a copied value is not finite.
    """
    transfer, layers = WeightTransfer(), {}
    networks = {"generator": step.networks.generator, "discriminator": step.networks.discriminator}
    for name, network in networks.items():
        is_other = getattr(parent, name).name != getattr(recipe, name).name
        source = {} if is_other else found.below(name)
        layers[name] = _copy(name, network, source, transfer, same_classes=same_classes)
    if transfer.matrices == 0:
        old, new = (f"{one.generator.name} and {one.discriminator.name}" for one in (parent, recipe))
        raise CheckpointError(
            f"no layer of the networks in {found.path} ({old}) fits those of this recipe ({new}): use its "
            "networks, with their options and the size of its images, or leave out --init-from"
        )
    for name, technique in step.named_techniques.items():
        own, source = technique.state_dict(), found.below(f"technique.{name}")
        average = technique.sampling_generator()
        is_same = _shapes(own) == _shapes(source)
        if technique.stage == "copy" and (average is not None or not is_same):
            # Its copy is of the initial weights, so copy again.
            technique.modify_networks(step.networks, rng.generator(recipe.seed, f"build of {name}"))
        average = technique.sampling_generator()
        saved = found.below(f"technique.{name}.average")
        if average is not None and saved:
            _copy(name, average, saved, WeightTransfer(), same_classes=same_classes, only=layers["generator"])
        elif not is_same:
            transfer.techniques.append(name)
        elif own:
            technique.load_state_dict(source)
    for technique in step.techniques:
        technique.weights_replaced(step.networks)
    return transfer


@torch.no_grad()
def _copy(
    name: str,
    network: nn.Module,
    source: Mapping[str, Tensor],
    transfer: WeightTransfer,
    *,
    same_classes: bool,
    only: set[str] | None = None,
) -> set[str]:
    """Copies the layers that fit (of those in `only`), counts them in `transfer` and returns their names."""
    plain = {_plain(key): value for key, value in source.items() if not _is_derived(key)}
    copied = set()
    for layer, state in _layers(network).items():
        own = {_plain(key): value for key, value in state.items() if not _is_derived(key)}
        fits = all(_fits(plain.get(key), value, same_classes) for key, value in own.items())
        transfer.of_tensors += len(own)
        transfer.of_numbers += sum(value.numel() for value in own.values())
        if not fits or (only is not None and layer not in only):
            transfer.new.append(f"{name}.{layer}".removesuffix("."))
            continue
        copied.add(layer)
        transfer.tensors += len(own)
        transfer.numbers += sum(value.numel() for value in own.values())
        transfer.matrices += sum(value.dim() > 1 and value.is_floating_point() for value in own.values())
        for key, value in state.items():
            if not _is_derived(key):
                value.copy_(_effective(network.get_submodule(layer), key, source, plain))
        if not all(bool(torch.isfinite(value).all()) for value in own.values()):
            raise CheckpointError(
                f"the weights of {name}.{layer} to start from are not finite: use another run, or an older "
                "checkpoint"
            )
        _copy_singular_vectors(network.get_submodule(layer), layer, state, source)
    return copied


def _layers(network: nn.Module) -> dict[str, dict[str, Tensor]]:
    """The tensors of each layer by full name, without instance vectors, which belong to the training set.

    Parameters of a parametrization belong to the parametrized layer.
    """
    excluded = {name for name, one in network.named_modules() if isinstance(one, InstanceVectors)}
    layers: dict[str, dict[str, Tensor]] = {}
    for key, value in network.state_dict().items():
        layer = key.partition(_PARAMETRIZED)[0] if _PARAMETRIZED in key else key.rpartition(".")[0]
        if layer not in excluded:
            layers.setdefault(layer, {})[key] = value
    return layers


def _plain(key: str) -> str:
    return key.replace(_ORIGINAL, ".weight")


def _is_derived(key: str) -> bool:
    """Whether the tensor follows from the weight, such as the singular vector of a parametrization."""
    return _PARAMETRIZED in key and not key.endswith(_ORIGINAL)


def _fits(source: Tensor | None, own: Tensor, same_classes: bool) -> bool:
    if source is None or source.shape != own.shape or source.is_complex():
        return False
    if source.is_floating_point() != own.is_floating_point():
        return False
    return same_classes or own.is_floating_point() or own.dim() == 0  # integer tensors are labels


def _effective(
    layer: nn.Module, key: str, source: Mapping[str, Tensor], plain: Mapping[str, Tensor]
) -> Tensor:
    """The parent's tensor, divided by its spectral norm if only the parent's layer has that norm."""
    weight = plain[_plain(key)]
    if key in source or key.endswith(_ORIGINAL):
        return weight
    matrix = as_matrix(weight.float(), output_axis(layer))
    norm = torch.linalg.matrix_norm(matrix, 2)
    return weight / norm if bool(norm > 0) else weight


def _copy_singular_vectors(
    layer: nn.Module, name: str, state: Mapping[str, Tensor], source: Mapping[str, Tensor]
) -> None:
    """Copies the singular vectors of a copied weight, or computes them if the parent has none."""
    for key, value in state.items():
        if not _is_derived(key):
            continue
        saved = source.get(key)
        if saved is not None and saved.shape == value.shape:
            value.copy_(saved)
        else:
            norm = layer.get_submodule(key.removeprefix(f"{name}.").rpartition(".")[0])
            assert isinstance(norm, DividedBySpectralNorm)
            norm.begin_with(state[f"{name}{_ORIGINAL}"])


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return f"{min(percent, 99.9):.1f}%" if percent > 99 else f"{percent:.0f}%"
