"""Floating-point operations and live bytes, counted as the dispatcher sees them: exact, on any device."""

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
    """Follows every operation: `flops` so far, and of the tensors that live `now` in bytes the `most`.

    Operations are those of products and convolutions, 2 for a multiplication with its addition; what goes
    element by element, such as an optimizer, is left out. Tensors that share memory count once. What a kernel
    takes for itself while it runs is not seen. (torch's `FlopCounterMode` follows modules too, and fails
    where a penalty differentiates by a module's input.)
    """

    def __init__(
        self, living: Iterable[Tensor] = (), check: Callable[[int], None] = lambda now: None
    ) -> None:
        """`living` are tensors that are there before; `check` is given `now` after every operation."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._held: dict[int, tuple[int, weakref.ref[Any]]] = {}
        self._check = check
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
        self._check(self.now)
        return made

    def _note(self, tensor: Tensor) -> None:
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._held:
            size = storage.nbytes()
            self._held[key] = (size, weakref.ref(storage, lambda _: self._forget(key)))
            self.now += size
            self.most = max(self.most, self.now)

    def _forget(self, key: int) -> None:
        self.now -= self._held.pop(key)[0]


def _convolution_backward_flops(
    grad_out: Sequence[int], x: Sequence[int], weight: Sequence[int], transposed: bool, wanted: Sequence[bool]
) -> int:
    """Each of the two gradients takes as many products as the convolution itself; all by their shapes.

    torch's own formula counts the weight's gradient of a convolution in groups as often as it has groups.
    """
    places = prod((x if transposed else grad_out)[2:])
    return 2 * x[0] * places * prod(weight) * (int(wanted[0]) + int(wanted[1]))
