"""What a new run takes of another's weights: layers that fit; the others keep their own beginning."""

from collections.abc import Iterator, Mapping
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

NAMED = 4
"""How many layers that begin anew a sentence names; `run.json` has all."""
_PARAMETRIZED = ".parametrizations."
_ORIGINAL = ".parametrizations.weight.original"


@dataclass
class WeightTransfer:
    """What was taken: tensors and numbers, of how many, the new layers, and the techniques that are new."""

    tensors: int = 0
    numbers: int = 0
    of_tensors: int = 0
    of_numbers: int = 0
    matrices: int = 0
    new: list[str] = field(default_factory=list)
    techniques: list[str] = field(default_factory=list)

    def words(self) -> str:
        """The end of a sentence that says with whose weights a run begins; empty where it is all of them."""
        parts = []
        if self.new:
            more = f" and {len(self.new) - NAMED} more" if len(self.new) > NAMED else ""
            parts.append(
                f"taken {self.tensors} of {self.of_tensors} tensors ({_share(self.numbers, self.of_numbers)} "
                f"of the numbers), newly initialized {', '.join(self.new[:NAMED])}{more}"
            )
        if self.techniques:
            parts.append(f"{', '.join(self.techniques)} begin{'s' if len(self.techniques) == 1 else ''} anew")
        return "".join(f"; {part}" for part in parts)

    def about(self) -> dict[str, object]:
        """For `run.json`, where not all was taken: counts of tensors, and the names of the new layers."""
        return {"taken": [self.tensors, self.of_tensors], "new": self.new} if self.new else {}


def transfer_weights(
    found: checkpoint.Checkpoint, parent: Recipe, step: GANStep, recipe: Recipe, *, same_classes: bool = True
) -> WeightTransfer:
    """Puts what fits of a checkpoint of `parent` into `step`, built by `recipe`: networks, then techniques.

    A layer is taken whole, where each of its tensors is there by name and shape; of a network with another
    registered name none is. Between a layer with spectral norm and one without, the weight is carried over
    as what it amounts to. An average starts from the parent's average in the layers that the generator took,
    and from the generator in the others; other techniques take their state where its names and shapes are
    the same. Optimizers are left new. `same_classes` False keeps labels, which number other classes there.

    Raises `CheckpointError` where no weight matrix fits, or what fits is not finite.
    """
    taken, layers = WeightTransfer(), {}
    networks = {"generator": step.networks.generator, "discriminator": step.networks.discriminator}
    for name, network in networks.items():
        is_other = getattr(parent, name).name != getattr(recipe, name).name
        given = {} if is_other else found.below(name)
        layers[name] = _take(name, network, given, taken, same_classes=same_classes)
    if taken.matrices == 0:
        there, here = (f"{one.generator.name} against {one.discriminator.name}" for one in (parent, recipe))
        raise CheckpointError(
            f"no layer of the networks of {found.path} ({there}) fits those of this recipe ({here}): take "
            "its networks, with their options and the size of its images, or leave out --init-from"
        )
    for name, technique in step.named_techniques.items():
        own, given = technique.state_dict(), found.below(f"technique.{name}")
        kept = technique.sampling_generator()
        is_same = _shapes(own) == _shapes(given)
        if technique.stage == "copy" and (kept is not None or not is_same):
            # What it copied were the weights before these.
            technique.modify_networks(step.networks, rng.generator(recipe.seed, f"build of {name}"))
        kept = technique.sampling_generator()
        average = found.below(f"technique.{name}.average")
        if kept is not None and average:
            _take(name, kept, average, WeightTransfer(), same_classes=same_classes, only=layers["generator"])
        elif not is_same:
            taken.techniques.append(name)
        elif own:
            technique.load_state_dict(given)
    for technique in step.techniques:
        technique.weights_replaced(step.networks)
    return taken


@torch.no_grad()
def _take(
    name: str,
    network: nn.Module,
    given: Mapping[str, Tensor],
    taken: WeightTransfer,
    *,
    same_classes: bool,
    only: set[str] | None = None,
) -> set[str]:
    """Fills the layers of `network` that fit, of those in `only`; counts them, and gives their names."""
    plain = {_plain(key): value for key, value in given.items() if not _is_derived(key)}
    names = set()
    for layer, state in _layers(network):
        wanted = {_plain(key): value for key, value in state.items() if not _is_derived(key)}
        fits = all(_fits(plain.get(key), value, same_classes) for key, value in wanted.items())
        taken.of_tensors += len(wanted)
        taken.of_numbers += sum(value.numel() for value in wanted.values())
        if not fits or (only is not None and layer not in only):
            taken.new.append(f"{name}.{layer}".removesuffix("."))
            continue
        names.add(layer)
        taken.tensors += len(wanted)
        taken.numbers += sum(value.numel() for value in wanted.values())
        taken.matrices += sum(value.dim() > 1 and value.is_floating_point() for value in wanted.values())
        for key, value in state.items():
            if not _is_derived(key):
                value.copy_(_carried(network.get_submodule(layer), key, given, plain))
        if not all(bool(torch.isfinite(value).all()) for value in wanted.values()):
            raise CheckpointError(
                f"the weights of {name}.{layer} to begin with are not finite: take another run, or an older "
                "checkpoint of it"
            )
        _settle(network.get_submodule(layer), layer, state, given)
    return names


def _layers(network: nn.Module) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Each layer that has tensors of its own, with those by their whole names; parametrized ones as one.

    What belongs to the training set, the vectors of its instances, is no layer's.
    """
    of_the_set = {name for name, one in network.named_modules() if isinstance(one, InstanceVectors)}
    layers: dict[str, dict[str, Tensor]] = {}
    for key, value in network.state_dict().items():
        layer = key.partition(_PARAMETRIZED)[0] if _PARAMETRIZED in key else key.rpartition(".")[0]
        if layer not in of_the_set:
            layers.setdefault(layer, {})[key] = value
    yield from layers.items()


def _plain(key: str) -> str:
    return key.replace(_ORIGINAL, ".weight")


def _is_derived(key: str) -> bool:
    """What a parametrization remembers beside the weight follows from it: a singular vector."""
    return _PARAMETRIZED in key and not key.endswith(_ORIGINAL)


def _fits(given: Tensor | None, own: Tensor, same_classes: bool) -> bool:
    if given is None or given.shape != own.shape or given.is_complex():
        return False
    if given.is_floating_point() != own.is_floating_point():
        return False
    return same_classes or own.is_floating_point() or own.dim() == 0  # no labels, which are whole numbers


def _carried(layer: nn.Module, key: str, given: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> Tensor:
    """The parent's tensor; a weight that it divided by its norm is divided where this layer does not."""
    weight = plain[_plain(key)]
    if key in given or key.endswith(_ORIGINAL):
        return weight
    exact = as_matrix(weight.float(), output_axis(layer))
    norm = torch.linalg.matrix_norm(exact, 2)
    return weight / norm if bool(norm > 0) else weight


def _settle(layer: nn.Module, name: str, state: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """The singular vectors of a weight that was taken: the parent's, and where it has none, found anew."""
    for key, value in state.items():
        if not _is_derived(key):
            continue
        there = given.get(key)
        if there is not None and there.shape == value.shape:
            value.copy_(there)
        else:
            place = key.removeprefix(f"{name}.").rpartition(".")[0]
            norm = layer.get_submodule(place)
            assert isinstance(norm, DividedBySpectralNorm)
            norm.begin_with(state[f"{name}{_ORIGINAL}"])


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return f"{min(percent, 99.9):.1f}%" if percent > 99 else f"{percent:.0f}%"
