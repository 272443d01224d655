"""`kennel plan` as a user meets it."""

import importlib
import json

import pytest

TINY = ("generator.width=4", "discriminator.width=4", "batch=8", "ticks=2", "image.size=8")
QUICK = (
    *(word for setting in (*TINY, "validation.count=20") for word in ("--set", setting)),
    *("--images", "64", "--device", "cpu", "--seconds", "0"),
)


ROWS = (
    *("parameters", "work", "speed", "memory", "disk"),
    *("training", "validation", "other", "total"),
)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    module = importlib.import_module("kennel.wiring.forecasting.forecast")
    monkeypatch.setattr(module, "product_rate", lambda device, dtype: 1e9)
    monkeypatch.setattr("kennel.wiring.forecasting.ticks.PART_SECONDS", 0.01)


def test_the_page_is_short_and_has_a_row_for_each_thing(kennel, packed_set, tmp_path):
    figures = tmp_path / "plan.json"
    outcome = kennel("plan", "digits", "--data", packed_set(), *QUICK, "--json", figures)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert len(lines) < 30
    assert "40 images, 8x8, grey), cpu, float32, batch 8" in lines[0]
    rows = [line.split()[0] for line in lines[1:] if not line.startswith((" ", "-"))]
    assert rows == list(ROWS)
    content = json.loads(figures.read_text())
    assert f"generator {content['parameters']['generator']:,}" in outcome.out
    assert content["images_left"] == 64
    assert content["flops_per_image"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "set"]


def test_what_does_not_fit_is_said_without_times(kennel, packed_set, monkeypatch):
    module = importlib.import_module("kennel.wiring.forecasting.forecast")
    monkeypatch.setattr(module, "free_memory", lambda device: 1000)
    outcome = kennel("plan", "digits", "--data", packed_set(), *QUICK)
    assert outcome.code == 0, outcome.err
    assert "- It needs" in outcome.out
    assert "total" not in [line.split(" ")[0] for line in outcome.out.splitlines()]


def test_ctrl_c_ends_it_at_once(kennel, packed_set, monkeypatch):
    module = importlib.import_module("kennel.wiring.forecasting.forecast")

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "measured_speed", interrupted)
    outcome = kennel("plan", "digits", "--data", packed_set(), *QUICK)
    assert outcome.code == 130
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digts"], "there is no recipe 'digts': did you mean 'digits'"),
        (["digits", "--set", "bach=3"], "did you mean 'batch'"),
        (["digits", "--images", "10", "--epochs", "1"], "give one of them"),
        (["digits", "--images", "1000000001M", "--set", "image.size=8"], "a budget is at most"),
        (["digits", "--epochs", "1e300"], "a budget is at most"),
        (["digits", "--epochs", "1e14", "--set", "image.size=8"], "a budget is at most"),
        (["digits", "--device", "tpu"], "the device 'tpu' cannot be used here"),
        (["dcgan.dogs"], "wants image size 64"),
        (["digits", "--images", "4", "--set", "image.size=8"], "is more than the whole budget"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_a_mistake_is_answered_as_train_answers_it(kennel, packed_set, tmp_path, arguments, message):
    outcome = kennel("plan", *arguments, "--data", packed_set())
    assert outcome.code == 2
    assert outcome.out == ""
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_the_options_that_train_has_too_have_the_same_words(kennel):
    import typer

    from kennel.cli import app

    commands = typer.main.get_command(app).commands
    train, plan = ({one.name: one for one in commands[name].params} for name in ("train", "plan"))
    shared = set(train) - {"out", "fork"}  # a forecast takes any folder, and begins none
    assert shared <= set(plan)
    for name in shared:
        assert (plan[name].opts, plan[name].help) == (train[name].opts, train[name].help)
        assert plan[name].default == train[name].default or name in ("settings",)
