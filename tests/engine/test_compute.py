"""Precision, layout and compilation of the networks' passes."""

from contextlib import nullcontext

import pytest
import torch

from kennel.engine.compute import ComputeContext


def test_without_compilation_a_pass_is_handed_back_as_it_is():
    def double(value):
        return 2 * value

    assert ComputeContext().compiled(double) is double


def test_a_pass_that_cannot_be_compiled_runs_plainly_and_says_so_once(monkeypatch):
    said = []
    calls = []

    def broken(function, **options):
        def call(*arguments):
            calls.append(arguments)
            raise RuntimeError("no compiler\nwas found")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    passes = ComputeContext(compile=True, log=said.append)
    double, triple = passes.compiled(lambda value: 2 * value), passes.compiled(lambda value: 3 * value)
    assert double(4) == 8
    assert double(5) == 10
    assert triple(5) == 15
    assert len(calls) == 1
    assert said == ["torch.compile failed, so the networks run uncompiled (no compiler)."]


def test_a_mistake_of_the_pass_itself_is_not_taken_for_the_compilers(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    said = []

    def mistaken(value):
        raise ValueError("not this one")

    call = ComputeContext(compile=True, log=said.append).compiled(mistaken)
    with pytest.raises(ValueError, match="not this one"):
        call(1)
    assert said == []


def test_graphs_are_told_when_a_turn_begins(monkeypatch):
    told = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: told.append(True))
    ComputeContext(compile=True).begin_step()
    assert told == []
    ComputeContext(compile="graphs").begin_step()
    assert told == [True]


def test_low_precision_is_that_of_the_layers_inside():
    layer = torch.nn.Linear(4, 4)
    with ComputeContext(torch.bfloat16).autocast(torch.device("cpu")):
        assert layer(torch.zeros(1, 4)).dtype == torch.bfloat16
    with ComputeContext().autocast(torch.device("cpu")):
        assert layer(torch.zeros(1, 4)).dtype == torch.float32


def test_float32_is_no_autocast_at_all():
    """On MPS a disabled one of float32 warns under older versions of torch."""
    assert isinstance(ComputeContext().autocast(torch.device("mps")), nullcontext)


def test_a_compiled_pass_can_be_gone_back_through_twice(monkeypatch):
    """As an adaptively clipped term needs it. Without code: the compiler's backward is plain PyTorch."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda one, **options: compiler(one, backend="aot_eager"))
    monkeypatch.setattr(torch._functorch.config, "donated_buffer", True)
    said = []
    layers = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    compiled = ComputeContext(compile=True, log=said.append).compiled(layers)
    loss = compiled(torch.randn(3, 4)).sum()
    first = torch.autograd.grad(loss, layers[0].weight, retain_graph=True)
    second = torch.autograd.grad(loss, layers[0].weight)
    assert torch.equal(first[0], second[0])
    assert said == []
