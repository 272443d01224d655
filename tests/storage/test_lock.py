"""One process at a time holds a folder, and a killed one holds nothing."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from kennel.errors import RunError
from kennel.storage.lock import HOLDER, NAME, is_locked, locked

HOLD = """
import sys
from pathlib import Path
from kennel.storage.lock import locked
with locked(Path(sys.argv[1]), "trained", print):
    print("locked", flush=True)
    sys.stdin.read()
"""


def holder(folder) -> subprocess.Popen:
    """A process that holds the lock of `folder` until its input ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "locked\n"
    return child


def test_a_second_process_is_refused_with_who_holds_it_and_since_when(tmp_path):
    with holder(tmp_path) as child:
        with pytest.raises(RunError) as error, locked(tmp_path, "trained", print):
            pass
        sentence = str(error.value)
        for word in (str(tmp_path), "being trained", f"process {child.pid}", os.uname().nodename, "since 20"):
            assert word in sentence
        assert "\n" not in sentence
        assert (tmp_path / NAME).exists()
        child.stdin.close()
        assert child.wait() == 0
    with locked(tmp_path, "trained", print):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_killed_holds_nothing(tmp_path):
    with holder(tmp_path) as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert (tmp_path / NAME).exists()
    with locked(tmp_path, "trained", print):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_a_forked_child_does_not_hold_it_for_its_dead_parent(late, tmp_path):
    # What is registered first runs first in the child: one that is `late` is as slow as on a loaded machine.
    slow = f"import os, time\nos.register_at_fork(after_in_child=lambda: time.sleep({late}))\n"
    fork = "    if os.fork() == 0:\n        time.sleep(60)\n        os._exit(0)\n"
    script = slow + HOLD.replace('    print("locked"', fork + '    print("locked"')
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with child:
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(RunError), locked(tmp_path, "trained", print):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        try:
            with locked(tmp_path, "trained", print):
                pass
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def test_a_dead_process_is_not_waited_for_longer_than_its_children_need(tmp_path, monkeypatch):
    monkeypatch.setattr("kennel.storage.lock.PATIENCE_SECONDS", 0.1)
    with holder(tmp_path) as child:
        words = json.loads((tmp_path / HOLDER).read_text())
        (tmp_path / HOLDER).write_text(json.dumps(words | {"pid": 2**22 + 1}))  # more than Linux gives
        with pytest.raises(RunError, match="wait for its end"), locked(tmp_path, "trained", print):
            pass
        child.stdin.close()


def test_of_many_that_come_and_go_only_one_is_inside(tmp_path):
    inside, most, entered = [], [], []

    def come_and_go():
        for _ in range(200):
            try:
                with locked(tmp_path, "trained", print):
                    inside.append(1)
                    most.append(len(inside))
                    entered.append(1)
                    inside.pop()
            except RunError:
                pass

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert max(most) == 1
    assert len(entered) >= 10


@pytest.mark.parametrize(
    "words", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "host": "x", "since": "long ago"}']
)
def test_a_holder_that_has_not_said_who_it_is_is_another_process(tmp_path, words):
    with holder(tmp_path) as child:
        (tmp_path / HOLDER).write_text(words)
        with pytest.raises(RunError, match="by another process: wait"), locked(tmp_path, "trained", print):
            pass
        child.stdin.close()


def test_where_files_cannot_be_locked_it_is_said_and_the_block_runs(tmp_path, monkeypatch):
    import errno

    def none_here(*given):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none_here)
    said = []
    with locked(tmp_path, "trained", said.append):
        said.append("inside")
    assert said == [
        f"Files in {tmp_path} cannot be locked (No locks available): start only one process on it.",
        "inside",
    ]


def test_a_link_in_the_locks_place_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / NAME).symlink_to("mine")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path, "trained", print):
        pass
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_link_in_the_place_of_the_holders_words_is_replaced(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / HOLDER).symlink_to("mine")
    with locked(tmp_path, "trained", print):
        assert not (tmp_path / HOLDER).is_symlink()
    assert (tmp_path / "mine").read_text() == "precious"


def test_whether_it_is_held_can_be_asked_without_taking_it(tmp_path):
    assert not is_locked(tmp_path)
    with holder(tmp_path) as child:
        assert is_locked(tmp_path)
        assert is_locked(tmp_path)
        child.stdin.close()
        assert child.wait() == 0
    assert not is_locked(tmp_path)
    with locked(tmp_path, "trained", print):
        pass
