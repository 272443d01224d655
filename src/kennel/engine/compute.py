"""How the networks' passes are computed: precision, memory layout, compiled or not."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

Pass = TypeVar("Pass", bound=Callable[..., Any])


class ComputeContext:
    """Settings that all network passes of a step share: `precision` of the layers, `layout` of maps."""

    def __init__(
        self,
        precision: torch.dtype = torch.float32,
        layout: torch.memory_format = torch.channels_last,
        compile: Literal[False, True, "graphs"] = False,  # noqa: A002 - torch's word for it
        log: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """`compile` True compiles passes, "graphs" also uses CUDA graphs. `log` gets a message on failure."""
        self.precision = precision
        self.layout = layout
        self._compile: Literal[False, True, "graphs"] = compile
        self._log = log

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Autocast to `precision` for the passes in the block; weights stay float32."""
        if self.precision == torch.float32:
            return nullcontext()  # not a disabled autocast: on MPS, older torch warns about its dtype
        return torch.autocast(device.type, dtype=self.precision)

    def with_layout(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self.layout)

    def begin_step(self) -> None:
        """Marks a new step for CUDA graphs, which may then overwrite the outputs of earlier steps."""
        if self._compile == "graphs":
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    @contextmanager
    def eager(self) -> Iterator[None]:
        """Runs the block's passes uncompiled, so that every layer calls its hooks."""
        compile_mode, self._compile = self._compile, False
        try:
            yield
        finally:
            self._compile = compile_mode

    def compiled(self, network_pass: Pass) -> Pass:
        """The compiled function, or the function itself if compiling is off.

        The first call compiles. If that fails (no C++ compiler, an unsupported layer), `log` gets one message
        and all functions of this context run uncompiled from then on.
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
            except Exception as error:  # any compiler error; an error of the pass itself is raised again here
                result = network_pass(*arguments)
                self._compile = False
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                self._log(f"torch.compile failed, so the networks run uncompiled ({reason}).")
                return result

        return call  # type: ignore[return-value]


def keep_saved_tensors() -> None:
    """Allows two backward passes through compiled passes, as an adaptively clipped term needs.

    By default they reuse the memory of saved tensors in the first backward pass and refuse a second.
    """
    with suppress(AttributeError, ImportError):  # other versions of torch may lack this switch
        import torch._functorch.config as functorch_config

        functorch_config.donated_buffer = False


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Computes no gradients for the parameters of a network that is not updated."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
