"""Runs as objects, data in all forms, own networks that continue and sample, and errors in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import kennel
from kennel.errors import DataError, JudgementError, RecipeError, RunError, UnknownNameError
from kennel.networks import GENERATORS

SMALL = {
    "generator.base_channels": 4,
    "discriminator.base_channels": 4,
    "batch_size": 8,
    "num_ticks": 2,
    "budget.images": 64,
    "validation.every_ticks": 0,
}
"""Settings of a run that takes a second."""
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)


class Draws(nn.Module):
    """A generator of `PIXELS`'s size."""

    def __init__(self, spec=None) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)
        self.norm = nn.BatchNorm1d(64)

    def forward(self, latents):
        return torch.tanh(self.norm(self.layer(latents))).view(-1, 1, 8, 8)


class Looks(nn.Module):
    """Its discriminator."""

    def __init__(self, spec=None) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 1)

    def forward(self, images):
        return self.layer(images.flatten(1))


PLAIN = {key: value for key, value in SMALL.items() if "base_channels" not in key}


def small(data=PIXELS, out=None, **arguments):
    """A run of a second."""
    settings = {"image.size": 8, **(SMALL if "networks" not in arguments else PLAIN)}
    settings |= arguments.pop("settings", {})
    return kennel.train("digits", data, out, settings=settings, device="cpu", quiet=True, **arguments)


def weights(run: kennel.Run) -> dict[str, torch.Tensor]:
    return run.generator.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_has_its_parts(packed_set):
    run = small(packed_set(size=8))
    assert run.path == Path("runs/digits-set")
    assert run.finished
    assert [line["images"] for line in run.log] == [32, 64]
    assert run.images_seen == 64
    assert len(run.data) == 40
    grid = run.sample(4, seed=3)
    assert grid.pixels.shape == (4, 1, 8, 8)
    assert grid.seeds == (3, 4, 5, 6)
    assert grid.labels is None
    assert grid._repr_png_().startswith(b"\x89PNG")
    assert grid.save("grid.png").is_file()
    assert run.report() == kennel.report(run.path) == Path("runs/digits-set/report.html")
    again = kennel.load(str(run.path), device="cpu")
    assert isinstance(again, kennel.Run)
    assert again.finished
    assert np.array_equal(again.sample(4, seed=3).pixels, grid.pixels)


def test_the_same_call_continues_a_run_and_its_object_sees_the_new_weights():
    run = small(images=32)
    before = {name: tensor.clone() for name, tensor in weights(run).items()}
    longer = small(images=64)
    assert longer.images_seen == 64
    assert not same(before, weights(longer))
    assert same(weights(run), weights(longer))


def test_scores_are_a_table_and_are_kept_for_the_report(packed_set):
    run = small(packed_set(size=8))
    scores = run.judge(metrics=["fid", "kid"], extractor="pixels", count=20)
    assert [score.metric for score in scores] == ["fid", "kid"]
    assert scores["kid"] is scores[1]
    assert str(scores).splitlines()[0].split() == ["metric", "value", "95%", "interval", "better"]
    assert "<td>FID</td>" in scores._repr_html_()
    assert len(list((run.path / "judgements").glob("*-pixels.json"))) == 1
    same_scores = kennel.judge(str(run.path), run.data, "fid", extractor="pixels", count=20, device="cpu")
    assert same_scores["fid"].value == scores["fid"].value
    with pytest.raises(JudgementError, match="recall was not measured, only fid, kid"):
        scores["recall"]


def test_a_class_is_sampled_by_name_or_all_of_them(packed_set):
    run = small(packed_set(size=8, classes=2), settings={"num_classes": None})
    assert run.classes == ("class 0", "class 1")
    assert run.sample(3, classes="class 1").labels == [1, 1, 1]
    each = run.sample(2, classes="each")
    assert (each.labels, each.columns) == ([0, 0, 1, 1], 2)
    with pytest.raises(UnknownNameError, match="did you mean 'class 1'"):
        run.sample(2, classes="clas 1")


def test_an_array_a_tensor_and_a_data_set_of_pytorch_become_one_set():
    sets = [
        kennel.prepare(PIXELS),
        kennel.prepare(torch.from_numpy(PIXELS)),
        kennel.prepare(torch.utils.data.TensorDataset(torch.from_numpy(PIXELS) / 255)),
    ]
    assert len({data.path for data in sets}) == 1
    assert np.array_equal(sets[0].images, PIXELS)
    labelled = kennel.prepare(torch.utils.data.TensorDataset(torch.from_numpy(PIXELS), torch.arange(40) % 4))
    assert labelled.classes == ("0", "1", "2", "3")
    assert labelled.labels.tolist() == [index % 4 for index in range(40)]
    assert kennel.prepare(PIXELS, "sets/own", size=4).shape == (1, 4, 4)


def test_pictures_are_prepared_into_the_cache_once(packed_set):
    first = kennel.prepare("digits", size=8)
    stamp = (first.path / "images.npy").stat().st_mtime_ns
    second = kennel.prepare("digits", size=8)
    assert second.path == first.path
    assert (second.path / "images.npy").stat().st_mtime_ns == stamp
    assert kennel.prepare("digits", size=8, limit=20).path != first.path
    data = packed_set()
    assert kennel.prepare(data).path == kennel.prepare(kennel.Dataset(data)).path == data


