"""What befalls a run, tried for real: kill -9, signals, damage, a full disk, as docs/faults.md shows it.

A tiny run on the bundled digits is disturbed in every way of the table and started again until it is over.
It is then held against the same run undisturbed: every tensor, every value of the log but for seconds, every
grid, bit for bit. Its ticks are two rounds each and every fourth is validated, so that most of its time goes into
writing and judging. Processes are forked from a server that has imported everything, so that a life is short.

    python benchmarks/faults.py [--kills 30] [--signals 10] [--damages 200] [--seed 0] [--folder TEMPORARY]
"""

import argparse
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kennel import checkpoint, sealed
from kennel.errors import CheckpointError, KennelError
from kennel.recipe import Recipe, override
from kennel.recipes import built_in
from kennel.run_folder import RunFolder
from kennel.watch import Watch
from kennel.wiring import train

SETTINGS = (
    *("image.size=8", "image.channels=1", "generator.width=4", "discriminator.width=4", "batch=8"),
    *("budget.images=960", "ticks=60", "validation.every_ticks=4", "validation.extractor=pixels"),
    *("validation.metric=fid", "validation.count=32"),
)
TICK = 16
SERVED = (
    *("kennel.wiring.training", "kennel.metrics.judges", "PIL.PngImagePlugin", "torch._dynamo"),
    *("tensorboard.summary.writer.record_writer", "tensorboard.compat.proto.event_pb2"),
)
"""What the server imports once for all processes."""


@dataclass
class Row:
    """A line of the table; `lost` and `said` are words."""

    fault: str
    tries: int
    lost: str
    said: str


@dataclass
class Ended:
    """How a process ended: its exit code, what it said, how many images it had shown, seconds since asked."""

    code: int
    said: list[str]
    images: int
    seconds: float = 0.0


class Told(Watch):
    """Writes what is said to a file, and the images shown to memory that outlives a kill."""

    def __init__(self, file: Path, shown: Any) -> None:
        """`file` grows by a line of JSON for each sentence."""
        self.file, self.shown, self.by = file, shown, 0

    def say(self, sentence: str) -> None:
        """A line of the file."""
        with self.file.open("a") as file:
            file.write(json.dumps(sentence) + "\n")

    def at_round(self, images_seen: int, total: int) -> None:
        """How far it came."""
        self.shown.value = images_seen

    def stopping(self, by: int) -> None:
        """The signal that asked."""
        self.by = by


def life(recipe: Recipe, data: Path, out: Path, file: Path, shown: Any, options: dict[str, Any]) -> None:
    """One process: the run until its end, or until something ends it; exits as the command does."""
    torch.set_num_threads(1)
    if (limit := options.pop("file_limit", None)) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    watch = Told(file, shown)
    try:
        finished = train(recipe, data, out, watch=watch, **options)
    except KennelError as error:
        file.open("a").write(json.dumps(str(error)) + "\n")
        sys.exit(2)
    sys.exit(0 if finished else 128 + watch.by)


