"""`kennel plan` as a user meets it."""

import json
from datetime import datetime

import pytest

from kennel.cli.plan import clock, rows, size_words
from kennel.planning import Forecast

TINY = (
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "num_ticks=2",
    "image.size=8",
)
QUICK = (
    *(word for setting in (*TINY, "validation.num_samples=20") for word in ("--set", setting)),
    *("--images", "64", "--device", "cpu", "--seconds", "100"),
)
ROWS = ["parameters", "operations", "memory", "disk", "speed", "training"]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    """One iteration is timed."""
    monkeypatch.setattr("kennel.planning.TIMED", 0.0001)


def test_the_page_is_short_and_has_a_row_for_each_thing(kennel, packed_set, tmp_path):
    figures = tmp_path / "plan.json"
    outcome = kennel("plan", "digits", "--data", packed_set(), *QUICK, "--json", figures)
    assert outcome.code == 0, outcome.err
    assert outcome.err == "planning: running iterations for at most 100 s\n"
    lines = outcome.out.splitlines()
    assert len(lines) < 15
    assert "40 images, 8x8, gray), cpu, float32, batch 8" in lines[0]
    rows = [line.split()[0] for line in lines[1:] if not line.startswith((" ", "-"))]
    assert rows == ROWS
    content = json.loads(figures.read_text())
    assert f"generator {content['parameters']['generator']:,}" in outcome.out
    assert content["images_left"] == 64
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "set"]


def test_what_does_not_fit_is_said_without_times(kennel, packed_set, monkeypatch):
    monkeypatch.setattr("kennel.planning.free_bytes", lambda device: 1000)
    outcome = kennel("plan", "digits", "--data", packed_set(), *QUICK)
    assert outcome.code == 0, outcome.err
    assert "needs more memory than is free; give a smaller --set batch" in outcome.out
    assert "speed" not in [line.split(" ")[0] for line in outcome.out.splitlines()]


def test_where_the_bound_is_reached_it_says_so_and_gives_what_is_known(kennel, packed_set):
    outcome = kennel("plan", "digits", "--data", packed_set(), *QUICK[:-1], "0")
    assert outcome.code == 0, outcome.err
    assert [line.split()[0] for line in outcome.out.splitlines()[1:] if not line.startswith(" ")] == [
        *("parameters", "memory", "disk", "time")
    ]
    assert "one iteration takes longer than the 0 s that measuring may take" in outcome.out


def test_ctrl_c_ends_it_at_once(kennel, packed_set, monkeypatch):
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kennel.planning._measured", interrupted)
    outcome = kennel("plan", "digits", "--data", packed_set(), *QUICK)
    assert outcome.code == 130
    assert "Traceback" not in outcome.err


def planned(**figures: object) -> Forecast:
    """What was found of a run of 128 images on a set of 40."""
    known: dict[str, object] = {"recipe": "digits", "data": "set", "device": "cpu", "precision": "float32"}
    known |= {"batch": 8, "set_size": 40, "shape": (1, 8, 8), "parameters": {"generator": 5}, "lazy": {}}
    known |= {"images_left": 128, "images_seen": 0, "iteration_images": 8, "ticks": 4, "validations": 4}
    known |= {"resident": 0, "memory_free": None, "disk_free": 10**9, "bound": 20.0, "images_per_second": 1.0}
    return Forecast(**known | figures)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (78_000_000, "(1,950,000 epochs)"),
        (78_000, "(1,950 epochs)"),
        (128, "(3.2 epochs)"),
        (2, "(0.05 epochs)"),
        (0, "(0.0 epochs)"),
    ],
)
def test_no_number_of_epochs_has_an_exponent(count, words):
    told = dict(rows(planned(images_left=count), datetime(2026, 3, 2, 12)))
    assert words in told["training"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (60, "1:00 for 60 images (1.5 epochs); begun now it ends 12:01"),
        (86_400, "24:00:00 for 86,400 images (2,160 epochs); begun now it ends Tue 03 Mar 12:00"),
        (631_152_000, "begun now it ends Fri 02 Mar 2046"),
        (10**12, "begun now it would end after the year 9999"),
    ],
)
def test_the_end_has_its_year_where_it_is_far(seconds, words):
    told = dict(rows(planned(images_left=seconds), datetime(2026, 3, 2, 12)))
    assert told["training"].endswith(words)


def test_a_disk_with_less_free_than_the_run_writes_is_told():
    told = dict(rows(planned(checkpoints=4, checkpoint_bytes=10**9), datetime(2026, 3, 2)))
    assert told["disk"] == "4.0 GB for 4 checkpoints of 1.0 GB; 1.0 GB free, less than that"


@pytest.mark.parametrize(
    ("seconds", "words"), [(5.4, "0:05"), (3661.0, "1:01:01"), (200_000.0, "2 d 7:33:20")], ids=str
)
def test_long_times_have_days(seconds, words):
    assert clock(seconds) == words


def test_sizes_have_their_unit():
    counts = (900, 12_345_678, 123_000_000, 2_500_000_000)
    assert [size_words(count) for count in counts] == ["1 kB", "12.3 MB", "123 MB", "2.5 GB"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digts"], "there is no recipe 'digts': did you mean 'digits'"),
        (["digits", "--set", "bach_size=3"], "did you mean 'batch_size'"),
        (["digits", "--images", "10", "--epochs", "1"], "give one of them"),
        (["digits", "--images", "1000000001M", "--set", "image.size=8"], "a budget is at most"),
        (["digits", "--epochs", "1e300"], "a budget is at most"),
        (["digits", "--epochs", "1e14", "--set", "image.size=8"], "a budget is at most"),
        (["digits", "--device", "tpu"], "the device 'tpu' is not available"),
        (["dcgan.dogs"], "needs image size 64"),
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
    # A forecast takes any folder, and begins none; its recipe is named and its set is prepared.
    shared = set(train) - {"out", "init_from", "first", "second", "hours"}
    assert shared <= set(plan)
    for name in shared:
        assert (plan[name].opts, plan[name].help) == (train[name].opts, train[name].help)
        assert plan[name].default == train[name].default or name in ("settings",)