@pytest.mark.parametrize("kind", ["classes", "modules"])
def test_own_networks_train_continue_and_sample(kind):
    networks = (Draws, Looks) if kind == "classes" else (Draws(), Looks())
    whole = small(out="whole", networks=networks)
    small(out="parts", networks=networks, images=32, settings={"num_ticks": 1})
    parts = small(out="parts", networks=networks, images=64, settings={"num_ticks": 1})
    assert parts.finished
    assert parts.sample(4).pixels.shape == (4, 1, 8, 8)
    assert whole.recipe.generator.name == "Draws"
    assert isinstance(whole.generator.module, Draws)


def test_without_its_registration_a_run_says_how_to_bring_its_network_back(monkeypatch):
    run = small(networks=(Draws, Looks))
    del GENERATORS._entries["Draws"]
    message = "the run in .* uses the generator 'Draws', which is not registered: give --import"
    with pytest.raises(RecipeError, match=message):
        kennel.load(run.path).sample(1)
    kennel.register_network("Draws", generator=Draws)
    assert len(kennel.load(run.path, device="cpu").sample(1)) == 1


def test_a_generator_of_another_size_is_refused_with_both_shapes():
    class Wrong(Draws):
        def forward(self, latents):
            return super().forward(latents)[:, :, :4, :4]

    message = r"Wrong returns \(2, 1, 4, 4\): expected .* \(2, 1, 8, 8\)"
    with pytest.raises(RecipeError, match=message):
        small(networks=(Wrong, Looks))
    with pytest.raises(RecipeError, match=r"Draws fails on latents of shape \(2, 32\): "):
        small(networks=(Draws, Looks), settings={"latent_dim": 32})
    assert not Path("runs").exists()


@pytest.mark.parametrize("technique", ["minibatch_stddev", "feature_matching"])
def test_a_technique_that_needs_the_last_hidden_layer_refuses_a_plain_module(technique):
    with pytest.raises(RecipeError, match=r"needs the last hidden layer of the discriminator Looks"):
        small(networks=(Draws, Looks), settings={f"techniques.{technique}": True})


def test_labels_reach_a_module_whose_forward_takes_them(packed_set):
    seen = []

    class Labelled(Draws):
        def forward(self, latents, labels):
            seen.append(labels)
            return super().forward(latents)

    class LabelledLooks(Looks):
        def forward(self, images, labels=None):
            return super().forward(images) + labels[:, None]

    run = small(
        packed_set(size=8, classes=2), networks=(Labelled, LabelledLooks), settings={"num_classes": None}
    )
    assert run.sample(4, classes="each").labels == [0] * 4 + [1] * 4
    assert all(labels.dtype == torch.int64 for labels in seen)


def test_a_definition_that_is_run_again_takes_the_place_of_the_old_one():
    for margin in (1.0, 2.0):

        @kennel.register_loss("again")
        class Again(kennel.Loss):
            margin: float = 1.0

        assert Again.model_fields["margin"].default == 1.0
    with pytest.raises(ValueError, match="loss 'again' is registered twice"):

        @kennel.register_loss("again")
        class Other(kennel.Loss):
            pass


def test_a_plan_tells_time_and_memory(packed_set):
    found = kennel.plan(
        "digits", packed_set(size=8), settings={"image.size": 8, **SMALL}, device="cpu", seconds=2.0
    )
    assert found.images_left == 64
    assert found.memory > 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kennel.load("nowhere"), RunError, "there is no nowhere: give a run's folder"),
        (lambda: kennel.train("dcgn", PIXELS, device="cpu"), UnknownNameError, "did you mean 'dcgan'"),
        (lambda: kennel.train("dcgan", "nowhere", device="cpu"), DataError, "there is no nowhere"),
        (lambda: kennel.prepare(PIXELS.astype(float)), DataError, r"expected uint8 \(N, C, H, W\)"),
        (lambda: kennel.prepare("digits", sise=3), DataError, "did you mean 'size'"),
        (lambda: small(images=3, epochs=2.0), RecipeError, "give one of them"),
        (lambda: kennel.judge(PIXELS, PIXELS, ["fdi"], device="cpu"), UnknownNameError, "did you mean 'fid'"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_runs_are_compared_by_one_protocol_and_the_comparison_prints_and_saves():
    data = kennel.prepare(PIXELS)
    runs = [
        kennel.train(
            "digits",
            data,
            f"runs/{seed}",
            seed=seed,
            settings={**SMALL, "image.size": 8},
            device="cpu",
            quiet=True,
        )
        for seed in (0, 1)
    ]
    found = kennel.compare(
        runs[0], "runs/1", metrics=["fid", "recall"], extractor="pixels", count=30, device="cpu"
    )
    (scores,) = found.scores
    assert {label: list(by_metric) for label, by_metric in scores.scores.items()} == {
        "0": ["fid", "recall"],
        "1": ["fid", "recall"],
    }
    again = runs[1].judge(metrics="fid", extractor="pixels", count=30)
    assert scores.scores["1"]["fid"].value == again["fid"].value
    assert "| 0 |" in str(found)
    assert found.save("page.html").is_file()
    stored = kennel.compare("runs/0", "runs/1", stored=True, device="cpu")
    assert stored.scores == []
    assert "judge" in stored.notes[-1]
    with pytest.raises(UnknownNameError, match="fidd"):
        kennel.compare("runs/0", "runs/1", metrics="fidd")