class Bench:
    """A set, a recipe, a place for runs, and the run that nobody disturbed."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Prepares the set and trains the undisturbed run."""
        self.folder, self.chance = folder, random.Random(seed)
        self.recipe = override(built_in("digits"), SETTINGS)
        self.data = folder / "digits"
        command = [sys.executable, "-m", "kennel", "data", "prepare", "digits", str(self.data), "--size", "8"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(list(SERVED))
        began = time.perf_counter()
        assert self.live(folder / "whole").code == 0
        self.seconds = time.perf_counter() - began
        self.whole = outcome(folder / "whole")

    def live(
        self,
        out: Path,
        disturb: Callable[[Any, Path], float] | None = None,
        recipe: Recipe | None = None,
        **options: Any,
    ) -> Ended:
        """One process on the run `out`; `disturb(process, out)` meets it alive, and gives when it asked."""
        file = self.folder / "said.jsonl"
        file.unlink(missing_ok=True)
        shown = self.processes.Value("q", 0, lock=False)
        given = (recipe or self.recipe, self.data, out, file, shown, options)
        process = self.processes.Process(target=life, args=given)
        process.start()
        asked = time.monotonic() if disturb is None else disturb(process, out)
        process.join()
        took = time.monotonic() - asked
        said = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return Ended(process.exitcode, said, shown.value, took)

    def copy_of(self, run: Path, name: str) -> Path:
        """A run to spoil."""
        copied = self.folder / name
        shutil.rmtree(copied, ignore_errors=True)
        return Path(shutil.copytree(run, copied))

    def at_random(self, number: int) -> Callable[[Any, Path], float]:
        """Sends this signal within 60 ms of a new tick, or in a quarter of the cases of the start."""

        def disturb(process: Any, out: Path) -> float:
            if self.chance.random() < 0.75:
                wait_for_tick(process, out)
                process.join(self.chance.uniform(0, 0.06))
            else:
                process.join(self.chance.uniform(0, 0.4))
            asked = time.monotonic()
            if process.exitcode is None:
                os.kill(process.pid, number)
            return asked

        return disturb

    def in_words(self, sentence: str) -> str:
        """A sentence for the table, without this machine's folders."""
        return sentence.replace(str(self.folder), "runs").replace("|", "\\|")

    def same(self, run: Path) -> str:
        """Whether the run came to what the undisturbed one did."""
        return "the outcome is the same bit for bit" if outcome(run) == self.whole else "THE OUTCOME DIFFERS"


def wait_for_tick(process: Any, run: Path) -> None:
    """Until the log has a line more than at the start, or the process is over."""
    log, before = RunFolder(run).log_file, None
    while process.exitcode is None:
        size = log.stat().st_size if log.exists() else 0
        if before is not None and size > before:
            return
        before = size
        time.sleep(0.001)


def outcome(run: Path) -> dict[str, Any]:
    """All that must be equal between two runs: the tensors, the log but for seconds, the grids, the best."""
    folder = RunFolder(run)
    newest = checkpoint.newest(folder.checkpoints)
    assert newest is not None
    best = checkpoint.load(folder.best_checkpoint)
    log = [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()]
    grids = {path.name: path.read_bytes() for path in sorted(folder.samples.glob("*.png"))}
    words = (newest.images_seen, newest.about["checksum"], best.images_seen, best.about["checksum"])
    return {"words": words, "log": log, "grids": grids}


def reached(run: Path) -> int:
    """Images at the newest whole checkpoint."""
    folder = RunFolder(run).checkpoints
    found = checkpoint.newest(folder) if folder.is_dir() else None
    return found.images_seen if found else 0


def broken_lines(run: Path) -> int:
    """Lines of the log that are no JSON, but for a last one that was cut."""
    file = RunFolder(run).log_file
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    return sum(1 for line in lines if not line.startswith("{") or not line.endswith("}"))


def events_agree(run: Path) -> bool:
    """Whether TensorBoard reads the log's steps and values, each once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(RunFolder(run).tensorboard), size_guidance={"scalars": 0})
    events.Reload()
    log = RunFolder(run).log()
    for tag in {name for line in log for name in line} - {"images"}:
        written = [(event.step, event.value) for event in events.Scalars(tag)]
        logged = [(line["images"], line[tag]) for line in log if line.get(tag) is not None]
        same = all(
            abs(one - other) <= 1e-6 * abs(other)
            for (_, one), (_, other) in zip(written, logged, strict=False)
        )
        if [step for step, _ in written] != [step for step, _ in logged] or not same:
            return False
    return True


def killed(bench: Bench, tries: int) -> Row:
    """kill -9 again and again, the same run started anew each time."""
    run, redone, left, broken, hits = bench.folder / "killed", [], 0, 0, 0
    while hits < tries:
        ended = bench.live(run, bench.at_random(signal.SIGKILL))
        if ended.code == 0:  # it was over before: the rest of the kills go to a run from its start
            assert outcome(run) == bench.whole
            shutil.rmtree(run)
            continue
        assert ended.code == -signal.SIGKILL, ended
        hits += 1
        redone.append(max(0, ended.images - reached(run)))
        left += len(list(run.rglob("*.part")))
        broken += broken_lines(run)
    assert bench.live(run).code == 0
    agree = "agree" if events_agree(run) else "DO NOT AGREE"
    lost = (
        f"at most {max(redone)} images were shown again, {sum(redone) / len(redone):.0f} on average (a tick "
        f"is {TICK}); {bench.same(run)}; {broken} broken lines in the log; TensorBoard's events {agree} with it"
    )
    return Row("`kill -9` at random moments", tries, lost, f"nothing ({left} half-written files were swept)")


def signalled(bench: Bench, number: signal.Signals, tries: int) -> Row:
    """A signal at random moments: the checkpoint of that moment, and the signal's exit code."""
    run, redone, slowest, due, hits, words = bench.folder / f"asked by {number.name}", [], 0.0, 0, 0, ""
    while hits < tries:
        ended = bench.live(run, bench.at_random(number))
        if ended.code == 0:
            shutil.rmtree(run)
            continue
        if ended.code != 128 + number:  # it came before the run heard signals: nothing had begun
            assert ended.code in (-number, 1), ended
            continue
        hits += 1
        found = checkpoint.newest(RunFolder(run).checkpoints)
        assert found is not None
        redone.append(ended.images - found.images_seen if ended.images else 0)
        due += found.about["tick_due"]
        slowest = max(slowest, ended.seconds)
    ended = bench.live(run)
    assert ended.code == 0
    words = next((one for one in ended.said if one.startswith("Going on")), "")
    lost = (
        f"{max(redone)} images; ended after {slowest:.1f} seconds at most; {due} were in a validation, which "
        f"was done again; {bench.same(run)}"
    )
    return Row(f"{number.name} at random moments", tries, lost, f"exit code {128 + number}; then: {words}")


def damaged(bench: Bench, tries: int, what: str, spoil: Callable[[bytearray], bytearray]) -> Row:
    """The newest checkpoint is spoiled: each time it must be found out, and three runs are gone on with."""
    source = bench.folder / "half"
    if not source.exists():
        bench.live(source, stop_after(480))
    newest = checkpoint.in_folder(RunFolder(source).checkpoints)[0]
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
        checkpoint.in_folder(RunFolder(run).checkpoints)[0].write_bytes(spoil(bytearray(content)))
        redone.append(int(newest.stem) - int(checkpoint.in_folder(RunFolder(run).checkpoints)[1].stem))
        ended = bench.live(run)
        assert ended.code == 0
        words = next(one for one in ended.said if "checkpoint" in one)
        same.append(bench.same(run))
    lost = f"{missed} were missed; {max(redone)} images were shown again; {same[0]}"
    assert len(set(same)) == 1
    return Row(what, tries, lost, bench.in_words(words))


def stop_after(images: int) -> Callable[[Any, Path], float]:
    """SIGTERM once the log has come so far."""

    def disturb(process: Any, out: Path) -> float:
        while process.exitcode is None and not any(line["images"] >= images for line in RunFolder(out).log()):
            time.sleep(0.005)
        process.terminate()
        return time.monotonic()

    return disturb


def cut(bench: Bench) -> Callable[[bytearray], bytearray]:
    """Ends the file anywhere."""
    return lambda content: content[: bench.chance.randrange(len(content))]


def flip(bench: Bench) -> Callable[[bytearray], bytearray]:
    """Turns one bit over, of the header or of the tensors."""

    def spoil(content: bytearray) -> bytearray:
        place = bench.chance.randrange(8 * len(content))
        content[place // 8] ^= 1 << place % 8
        return content

    return spoil


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of 4 MiB; None where none may be mounted."""
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
    """The disk fills within whatever is written next; with room again the same command goes on."""
    tries, words, lost_checkpoints = 0, set(), 0
    with tiny_disk(bench.folder / "disk") as disk:
        if disk is None:
            return full_files(bench)
        run, page = disk / "run", os.statvfs(disk).f_frsize
        bench.live(run, stop_after(160))
        for pages in (0, 1, 2, 3, 5, 8, 13, 20, 30, 40):
            before, free = reached(run), os.statvfs(disk).f_bavail * page
            (disk / "ballast").write_bytes(b"\1" * max(0, free - pages * page))
            ended = bench.live(run)
            (disk / "ballast").unlink()
            if ended.code == 0:
                break
            assert ended.code == 2, ended
            tries += 1
            words.add(ended.said[-1])
            lost_checkpoints += reached(run) < before
            assert not list(run.rglob("*.part"))
            assert broken_lines(run) == 0
        assert bench.live(run).code == 0
        same = bench.same(run)
    shown = sorted(words, key=len)[-1].replace(str(bench.folder / "disk"), "runs")
    lost = f"{lost_checkpoints} checkpoints; what came after the newest one is shown again; {same}"
    return Row("a full disk, at whichever file meets its end", tries, lost, shown)


def full_files(bench: Bench) -> Row:
    """The same where nothing may be mounted: no file may grow beyond a limit."""
    run, words = bench.folder / "limited", ""
    bench.live(run, stop_after(160))
    limits = [10_000, 20_000, 40_000]
    for limit in limits:
        ended = bench.live(run, file_limit=limit)
        assert ended.code == 2, ended
        words = ended.said[-1]
    assert bench.live(run).code == 0
    return Row(
        "a limit on the size of files",
        len(limits),
        f"no checkpoint; {bench.same(run)}",
        bench.in_words(words),
    )


def two_processes(bench: Bench, tries: int) -> Row:
    """A second process on a run that is being trained."""
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
                target=life, args=(bench.recipe, bench.data, out, file, shown, {})
            )
            other.start()
            other.join()
            if process.exitcode is not None:  # the first was over meanwhile
                break
            assert other.exitcode == 2
            words.append(json.loads(file.read_text().splitlines()[-1]))
        return time.monotonic()

    assert bench.live(run, second).code == 0
    return Row(
        "a second process on the same run",
        len(words),
        f"nothing; {bench.same(run)}",
        bench.in_words(words[0]),
    )


def changed_recipe(bench: Bench) -> list[Row]:
    """Another recipe on the same folder, and the fork that it is told of."""
    run = bench.folder / "whole"
    other = override(bench.recipe, ["batch=16"])
    ended = bench.live(run, recipe=other)
    assert ended.code == 2
    rows = [Row("a recipe that changed", 1, f"nothing; {bench.same(run)}", bench.in_words(ended.said[-1]))]
    forked = bench.live(bench.folder / "new", recipe=other, parent=run)
    assert forked.code == 0
    words = next(one for one in forked.said if "begins with" in one)
    rows.append(Row("the same with `--fork`", 1, "nothing: the old run is only read", bench.in_words(words)))
    wider = override(bench.recipe, ["generator.width=8"])
    ended = bench.live(bench.folder / "wider", recipe=wider, parent=run)
    assert ended.code == 2
    assert not (bench.folder / "wider").exists()
    rows.append(
        Row("a fork with other networks", 1, "nothing; no folder was made", bench.in_words(ended.said[-1]))
    )
    return rows


class Malicious:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        """`marker` is the file."""
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        """What a pickle would call."""
        return open, (self.marker, "w")


def other_files(bench: Bench) -> list[Row]:
    """Files in the newest checkpoint's place that are none of this kennel's."""
    marker, rows = bench.folder / "it was run", []
    words = json.dumps({"format": sealed.FORMAT + 1, "kennel": "9.0", "images_seen": 10**6})
    metadata = {"kennel": words, "seal": sealed._seal(words)}
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
        checkpoint.in_folder(RunFolder(run).checkpoints)[0].write_bytes(content)
        ended = bench.live(run)
        refused = "newer" in fault
        assert ended.code == (2 if refused else 0), ended
        lost = (
            "nothing: the run is refused and left as it is" if refused else f"as by damage; {bench.same(run)}"
        )
        said = next(one for one in ended.said if "checkpoint" in one and "Validation" not in one)
        rows.append(Row(fault, 1, lost, bench.in_words(said)))
    assert not marker.exists()
    return rows


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| fault | tries | lost | what was said |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {row.fault} | {row.tries} | {row.lost} | {row.said} |" for row in rows])


def main() -> None:
    """Drives every fault and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--signals", type=int, default=10)
    parser.add_argument("--damages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="Where the runs go; a temporary folder, removed at the end."
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
        ]
        print(table(rows))
        print(f"\n{time.perf_counter() - began:.0f} seconds; the run undisturbed {bench.seconds:.1f}.")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
