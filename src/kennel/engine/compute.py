"""How the networks' passes are computed: their precision, their layout in memory, compiled or not."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

Pass = TypeVar("Pass", bound=Callable[..., Any])


class ComputeContext:
    """What every pass of a network in a turn has in common.

    Attributes: `precision` of the layers, `layout` of maps.
    """

    def __init__(
        self,
        precision: torch.dtype = torch.float32,
        layout: torch.memory_format = torch.channels_last,
        compile: Literal[False, True, "graphs"] = False,  # noqa: A002 - torch's word for it
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """`compile` True compiles passes, "graphs" as CUDA graphs too. `say` hears where that fails."""
        self.precision = precision
        self.layout = layout
        self._compile: Literal[False, True, "graphs"] = compile
        self._say = say

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The precision of the layers, for the passes inside it; weights stay float32."""
        if self.precision == torch.float32:
            return nullcontext()  # not a disabled autocast: on MPS older versions of torch warn of its dtype
        return torch.autocast(device.type, dtype=self.precision)

    def with_layout(self, images: Tensor) -> Tensor:
        """The images (batch, channels, height, width) in the layout."""
        return images.contiguous(memory_format=self.layout)

    def begin_step(self) -> None:
        """CUDA graphs reuse their memory: what an earlier turn's passes gave is not looked at any more."""
        if self._compile == "graphs":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    @contextmanager
    def eager(self) -> Iterator[None]:
        """In the block nothing that is compiled is called: every layer is, with its hooks."""
        given, self._compile = self._compile, False
        try:
            yield
        finally:
            self._compile = given

    def compiled(self, network_pass: Pass) -> Pass:
        """The function, compiled if passes are.

        The first call compiles. Where that fails (no C++ compiler, a layer that cannot be compiled) `say`
        hears it once, and from then on every function of these passes is called plainly.
        """
        if self._compile is False:
            return network_pass
        keep_saved_tensors()
        mode = "reduce-overhead" if self._compile == "graphs" else "default"
        compiled = torch.compile(network_pass, mode=mode, dynamic=False)

        def call(*arguments: Any) -> Any:
            if self._compile is False:
                return network_pass(*arguments)
            try:
                return compiled(*arguments)
            except Exception as error:  # whatever a compiler raises; a mistake of the pass raises once more
                made = network_pass(*arguments)
                self._compile = False
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                self._say(f"torch.compile failed, so the networks run uncompiled ({reason}).")
                return made

        return call  # type: ignore[return-value]


def keep_saved_tensors() -> None:
    """Compiled passes may be gone back through twice, as an adaptively clipped term needs.

    By default they reuse the memory of what they saved on the first way back, and refuse a second.
    """
    with suppress(AttributeError, ImportError):  # another version of torch may have no such switch
        import torch._functorch.config as switches

        switches.donated_buffer = False


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No gradients for the player that does not move: they would be computed and thrown away."""
    moving = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in moving:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in moving:
            parameter.requires_grad_(True)
