"""`kennel techniques`, `losses` and `metrics` list what is registered and explain each."""

import pytest

from kennel.config.base import Config
from kennel.evaluation.metrics.base import METRICS
from kennel.losses import LOSSES
from kennel.techniques import TECHNIQUES

LISTS = {"techniques": TECHNIQUES, "losses": LOSSES, "metrics": METRICS}


@pytest.mark.parametrize("command", LISTS)
def test_all_that_is_registered_is_listed_and_explained(command, kennel):
    listing = kennel(command)
    assert listing.code == 0, listing.err
    listed = {line.split()[0] for line in listing.out.splitlines() if line and not line.startswith(" ")}
    assert set(LISTS[command]) <= listed
    for name in LISTS[command]:
        outcome = kennel(command, name)
        assert outcome.code == 0, outcome.err
        assert name in outcome.out


@pytest.mark.parametrize("command", ["techniques", "losses"])
def test_the_page_of_a_part_has_each_of_its_options_with_what_it_takes(command, kennel):
    for name in LISTS[command]:
        page = kennel(command, name).out
        rows = {line.split()[0] for line in page.splitlines() if line.strip()}
        for option, about in LISTS[command][name].model_fields.items():
            kind = about.annotation
            group = isinstance(kind, type) and issubclass(kind, Config)
            assert {f"{option}.{one}" for one in kind.model_fields} & rows if group else option in rows
        assert not any(line.endswith(" a value") for line in page.splitlines())


def test_a_default_of_one_is_a_number_and_bounds_are_said(kennel):
    page = kennel("techniques", "ada").out
    rows = {line.split()[0]: line.split()[1:] for line in page.splitlines() if line.strip()}
    assert rows["until"] == ["1.0", "a", "number,", "over", "0", "to", "1"]
    assert rows["fixed"][:4] == ["null", "a", "number", "or"]
    assert "--set techniques.ada=on" in page


def test_groups_and_other_names_of_metrics_are_explained(kennel):
    outcome = kennel("metrics", "prdc")
    assert [word for word in ("Precision:", "Recall:", "Density:", "Coverage:") if word in outcome.out] == [
        "Precision:",
        "Recall:",
        "Density:",
        "Coverage:",
    ]
    assert "Inception Score:" in kennel("metrics", "is").out


@pytest.mark.parametrize(
    ("command", "name", "meant"),
    [("techniques", "emma", "ema"), ("losses", "hing", "hinge"), ("metrics", "fidd", "fid")],
)
def test_a_misspelt_name_is_answered_with_the_nearest(command, name, meant, kennel):
    outcome = kennel(command, name)
    assert outcome.code == 2
    assert f"did you mean '{meant}'" in outcome.err


def test_a_misspelt_command_or_option_is_answered_with_the_nearest(kennel):
    for words, meant in (
        (("trian",), "did you mean 'train'?"),
        (("data", "prepaer"), "did you mean 'prepare'?"),
        (("train", "dcgan", "--devcie", "cpu"), "did you mean '--device'?"),
        (("extractor", "train", "x", "--outt", "y"), "did you mean '--out'?"),
    ):
        outcome = kennel(*words)
        assert outcome.code == 2
        assert meant in outcome.err


def test_help_is_asked_for_in_two_ways_and_names_options_whole(kennel):
    for words in ((), ("train",), ("data",), ("data", "prepare"), ("judge",), ("extractor", "train")):
        short, long = kennel(*words, "-h"), kennel(*words, "--help")
        assert (short.code, short.out) == (0, long.out)
        assert "…" not in short.out
        assert "<bool>" not in short.out
