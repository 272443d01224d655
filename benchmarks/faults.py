"""Tests fault tolerance: kill -9, signals, damage, a full disk; docs/fault-tolerance.md shows the table.

A tiny run on the bundled digits is disturbed in every way of the table and restarted until it is finished.
It is then compared bit for bit with the undisturbed run: every tensor, every value of the log except times,
every grid. A tick has two iterations and every fourth tick is validated, so that most of the time is spent on
writing and validation.

    python benchmarks/faults.py [--kills 30] [--signals 10] [--damages 200] [--seed 0] [--folder TEMPORARY]
"""

import argparse
import json
import os
import pickle
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disturbed import TICK, Bench, broken_lines, events_agree, outcome, process_main, reached, wait_for_tick

from kennel.config.recipe import override
from kennel.errors import CheckpointError
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.storage import safetensors_io


@dataclass
class Row:
    """A line of the table: fault, tries, what was lost, and the message."""

    fault: str
    tries: int
    lost: str
    said: str


def killed(bench: Bench, tries: int) -> Row:
    """Kills a run with kill -9 repeatedly and restarts it each time."""
    run, redone, left, broken, hits = bench.folder / "killed", [], 0, 0, 0
    while hits < tries:
        ended = bench.train(run, bench.at_random(signal.SIGKILL))
        if ended.code == 0:  # it finished before the kill: continue with a new run
            assert outcome(run) == bench.whole
            shutil.rmtree(run)
            continue
        assert ended.code == -signal.SIGKILL, ended
        hits += 1
        redone.append(max(0, ended.images - reached(run)))
        left += len(list(run.rglob("*.part")))
        broken += broken_lines(run)
    assert bench.train(run).code == 0
    agree = "agree" if events_agree(run) else "DO NOT AGREE"
    lost = (
        f"at most {max(redone)} images were shown again, {sum(redone) / len(redone):.0f} on average (a tick "
        f"is {TICK}); {bench.same(run)}; {broken} broken lines in the log; TensorBoard's events "
        f"{agree} with it"
    )
    return Row("`kill -9` at random moments", tries, lost, f"nothing ({left} half-written files were swept)")


def signalled(bench: Bench, number: signal.Signals, tries: int) -> Row:
    """Sends a signal at random moments; expects a checkpoint of that moment and the signal's exit code."""
    run, redone, slowest, due, hits, words = bench.folder / f"asked by {number.name}", [], 0.0, 0, 0, ""
    while hits < tries:
        ended = bench.train(run, bench.at_random(number))
        if ended.code == 0:
            shutil.rmtree(run)
            continue
        if ended.code != 128 + number:  # before the signal handler was installed: nothing had started
            assert ended.code in (-number, 1), ended
            continue
        hits += 1
        found = checkpoint.newest(RunDir(run).checkpoints)
        assert found is not None
        redone.append(ended.images - found.images_seen if ended.images else 0)
        due += found.metadata["tick_due"]
        slowest = max(slowest, ended.seconds)
    ended = bench.train(run)
    assert ended.code == 0
    words = next((one for one in ended.said if one.startswith("Resuming")), "")
    lost = (
        f"{max(redone)} images; ended after {slowest:.1f} seconds at most; {due} were in a validation, which "
        f"was done again; {bench.same(run)}"
    )
    return Row(f"{number.name} at random moments", tries, lost, f"exit code {128 + number}; then: {words}")


def damaged(bench: Bench, tries: int, what: str, spoil: Callable[[bytearray], bytearray]) -> Row:
    """Damages the newest checkpoint; each damage must be detected, and three runs are resumed."""
    source = bench.folder / "half"
    if not source.exists():
        bench.train(source, stop_after(480))
    newest = checkpoint.in_folder(RunDir(source).checkpoints)[0]
    content, missed, words = newest.read_bytes(), 0, ""
    spoiled = bench.folder / newest.name
    for _ in range(tries):
        spoiled.write_bytes(spoil(bytearray(content)))
        try:
            checkpoint.load(spoiled)
            missed += 1
        except CheckpointError:
            pass
    redone, same = [], []
    for _ in range(3):
        run = bench.copy_of(source, "spoiled")
        checkpoint.in_folder(RunDir(run).checkpoints)[0].write_bytes(spoil(bytearray(content)))
        redone.append(int(newest.stem) - int(checkpoint.in_folder(RunDir(run).checkpoints)[1].stem))
        ended = bench.train(run)
        assert ended.code == 0
        words = next(one for one in ended.said if one.startswith("The checkpoint"))
        same.append(bench.same(run))
    lost = f"{missed} were missed; {max(redone)} images were shown again; {same[0]}"
    assert len(set(same)) == 1
    return Row(what, tries, lost, bench.for_table(words))


