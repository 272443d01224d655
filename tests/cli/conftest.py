"""The command as a user types it, in this process."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from kennel.cli.console import console, error_console


@dataclass(frozen=True)
class Outcome:
    """What a command came to: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _wide(monkeypatch) -> None:
    """Lines of 200 columns, also where an earlier test made the consoles."""
    monkeypatch.setattr(console, "_width", 200)
    monkeypatch.setattr(error_console, "_width", 200)


@pytest.fixture
def kennel(monkeypatch, capfd, tmp_path) -> Callable[..., Outcome]:
    """Runs `kennel ARGUMENTS` through its main door; the cache is a folder of the test's own."""
    from kennel.cli import main

    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KENNEL_WEIGHTS", raising=False)
    monkeypatch.setenv("COLUMNS", "200")  # for commands in processes of their own

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["kennel", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 0
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run
