"""Memory that runs out, and compiled code that fails, are told in a sentence; nothing else is touched."""

import pytest
import torch

from kennel.config.recipe import override
from kennel.engine.step import GANStep
from kennel.errors import RunError
from kennel.recipes import get_recipe
from kennel.runs.run_dir import RunDir
from kennel.training.oom import explain_failures, explain_oom, is_out_of_memory
from kennel.training.run import train

CPU = torch.device("cpu")
RECIPE = override(get_recipe("digits"), ["batch_size=2000"])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
    ids=lambda error: str(error)[:20],
)
def test_a_lack_of_memory_is_told_with_the_batch_and_the_device(error):
    assert is_out_of_memory(error)
    with pytest.raises(RunError) as told, explain_failures(RECIPE, CPU, " in another --out"):
        raise error
    assert str(told.value) == (
        "the memory of cpu is too small for a batch of 2,000 images: give a smaller --set batch_size=... "
        "in another --out (`kennel plan` shows what one needs)"
    )


def test_torch_itself_says_it_so():
    with pytest.raises(RunError, match="is too small for much"), explain_oom("much", CPU, "take less"):
        torch.empty(1 << 60, dtype=torch.uint8)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("out of memory"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("compiled", ["on", "off"])
def test_other_errors_stay_what_they_are(error, compiled):
    recipe = override(RECIPE, [f"compute.compile={compiled}"])
    with pytest.raises(type(error)) as told, explain_failures(recipe, CPU, ""):
        raise error
    assert told.value is error


def test_an_error_in_a_compiled_way_back_is_told_with_the_way_out():
    compiled = compile(
        "raise RuntimeError('buffers were donated\\nand more')", "/x/torch/_functorch/it.py", "exec"
    )
    with pytest.raises(RunError) as told, explain_failures(override(RECIPE, ["compute.compile=on"]), CPU, ""):
        exec(compiled)
    assert str(told.value) == (
        "the backward pass of the compiled networks failed (buffers were donated): give --set "
        "compute.compile=off"
    )
    with pytest.raises(RuntimeError, match="donated"), explain_failures(RECIPE, CPU, ""):
        exec(compiled)


def test_a_run_whose_memory_runs_out_says_so_and_ends_its_threads(packed_set, tmp_path, monkeypatch):
    def full(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GANStep, "generator_step", full)
    small = [
        "generator.base_channels=4",
        "discriminator.base_channels=4",
        "image.size=8",
        "batch_size=8",
        "budget.images=64",
    ]
    with pytest.raises(RunError, match="is too small for a batch of 8 images"):
        train(override(get_recipe("digits"), small), packed_set(), tmp_path / "run", resident_bytes=0)
    assert RunDir(tmp_path / "run").log() == []
