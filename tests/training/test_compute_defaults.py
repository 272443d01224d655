"""What a recipe's speed comes to on a device, and that it is kept when a run goes on."""

from collections.abc import Iterator

import pytest
import torch

from kennel.config.compute import ComputeConfig, preset
from kennel.config.recipe import Budget, ComponentConfig, Recipe, ValidationConfig, override
from kennel.engine.builder import build_step
from kennel.engine.compute_defaults import (
    compute_context,
    configure_process,
    defaults_for,
    refuse_graphs_elsewhere,
    with_compute_defaults,
)
from kennel.errors import RecipeError
from kennel.features.base import exact_inference
from kennel.networks.layers.conv import Convolution
from kennel.planning import forecast
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.training.run import train
from observers import StopAt

CPU = torch.device("cpu")


def recipe(*settings: str) -> Recipe:
    small = Recipe(
        name="small",
        generator=ComponentConfig(name="dcgan", base_channels=4),
        discriminator=ComponentConfig(name="dcgan", base_channels=4),
        batch_size=8,
        budget=Budget(images=32),
        num_ticks=2,
        validation=ValidationConfig(every_ticks=0),
    )
    return override(small, ["latent_dim=4", *settings])


def test_no_flag_of_the_processor_alone_decides_the_precision(monkeypatch):
    """AMX, and a GPU's compute capability: what is faster is measured."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert defaults_for(CPU) == ComputeConfig(
        precision="float32", layout="channels_last", convolutions="winograd"
    )
    assert defaults_for(torch.device("cuda")).precision == "float32"


@pytest.mark.parametrize(("has", "warnings"), [(True, 0), (False, 1)])
def test_bfloat16_that_would_be_emulated_gets_a_warning(has, warnings, monkeypatch):
    monkeypatch.setattr("kennel.engine.compute_defaults.cpu_has_bfloat16", lambda: has)
    said = []
    compute_context(with_compute_defaults(recipe("compute.precision=bfloat16"), CPU), CPU, said.append)
    compute_context(with_compute_defaults(recipe("compute.precision=float32"), CPU), CPU, said.append)
    assert len(said) == warnings
    assert all("compute.precision=auto picks the faster one" in one for one in said)


def test_convolutions_of_fewer_products_are_for_float32_on_a_cpu():
    assert defaults_for(CPU, "bfloat16") == ComputeConfig(
        precision="bfloat16", layout="channels_last", convolutions="direct"
    )
    assert defaults_for(torch.device("cuda"), "bfloat16").convolutions == "direct"


def test_a_run_that_goes_on_keeps_what_auto_was_when_it_began():
    begun = with_compute_defaults(recipe("compute.precision=bfloat16"), CPU)
    assert with_compute_defaults(recipe(), CPU, begun).compute == begun.compute
    assert (
        with_compute_defaults(recipe("compute.layout=contiguous"), CPU, begun).compute.layout == "contiguous"
    )


def test_cuda_graphs_are_refused_elsewhere():
    with pytest.raises(RecipeError, match="CUDA graphs"):
        refuse_graphs_elsewhere(recipe("compute.compile=graphs"), CPU)


def test_the_networks_are_told_their_convolutions(packed_set):
    for way in ("direct", "winograd"):
        step = build_step(
            recipe(f"compute.convolutions={way}", "image.size=8", "image.channels=1", "techniques.ema=on"),
            CPU,
        )
        kept = step.named_techniques["ema"].sampling_generator()
        for network in (*step.networks.both(), kept):
            found = [one.winograd for one in network.modules() if isinstance(one, Convolution)]
            assert all(one == (way == "winograd") for one in found)


def test_a_run_writes_what_it_was_computed_by_and_may_change_what_only_rounds(packed_set, tmp_path):
    data, run, heard = packed_set(), tmp_path / "run", StopAt()
    train(recipe("budget.images=16"), data, run)
    assert RunDir(run).recipe().compute == defaults_for(CPU)
    train(recipe("compute.layout=contiguous"), data, run, observer=heard)
    assert any(sentence.startswith("Speed changed: compute.layout") for sentence in heard.said)
    with pytest.raises(RecipeError, match=r"compute\.precision"):
        train(recipe("compute.precision=bfloat16"), data, run)


@pytest.mark.parametrize(
    ("dropout", "ends"),
    [("0.5", "in another order, and dropout may draw other masks."), ("0", "rounded in another order.")],
)
def test_a_changed_speed_says_what_else_changes(dropout, ends, packed_set, tmp_path):
    data, run, heard = packed_set(), tmp_path / "run", StopAt()
    settings = [f"discriminator.dropout={dropout}"]
    train(recipe(*settings, "compute.layout=channels_last", "budget.images=16"), data, run)
    train(recipe(*settings, "compute.layout=contiguous"), data, run, observer=heard)
    (told,) = [sentence for sentence in heard.said if sentence.startswith("Speed changed")]
    assert told.endswith(ends)


@pytest.fixture
def _switches_as_they_were() -> Iterator[None]:
    switches = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [one.allow_tf32 for one in switches]
    yield
    for one, value in zip(switches, before, strict=True):
        one.allow_tf32 = value


def states() -> tuple[bool, bool]:
    """Whether convolutions and products on CUDA may be TF32."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.mark.usefixtures("_switches_as_they_were")
def test_float32_is_float32_on_cuda_and_judging_leaves_it_so():
    """The switches are torch's own, and are there on every machine."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    configure_process()
    assert states() == (False, False)
    with exact_inference(torch.device("cuda")):
        assert states() == (False, False)
    assert states() == (False, False)


@pytest.mark.usefixtures("_switches_as_they_were")
def test_what_trains_forecasts_and_samples_refuses_tf32(packed_set, tmp_path):
    data, run = packed_set(), tmp_path / "run"
    for output in (
        lambda: train(recipe("budget.images=16"), data, run),
        lambda: forecast(recipe("budget.images=16"), data, seconds=0.0),
        lambda: load_run(run),
    ):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        output()
        assert states() == (False, False)


@pytest.mark.parametrize("name", ["plain", "bfloat16"])
def test_a_run_at_another_speed_plays_and_resumes(name, packed_set, tmp_path):
    data = packed_set()
    assert train(recipe(*preset(name), "budget.images=16"), data, tmp_path / "run")
    assert train(recipe(*preset(name)), data, tmp_path / "run")


def test_a_run_that_was_trained_with_graphs_is_sampled_from_on_any_device(packed_set, tmp_path):
    run = tmp_path / "run"
    train(recipe("budget.images=16"), packed_set(), run)
    file = RunDir(run).recipe_file
    file.write_text(file.read_text().replace("compile: false", "compile: graphs"))
    assert load_run(run).samples(2).pixels().shape == (2, 1, 8, 8)
