"""Counts floating-point operations and live bytes in the dispatcher: exact, on any device."""

import weakref
from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts `flops` so far, the bytes of live tensors `now`, and the `peak` of those.

    Counts matrix products and convolutions, 2 operations per multiplication and addition; element-wise
    operations, such as an optimizer's, are left out. Tensors that share memory count once. Memory that a
    kernel allocates internally is not seen. (torch's `FlopCounterMode` also hooks modules, and fails if a
    penalty differentiates with respect to a module's input.)
    """

    def __init__(
        self, living: Iterable[Tensor] = (), check: Callable[[int], None] = lambda now: None
    ) -> None:
        """`living` are tensors that exist already; `check(now)` is called after every operation."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._storages: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._check = check
        self.flops = self.now = self.peak = 0
        for tensor in living:
            self._add(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        known = func._overloadpacket in flop_registry
        if not known:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if func._overloadpacket is torch.ops.aten.convolution_backward:
            grad_out, x, weight = (one.shape for one in args[:3])
            self.flops += _convolution_backward_flops(grad_out, x, weight, args[7], args[10])
        elif known:
            self.flops += int(flop_registry[func._overloadpacket](*args, **kwargs, out_val=result))
        for one in tree_leaves(result):
            if isinstance(one, Tensor):
                self._add(one)
        self._check(self.now)
        return result

    def _add(self, tensor: Tensor) -> None:
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._storages:
            size = storage.nbytes()
            self._storages[key] = (size, weakref.ref(storage, lambda _: self._remove(key)))
            self.now += size
            self.peak = max(self.peak, self.now)

    def _remove(self, key: int) -> None:
        self.now -= self._storages.pop(key)[0]


def _convolution_backward_flops(
    grad_out: Sequence[int], x: Sequence[int], weight: Sequence[int], transposed: bool, needed: Sequence[bool]
) -> int:
    """Each of the two gradients takes as many products as the convolution itself.

    torch's own formula counts the weight gradient of a grouped convolution once per group.
    """
    positions = prod((x if transposed else grad_out)[2:])
    return 2 * x[0] * positions * prod(weight) * (int(needed[0]) + int(needed[1]))
