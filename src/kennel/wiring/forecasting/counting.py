"""Floating-point operations and live bytes, counted as the dispatcher sees them: exact, on any device."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from kennel.step import Step


@dataclass(frozen=True)
class Counted:
    """What something did: `flops`, and the most `bytes` of tensors that lived at once meanwhile."""

    flops: int
    bytes: int


def counted(play: Callable[[], object], living: Callable[[], Iterable[Tensor]] = tuple) -> Counted:
    """Counts one call of `play`; `living` gives the tensors that are there before, and count too.

    Operations are those of products and convolutions, 2 for a multiplication with its addition. Element by
    element work, such as an optimiser's, is not among them.
    """
    account = Account(living())  # no name is kept for them: a held gradient would not be freed
    with account:
        play()
    return Counted(account.flops, account.most)


def _convolution_backward_flops(
    grad_out_shape: Sequence[int],
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    transposed: bool,
    output_mask: Sequence[bool],
) -> int:
    """Each of the two gradients takes as many products as the convolution itself.

    torch's own formula counts the weight's gradient of a convolution in groups as often as it has groups.
    """
    places = prod((x_shape if transposed else grad_out_shape)[2:])
    return 2 * x_shape[0] * places * prod(w_shape) * (int(output_mask[0]) + int(output_mask[1]))


class Account(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every operation: `flops` so far, and of the tensors that live `now` in bytes the `most`.

    Tensors that share memory count once. What a kernel takes for itself while it runs is not seen. (torch's
    `FlopCounterMode` follows modules too, and fails where a penalty differentiates by a module's input.)
    """

    def __init__(self, living: Iterable[Tensor] = ()) -> None:
        """`living` are the tensors that are there before."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._held: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self.flops = self.now = self.most = 0
        for tensor in living:
            self._note(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Does the operation and notes what it took and made."""
        kwargs = kwargs or {}
        known = func._overloadpacket in flop_registry
        if not known:
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        made = func(*args, **kwargs)
        if func._overloadpacket is torch.ops.aten.convolution_backward:
            grad_out, x, weight = (one.shape for one in args[:3])
            self.flops += _convolution_backward_flops(grad_out, x, weight, args[7], args[10])
        elif known:
            self.flops += int(flop_registry[func._overloadpacket](*args, **kwargs, out_val=made))
        for one in tree_leaves(made):
            if isinstance(one, Tensor):
                self._note(one)
        return made

    def _note(self, tensor: Tensor) -> None:
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._held:
            return
        size = storage.nbytes()
        self._held[key] = (size, weakref.ref(storage, lambda _: self._forget(key)))
        self.now += size
        self.most = max(self.most, self.now)

    def _forget(self, key: int) -> None:
        size, _ = self._held.pop(key)
        self.now -= size


@dataclass(frozen=True)
class StateBytes:
    """What a run keeps on its device from one round to the next, in bytes.

    `weights` of both networks and of techniques' own; `averages` is all else that techniques keep.
    """

    weights: int
    gradients: int
    optimisers: int
    averages: int

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.gradients + self.optimisers + self.averages


def living_tensors(step: Step) -> dict[str, list[Tensor]]:
    """The tensors of a step that has played, by the fields of `StateBytes`."""
    networks = [*step.players.both(), *(one.network for one in step.companions.values())]
    parameters = [one for network in networks for one in network.parameters()]
    optimisers = [
        step.discriminator_optimiser,
        step.generator_optimiser,
        *step.companion_optimisers.values(),
    ]
    averages = [one for technique in step.techniques for one in technique.state_dict().values()]
    for technique in step.techniques:
        kept = technique.sampling_generator()
        averages += [] if kept is None else [*kept.parameters(), *kept.buffers()]
    return {
        "weights": [*parameters, *(one for network in networks for one in network.buffers())],
        "gradients": [one.grad for one in parameters if one.grad is not None],
        "optimisers": [
            value
            for scheduled in optimisers
            for state in scheduled.optimiser.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ],
        "averages": averages,
    }


def all_living(step: Step) -> Iterator[Tensor]:
    """`living_tensors`, one after the other."""
    for tensors in living_tensors(step).values():
        yield from tensors


def state_bytes(step: Step) -> StateBytes:
    """The bytes of a step that has played; memory that two share counts at the first."""
    seen: set[int] = set()
    sums = {}
    for what, tensors in living_tensors(step).items():
        sums[what] = 0
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage._cdata not in seen:
                seen.add(storage._cdata)
                sums[what] += storage.nbytes()
    return StateBytes(**sums)
