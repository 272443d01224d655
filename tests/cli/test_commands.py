"""The help of all commands, and what an option of another name is answered with."""

import re
import subprocess
import sys

import pytest
import typer

import kennel.cli
from kennel.cli.commands import SECTIONS

COMMAND = typer.main.get_command(kennel.cli.app)


def leaves(command, words=()):
    """All commands below `command` that do something, with the words that call them."""
    for name, one in command.commands.items():
        if hasattr(one, "commands"):
            yield from leaves(one, (*words, name))
        else:
            yield (*words, name), one


LEAVES = dict(leaves(COMMAND))


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_the_help_of_every_command_has_an_example_that_the_command_takes(words):
    command = LEAVES[words]
    example = re.search(r"^Example: kennel (.*)$", command.help, re.MULTILINE)
    assert example is not None
    arguments = example[1].split()
    assert tuple(arguments[: len(words)]) == words
    with command.make_context("kennel", arguments[len(words) :]):
        pass


def test_the_commands_are_listed_in_sections(kennel):
    text = kennel("--help").out
    places = [text.index(f"\n{section}:\n") for section in SECTIONS]
    assert places == sorted(places)
    assert "\nCommands:" not in text
    text = kennel("train", "--help").out
    for section in ("Arguments", "Options", "Recipe", "Budget (one of them)", "Device and speed"):
        assert f"\n{section}:\n" in text


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("judge", "run", "--data", "set"), "--reference"),
        (("judge", "run", "--floor"), "--reference-split"),
        (("judge", "run", "--neighbours", "3"), "--neighbors"),
        (("judge", "run", "--density-neighbours", "3"), "--density-neighbors"),
        (("compare", "run", "best", "newest", "--data", "set"), "--reference"),
        (("train", "--resident", "never"), "--device-cache"),
        (("train", "--speed", "plain"), "--compute"),
        (("train", "--fork", "new"), "--init-from"),
        (("data", "show", "set", "--all"), "--all-classes"),
        (("data", "prepare", "a", "b", "--colour", "rgb"), "--color"),
        (("data", "prepare", "a", "b", "--centre-crop", "3"), "--center-crop"),
    ],
)
def test_an_option_of_another_name_is_answered_with_the_name_it_has(kennel, words, meant):
    outcome = kennel(*words)
    assert outcome.code == 2
    assert f"did you mean '{meant}'?" in outcome.err


def test_a_shell_can_complete_commands_and_options(monkeypatch):
    for words, number, found in (("kennel tra", 1, "train"), ("kennel train --init", 2, "--init-from")):
        monkeypatch.setenv("_KENNEL_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(number))
        command = [sys.executable, "-c", "from kennel.cli import main; main()"]
        output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        assert found in output.split()


def test_help_imports_nothing_slow():
    script = (
        "import sys, kennel.cli; print(*{'torch', 'numpy', 'pydantic', 'rich.console'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert output.strip() == ""