def stop_after(images: int) -> Callable[[Any, Path], float]:
    """Sends SIGTERM when the log has reached `images` images."""

    def disturb(process: Any, out: Path) -> float:
        while process.exitcode is None and not any(line["images"] >= images for line in RunDir(out).log()):
            time.sleep(0.005)
        process.terminate()
        return time.monotonic()

    return disturb


def cut(bench: Bench) -> Callable[[bytearray], bytearray]:
    """Truncates the file at a random place."""
    return lambda content: content[: bench.random.randrange(len(content))]


def flip(bench: Bench) -> Callable[[bytearray], bytearray]:
    """Flips one random bit of the header or the tensors."""

    def spoil(content: bytearray) -> bytearray:
        place = bench.random.randrange(8 * len(content))
        content[place // 8] ^= 1 << place % 8
        return content

    return spoil


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path | None]:
    """Yields a file system of 4 MiB, or None if mounting is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(bench: Bench) -> Row:
    """Fills the disk during a write; with free space the same command resumes."""
    tries, words, lost_checkpoints = 0, set(), 0
    with tiny_disk(bench.folder / "disk") as disk:
        if disk is None:
            return full_files(bench)
        run, page = disk / "run", os.statvfs(disk).f_frsize
        bench.train(run, stop_after(160))
        for pages in (0, 1, 2, 3, 5, 8, 13, 20, 30, 40):
            before, free = reached(run), os.statvfs(disk).f_bavail * page
            (disk / "ballast").write_bytes(b"\1" * max(0, free - pages * page))
            ended = bench.train(run)
            (disk / "ballast").unlink()
            if ended.code == 0:
                break
            assert ended.code == 2, ended
            tries += 1
            words.add(ended.said[-1])
            lost_checkpoints += reached(run) < before
            assert not list(run.rglob("*.part"))
            assert broken_lines(run) == 0
        assert bench.train(run).code == 0
        same = bench.same(run)
    shown = sorted(words, key=len)[-1].replace(str(bench.folder / "disk"), "runs")
    lost = f"{lost_checkpoints} checkpoints; what came after the newest one is shown again; {same}"
    return Row("a full disk, at whichever file meets its end", tries, lost, shown)


def full_files(bench: Bench) -> Row:
    """Replaces `full_disk` if mounting is not allowed: limits the size of files."""
    run, words = bench.folder / "limited", ""
    bench.train(run, stop_after(160))
    limits = [10_000, 20_000, 40_000]
    for limit in limits:
        ended = bench.train(run, file_limit=limit)
        assert ended.code == 2, ended
        words = ended.said[-1]
    assert bench.train(run).code == 0
    return Row(
        "a limit on the size of files",
        len(limits),
        f"no checkpoint; {bench.same(run)}",
        bench.for_table(words),
    )


def two_processes(bench: Bench, tries: int) -> Row:
    """Starts a second process on a run that is being trained."""
    run, words = bench.folder / "shared", []

    def second(process: Any, out: Path) -> float:
        for _ in range(tries):
            wait_for_tick(process, out)
            if process.exitcode is not None:
                break
            file = bench.folder / "second.jsonl"
            file.unlink(missing_ok=True)
            shown = bench.processes.Value("q", 0, lock=False)
            other = bench.processes.Process(
                target=process_main, args=(bench.recipe, bench.data, out, file, shown, {})
            )
            other.start()
            other.join()
            if process.exitcode is not None:  # the first finished in the meantime
                break
            assert other.exitcode == 2
            words.append(json.loads(file.read_text().splitlines()[-1]))
        return time.monotonic()

    assert bench.train(run, second).code == 0
    return Row(
        "a second process on the same run",
        len(words),
        f"nothing; {bench.same(run)}",
        bench.for_table(words[0]),
    )


def changed_recipe(bench: Bench) -> list[Row]:
    """Uses another recipe in the same folder, and then `--init-from`, as the message suggests."""
    run = bench.folder / "whole"
    other = override(bench.recipe, ["batch_size=16"])
    ended = bench.train(run, recipe=other)
    assert ended.code == 2
    rows = [Row("a recipe that changed", 1, f"nothing; {bench.same(run)}", bench.for_table(ended.said[-1]))]
    forked = bench.train(bench.folder / "new", recipe=other, parent=run)
    assert forked.code == 0
    words = next(one for one in forked.said if "starts with" in one)
    rows.append(
        Row("the same with `--init-from`", 1, "nothing: the old run is only read", bench.for_table(words))
    )
    others = override(bench.recipe, ["generator.name=mlp", "discriminator.name=mlp"])
    ended = bench.train(bench.folder / "others", recipe=others, parent=run)
    assert ended.code == 2
    assert not (bench.folder / "others").exists()
    rows.append(
        Row("a fork with other networks", 1, "nothing; no folder was made", bench.for_table(ended.said[-1]))
    )
    return rows


class Malicious:
    """An object that creates the file `marker` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self.marker, "w")


