"""What a recipe's speed comes to on a device, and that it is kept when a run goes on."""

import pytest
import torch

from kennel.errors import RecipeError
from kennel.networks.convolutions import Convolution
from kennel.recipe import Budget, Part, Recipe, Validation, override
from kennel.run_folder import RunFolder
from kennel.speed import Speed, preset
from kennel.watch import Watch
from kennel.wiring import build_step, load_run, train
from kennel.wiring.speeding import defaults_for, refuse_graphs_elsewhere, with_speed_for

CPU = torch.device("cpu")


class Heard(Watch):
    def __init__(self):
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)


def recipe(*settings: str) -> Recipe:
    small = Recipe(
        name="small",
        generator=Part(name="dcgan", width=4),
        discriminator=Part(name="dcgan", width=4),
        batch=8,
        budget=Budget(images=32),
        ticks=2,
        validation=Validation(every_ticks=0),
    )
    return override(small, ["latent.dimension=4", *settings])


def test_a_cpu_takes_bfloat16_where_it_has_matrix_units_for_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert defaults_for(CPU) == Speed(precision="bfloat16", layout="channels_last", convolutions="direct")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert defaults_for(CPU) == Speed(precision="float32", layout="channels_last", convolutions="minimal")


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "float32"), ((8, 0), "bfloat16")])
def test_a_gpu_takes_bfloat16_from_ampere_on(capability, precision, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert defaults_for(torch.device("cuda")).precision == precision


def test_a_run_that_goes_on_keeps_what_auto_was_when_it_began():
    begun = with_speed_for(recipe("speed.precision=bfloat16"), CPU)
    assert with_speed_for(recipe(), CPU, begun).speed == begun.speed
    assert with_speed_for(recipe("speed.layout=contiguous"), CPU, begun).speed.layout == "contiguous"


def test_cuda_graphs_are_refused_elsewhere():
    with pytest.raises(RecipeError, match="CUDA graphs"):
        refuse_graphs_elsewhere(recipe("speed.compile=graphs"), CPU)


def test_the_networks_are_told_their_convolutions(packed_set):
    for way in ("direct", "minimal"):
        step = build_step(
            recipe(f"speed.convolutions={way}", "image.size=8", "image.channels=1", "techniques.ema=on"), CPU
        )
        kept = step.named_techniques["ema"].sampling_generator()
        for network in (*step.players.both(), kept):
            found = [one.minimal for one in network.modules() if isinstance(one, Convolution)]
            assert all(one == (way == "minimal") for one in found)


def test_a_run_writes_what_it_was_computed_by_and_may_change_what_only_rounds(packed_set, tmp_path):
    data, run, heard = packed_set(), tmp_path / "run", Heard()
    train(recipe("budget.images=16"), data, run)
    assert RunFolder(run).recipe().speed == defaults_for(CPU)
    train(recipe("speed.layout=contiguous"), data, run, watch=heard)
    assert any(sentence.startswith("Speed changed: speed.layout") for sentence in heard.said)
    with pytest.raises(RecipeError, match=r"speed\.precision"):
        train(recipe("speed.precision=bfloat16"), data, run)


@pytest.mark.parametrize("name", ["plain", "bfloat16"])
def test_a_run_at_another_speed_plays_and_resumes(name, packed_set, tmp_path):
    data = packed_set()
    assert train(recipe(*preset(name), "budget.images=16"), data, tmp_path / "run")
    assert train(recipe(*preset(name)), data, tmp_path / "run")


def test_a_run_that_was_trained_with_graphs_is_sampled_from_on_any_device(packed_set, tmp_path):
    run = tmp_path / "run"
    train(recipe("budget.images=16"), packed_set(), run)
    file = RunFolder(run).recipe_file
    file.write_text(file.read_text().replace("compile: false", "compile: graphs"))
    assert load_run(run).samples(2).pixels().shape == (2, 1, 8, 8)