def other_files(bench: Bench) -> list[Row]:
    """Replaces the newest checkpoint by files that this version of kennel did not write."""
    marker, rows = bench.folder / "it was run", []
    words = json.dumps({"format": safetensors_io.FORMAT + 1, "kennel": "9.0", "images_seen": 10**6})
    metadata = {"kennel": words, "seal": safetensors_io._seal(words)}
    newer = json.dumps({"__metadata__": metadata}).encode()
    giant = json.dumps(
        {"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}
    ).encode()
    kinds = {
        "a checkpoint of a newer kennel": len(newer).to_bytes(8, "little") + newer,
        "a pickle that runs code, named .safetensors": pickle.dumps(Malicious(marker)),
        "a header that claims 2^63 bytes": (2**63).to_bytes(8, "little") + b"{}",
        "a tensor that claims 4 TB": len(giant).to_bytes(8, "little") + giant,
    }
    for fault, content in kinds.items():
        run = bench.copy_of(bench.folder / "half", "replaced")
        checkpoint.in_folder(RunDir(run).checkpoints)[0].write_bytes(content)
        ended = bench.train(run)
        refused = "newer" in fault
        assert ended.code == (2 if refused else 0), ended
        lost = (
            "nothing: the run is refused and left as it is" if refused else f"as by damage; {bench.same(run)}"
        )
        said = next(one for one in ended.said if "checkpoint" in one and "Validation" not in one)
        rows.append(Row(fault, 1, lost, bench.for_table(said)))
    assert not marker.exists()
    return rows


def misplaced(bench: Bench) -> list[Row]:
    """Uses checkpoints of another run or under a wrong name, and removes checkpoints."""
    stranger, rows = bench.folder / "stranger", []
    bench.train(stranger, stop_after(480), recipe=override(bench.recipe, ["seed=9"]))

    def foreign(folder: RunDir) -> None:
        newest = checkpoint.in_folder(folder.checkpoints)[0]
        source = checkpoint.in_folder(RunDir(stranger).checkpoints)[0]
        newest.unlink()
        shutil.copy(source, newest.with_name(source.name))

    def renamed(folder: RunDir) -> None:
        newest = checkpoint.in_folder(folder.checkpoints)[0]
        newest.rename(newest.with_name(checkpoint.name_for(9999)))

    def all_numbered(folder: RunDir) -> None:
        for path in checkpoint.in_folder(folder.checkpoints):
            path.unlink()

    def all_of_them(folder: RunDir) -> None:
        all_numbered(folder)
        folder.best_checkpoint.unlink()

    for fault, spoil, word in (
        ("another run's checkpoint in its place", foreign, "of another run"),
        ("the newest checkpoint under a wrong name", renamed, "another name"),
        ("all checkpoints removed but the best", all_numbered, "the best"),
    ):
        run = bench.copy_of(bench.folder / "half", "replaced")
        spoil(RunDir(run))
        ended = bench.train(run)
        assert ended.code == 0, ended
        said = next(one for one in ended.said if word in one)
        rows.append(
            Row(fault, 1, f"what came after the one that is taken is shown again; {bench.same(run)}", said)
        )
    run = bench.copy_of(bench.folder / "half", "replaced")
    all_of_them(RunDir(run))
    log = RunDir(run).log_file.read_bytes()
    ended = bench.train(run)
    assert ended.code == 2
    left = "left as it is" if RunDir(run).log_file.read_bytes() == log else "CUT"
    rows.append(Row("all checkpoints removed", 1, f"the run is refused, its log {left}", ended.said[-1]))
    return [Row(row.fault, row.tries, row.lost, bench.for_table(row.said)) for row in rows]


def table(rows: list[Row]) -> str:
    """Formats the rows as Markdown."""
    lines = ["| fault | tries | lost | message |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {row.fault} | {row.tries} | {row.lost} | {row.said} |" for row in rows])


def main() -> None:
    """Tests every fault and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--signals", type=int, default=10)
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="Parent of the temporary folder of the runs, which is removed at the end."
    )
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = Path(tempfile.mkdtemp(prefix="faults.", dir=arguments.folder)).resolve()
    os.environ["KENNEL_CACHE"] = str(folder / "cache")
    began = time.perf_counter()
    try:
        bench = Bench(folder, arguments.seed)
        rows = [killed(bench, arguments.kills)]
        rows += [signalled(bench, one, arguments.signals) for one in (signal.SIGTERM, signal.SIGINT)]
        rows += [
            damaged(bench, arguments.damages, "the newest checkpoint cut at a random place", cut(bench)),
            damaged(bench, arguments.damages, "a random bit of it flipped", flip(bench)),
            full_disk(bench),
            two_processes(bench, 5),
            *changed_recipe(bench),
            *other_files(bench),
            *misplaced(bench),
        ]
        print(table(rows))
        print(f"\n{time.perf_counter() - began:.0f} seconds; the run undisturbed {bench.seconds:.1f}.")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
